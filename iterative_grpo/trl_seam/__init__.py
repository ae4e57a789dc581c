"""What the trainer puts between TRL's `GRPOTrainer` and itself, one concern a file.

`iterative_grpo/trainer.py` overrides TRL's private methods and names them at its head; what they do
instead lies here: tasks, micro-batches, sampling, the reference, metrics.
"""
