r"""The tokenizer's own chat template, asking for the answer in `\boxed{}`: for instruct models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iterative_grpo.types import Problem
from pipelines.prompts._turns import as_chat
from pipelines.prompts.deepseek_math_cot import INSTRUCTION

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# The template writes them.
SPECIAL_TOKENS = False
STOP: tuple[str, ...] = ()


def render(problem: Problem, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return one user turn in the template, up to where the assistant begins.

    Raises ValueError if the tokenizer has no chat template.
    """
    return as_chat((), f"{problem.question}\n{INSTRUCTION}", tokenizer, "deepseek_math_cot")
