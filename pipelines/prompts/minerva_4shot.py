"""Minerva's four worked examples, then the problem: MATH for base models.

Source: Lewkowycz et al. 2022 (arXiv:2206.14858), appendix D. Answers end in "Final Answer: The
final answer is ... I hope it is correct."; a completion ends where the policy would pose a next
problem.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iterative_grpo.types import Problem
from pipelines.prompts import _minerva
from pipelines.prompts._turns import Example, as_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPECIAL_TOKENS = True
STOP = _minerva.STOP

EXAMPLES = tuple(
    Example(_minerva.asked(problem), solution) for problem, solution in _minerva.EXAMPLES
)


def render(problem: Problem, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the examples and the problem, up to "Solution:"."""
    return as_text(EXAMPLES, _minerva.asked(problem.question), between="\n")
