"""Worked examples and a question as one text, or as the turns of a chat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from iterative_grpo.chat import written
from pipelines.prompts import Unrenderable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Example:
    """A worked example: what is asked, up to where the answer begins, and the answer."""

    asked: str
    answer: str


def as_text(examples: Sequence[Example], asked: str, between: str = " ") -> str:
    """Return examples and question as one text that a base model continues.

    `between` stands between a question and its answer; a blank line follows each example. Behind
    the last question stands nothing: the policy begins with `between` itself.
    """
    shown = [f"{example.asked}{between}{example.answer}\n\n" for example in examples]
    return "".join(shown) + asked


def as_chat(
    examples: Sequence[Example], asked: str, tokenizer: PreTrainedTokenizerBase, instead: str
) -> str:
    """Return examples as earlier turns of a chat, up to where the assistant begins.

    Raises Unrenderable if the tokenizer has no chat template; choose the format `instead` then.
    """
    if not tokenizer.chat_template:
        raise Unrenderable(
            f"the tokenizer of {tokenizer.name_or_path or 'this model'} has no chat template; "
            f"choose an instruct model, or another prompt (policy.prompt, --prompt): {instead}"
        )
    turns = [
        {"role": role, "content": content}
        for example in examples
        for role, content in (("user", example.asked), ("assistant", example.answer))
    ]
    turns.append({"role": "user", "content": asked})
    from jinja2 import TemplateError

    try:
        return written(tokenizer, turns, add_generation_prompt=True)
    except TemplateError as error:
        raise Unrenderable(
            f"the chat template of {tokenizer.name_or_path or 'this model'} refuses "
            f"{len(turns)} turns: {error}; mend it, or choose another prompt (policy.prompt, "
            f"--prompt): {instead}"
        ) from None
