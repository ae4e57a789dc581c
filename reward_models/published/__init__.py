"""Published process reward models, one file for each convention, as judges with `score`.

`find("reward_models.published", NAME).load(path_or_name)` loads a checkpoint of that convention. No
code of the checkpoint is run. `judge(model, tokenizer)` is the same for what is loaded already:
until it scores, it asks of the model no more than its `config`. A convention whose head
transformers does not know has `head_weights(path_or_name)`.
"""
