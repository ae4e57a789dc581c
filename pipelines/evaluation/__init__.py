"""Evaluation: answers of a policy on tasks, verified, counted, and written down with all they mean.

One implementation serves the loop's phase (`pipelines/phases/evaluate.py`) and the command
(`command.py`): `tasks` says what is asked, `rendering` how, `answering` makes the rows and survives
being killed, `figures` counts them, `choosing` is for several samples of a question.
"""
