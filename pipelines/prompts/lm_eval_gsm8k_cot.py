"""lm-eval's `gsm8k_cot` task: the prompt of `gsm8k_8shot` with lm-eval's stop strings.

Source: github.com/EleutherAI/lm-evaluation-harness, `lm_eval/tasks/gsm8k/gsm8k-cot.yaml` (task
version 3.0 of lm-eval 0.4.13).
"""

from __future__ import annotations

from pipelines.prompts.gsm8k_8shot import render

__all__ = ["SPECIAL_TOKENS", "STOP", "render"]

SPECIAL_TOKENS = True
STOP = ("Q:", "</s>", "<|im_end|>")
