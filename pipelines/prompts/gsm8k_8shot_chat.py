"""The eight worked examples of `gsm8k_8shot` as earlier turns of a chat: for instruct models.

Each example is a user turn ("Q: ...", "A:") and an assistant turn, as lm-eval writes `gsm8k_cot`
with `--apply_chat_template --fewshot_as_multiturn`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iterative_grpo.types import Problem
from pipelines.prompts import _chain_of_thought
from pipelines.prompts._turns import as_chat
from pipelines.prompts.gsm8k_8shot import EXAMPLES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# The template writes them.
SPECIAL_TOKENS = False
STOP = ("Q:",)


def render(problem: Problem, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the turns, up to where the assistant begins.

    Raises ValueError if the tokenizer has no chat template.
    """
    return as_chat(EXAMPLES, _chain_of_thought.asked(problem.question), tokenizer, "gsm8k_8shot")
