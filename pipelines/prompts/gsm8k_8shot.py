"""Eight worked examples of chain of thought, then the question: GSM8K for base models.

Source: Wei et al. 2022 (arXiv:2201.11903), its exemplars in its "Q: ... A: ..." form. An answer
ends where the policy would ask a next question.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iterative_grpo.types import Problem
from pipelines.prompts import _chain_of_thought
from pipelines.prompts._turns import Example, as_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPECIAL_TOKENS = True
STOP = ("Q:",)

EXAMPLES = tuple(
    Example(_chain_of_thought.asked(question), answer)
    for question, answer in _chain_of_thought.EXAMPLES
)


def render(problem: Problem, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the examples and the question, up to "A:"."""
    return as_text(EXAMPLES, _chain_of_thought.asked(problem.question))
