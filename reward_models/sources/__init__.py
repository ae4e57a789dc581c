"""Reward sources, one file each: completions in, step rewards out.

A source is given a splitter from outside and never asks whether it cuts steps or wholes.
"""
