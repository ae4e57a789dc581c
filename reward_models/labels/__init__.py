"""Labelers, one file each, found by name: completions cut at ends in, labeled solutions out.

A file has a frozen class `Labeler`, made from the tools that it needs, with `label`, and a function
`build(tools)` that makes it from a `Tools` record and says which tool is missing.
One that continues prefixes with the policy says `CONTINUES = True`: a run then loads the policy for
it (`Tools.continuing`), and its plan counts the continuations.
"""
