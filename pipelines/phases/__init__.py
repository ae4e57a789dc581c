"""The phases of an iteration, one file each: `PHASE` says what it depends on, `run` does it."""
