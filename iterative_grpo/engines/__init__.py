"""Sampling engines, one file each: prompts in, groups of completions out."""
