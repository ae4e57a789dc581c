"""Step splitters, one file each: a text in, the character offsets of its step ends out."""
