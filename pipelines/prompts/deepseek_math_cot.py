r"""DeepSeekMath's zero-shot chain of thought with the answer in `\boxed{}`, as plain text.

Source: the README of github.com/deepseek-ai/DeepSeek-Math, "Usage", for its instruct model; the
model's own BOS is the tokenizer's to add.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iterative_grpo.types import Problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPECIAL_TOKENS = True
STOP: tuple[str, ...] = ()

INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."


def render(problem: Problem, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the question, the instruction, and whose turn it is."""
    return f"User: {problem.question}\n{INSTRUCTION}\n\nAssistant:"
