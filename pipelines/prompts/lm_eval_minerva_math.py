"""lm-eval's `minerva_math` tasks: four worked examples, then the problem.

Source: github.com/EleutherAI/lm-evaluation-harness, `lm_eval/tasks/minerva_math` (task version
3.1 of lm-eval 0.4.13). It differs from the paper's prompt (`minerva_4shot`) in two characters: a
space, not a new line, behind "Solution:", and no stray brace behind the first problem.
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
    Example(_minerva.asked(problem.removesuffix("}")), solution)
    for problem, solution in _minerva.EXAMPLES
)


def render(problem: Problem, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the examples and the problem, up to "Solution:"."""
    return as_text(EXAMPLES, _minerva.asked(problem.question))
