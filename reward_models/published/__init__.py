"""Published process reward models, one file for each convention, as judges with `score`.

`find("reward_models.published", NAME).load(path_or_name)` loads a checkpoint of that convention. No
code of the checkpoint is run.
"""
