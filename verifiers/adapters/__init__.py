"""Thin adapters to the call shapes of other libraries, one a file; none of them is imported."""
