"""Losses of the reward model, one file each.

A loss file has three functions. `items` returns what must lie in one batch together, as tuples of
row numbers: single rows, or pairs of one problem. `total` sums the loss over a batch, and `weight`
is what the sum is divided by: apart, because with several processes the weight is the whole batch's
and the sum is one process's. N is the ends of all rows of a batch, row after row in the items'
order; `sizes` is each row's number of ends, `weights_N` what each end counts.
"""
