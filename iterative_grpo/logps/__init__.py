"""Log-probabilities of completions, with no more work than the tokens need.

`paths.Logps` is what the trainer calls. Three paths compute the same numbers:

- `shared` (`packing`, `attention`): all tokens of a batch in one row without padding, and the
  prompt of a group once, its keys and values read by all completions of the group;
- `plain`: padded rows in chunks of similar length, for models whose attention is their own;
- `trl`: the implementation of TRL's trainer, for everything else.

Both of ours score only the positions that predict completion tokens (`head`).
"""
