"""Log-probabilities of completions, with no more work than the tokens need.

`paths.Logps` is what the trainer calls. Four paths compute the same numbers:

- `shared` (`packing`, `attention`): all tokens of a batch in one row without padding, the prompt
  of a group once, its keys and values read by all completions of the group, and equal completions
  of it once;
- `prompts`: the same, but each completion for itself;
- `plain`: padded rows in chunks of similar length, for models whose attention is their own;
- `trl`: the implementation of TRL's trainer, for everything else.

All of ours score only the positions that predict completion tokens (`head`).
"""
