r"""The tokenizer's own chat template, asking for the answer in `\boxed{}`: for instruct models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iterative_grpo.types import Problem
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
    if not tokenizer.chat_template:
        raise ValueError(
            f"the tokenizer of {tokenizer.name_or_path or 'this model'} has no chat template; "
            "choose an instruct model, or policy.prompt=deepseek_math_cot"
        )
    turns = [{"role": "user", "content": f"{problem.question}\n{INSTRUCTION}"}]
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
