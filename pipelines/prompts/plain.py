"""The question and a new line: for policies made on the spot, which know nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iterative_grpo.types import Problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPECIAL_TOKENS = True
STOP: tuple[str, ...] = ()


def render(problem: Problem, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the question and a new line."""
    return f"{problem.question}\n"
