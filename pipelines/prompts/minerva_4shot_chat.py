"""Minerva's four worked examples as earlier turns of a chat: for instruct models.

Each example is a user turn ("Problem: ...", "Solution:") and an assistant turn, as lm-eval writes
`minerva_math` with `--apply_chat_template --fewshot_as_multiturn`, and with its text of the
problems.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iterative_grpo.types import Problem
from pipelines.prompts import _minerva
from pipelines.prompts._turns import as_chat
from pipelines.prompts.lm_eval_minerva_math import EXAMPLES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# The template writes them.
SPECIAL_TOKENS = False
STOP = _minerva.STOP


def render(problem: Problem, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the turns, up to where the assistant begins.

    Raises ValueError if the tokenizer has no chat template.
    """
    return as_chat(EXAMPLES, _minerva.asked(problem.question), tokenizer, "minerva_4shot")
