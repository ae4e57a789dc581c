"""A task as one policy will see it: prompts in tokens, and how long an answer may be.

All that can go wrong with prompts goes wrong here, before anything is generated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from iterative_grpo.types import Prompt
from pipelines import prompts
from pipelines.evaluation.tasks import Task

MOST_TOKENS = 1024
"""Tokens of an answer where nothing is asked for: the paper's length."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A task's prompts. `first` is the first one's exact text; `notes` are worth saying aloud."""

    task: Task
    prompts: tuple[Prompt, ...]
    first: str
    max_tokens: int
    stop: tuple[str, ...]
    notes: tuple[str, ...]

    def as_row(self) -> Mapping[str, Any]:
        """Return what the answers depend on besides the questions, as JSON."""
        return {
            "prompt": self.task.prompt,
            "first_prompt": self.first,
            "first_prompt_tokens": len(self.prompts[0].token_ids),
            "stop": list(self.stop),
            "max_tokens": self.max_tokens,
        }


def render(task: Task, tokenizer: Any, context: int | None, max_tokens: int | None) -> Rendered:
    """Render and tokenise a task's questions.

    Without `max_tokens`, answers may have `MOST_TOKENS` tokens, or as many as fit behind the
    longest prompt.

    Raises:
        PromptTooLong: a prompt, or with `max_tokens` its answer, does not fit the context.
        ValueError: an unknown prompt format, or one that the tokenizer cannot render.
        DataError: the examples of a prompt format cannot be read.
    """
    made = prompts.make_prompts(
        task.problems,
        tokenizer,
        task.prompt,
        max_tokens=max_tokens or 1,
        context=context,
        data=task.data,
    )
    form = prompts.find(task.prompt, task.data)
    room = min(tokenizer.model_max_length, context or tokenizer.model_max_length)
    longest = max(len(prompt.token_ids) for prompt in made)
    notes = prompts.unknown_words(made, tokenizer)
    if max_tokens is None:
        max_tokens = min(MOST_TOKENS, room - longest)
        if max_tokens < MOST_TOKENS:
            notes.append(
                f"answers have at most {max_tokens} tokens: the context is {room:,}, the longest "
                f"prompt has {longest:,}"
            )
    return Rendered(
        task=task,
        prompts=tuple(made),
        first=form.render(task.problems[0], tokenizer),
        max_tokens=max_tokens,
        stop=prompts.stop_strings(task.prompt),
        notes=tuple(notes),
    )
