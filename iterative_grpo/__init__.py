"""Iterative Group Relative Policy Optimization (DeepSeekMath, arXiv:2402.03300).

This package turns rewards into a better policy: step splitters, credit rules, engines, the trainer.
"""
