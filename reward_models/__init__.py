"""Reward models: labels, replay, training, diagnostics, and rewards for the policy.

This package turns verdicts into rewards. One scalar head is read at the ends of a solution's
steps; outcome supervision is the solution with one end.
"""
