"""Prompt formats, one file each: a problem in, the text out that the policy continues.

To add one, add a file with `render(problem, tokenizer) -> str`, `SPECIAL_TOKENS`: whether the
tokenizer's own special tokens (such as BOS) are still to be added to the text, and `STOP`: the
strings that end an answer besides EOS, such as the beginning of a next question.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from iterative_grpo import plugins
from iterative_grpo.types import Problem, Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class PromptTooLong(ValueError):
    """A rendered question that leaves no room in the context."""


class Unrenderable(ValueError):
    """A problem or a tokenizer that a prompt format cannot render."""


NEEDS = ("STOP", "SPECIAL_TOKENS")
"""What a format's file has, whatever `with_data` makes of it."""


class PromptFormat(Protocol):
    """What a prompt format's file has to offer."""

    SPECIAL_TOKENS: bool
    STOP: tuple[str, ...]

    def render(self, problem: Problem, tokenizer: PreTrainedTokenizerBase) -> str:
        """Return the text that the policy continues."""
        ...


def find(name: str, data: Path | None = None) -> PromptFormat:
    """Return the prompt format called `name`; an unknown one is refused with the known names.

    A format whose examples come from a data set has `with_data(data) -> PromptFormat` and gets the
    folder that data sets are read from, or None for the hub; it raises DataError if they are not
    there.
    """
    module = plugins.find("pipelines.prompts", name, "prompt")
    with_data = getattr(module, "with_data", None)
    return cast(PromptFormat, module if with_data is None else with_data(data))


def stop_strings(name: str) -> tuple[str, ...]:
    """Return the strings that end an answer in a prompt format, for `Sampling.stop`.

    Raises UnknownName, or BrokenPlugin for a format without a tuple of them.
    """
    found = plugins.find("pipelines.prompts", name, "prompt", NEEDS)
    stop: tuple[str, ...] = found.STOP
    if not isinstance(stop, tuple) or not all(isinstance(it, str) and it for it in stop):
        raise plugins.BrokenPlugin(
            f"prompt {name}: STOP in {found.__file__} is {stop!r}, expected a tuple of strings, "
            'such as () or ("Q:",)'
        )
    return stop


def unknown_words(prompts: Sequence[Prompt], tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return a note if prompts hold what the tokenizer writes as unknown, else nothing."""
    unknown = tokenizer.unk_token_id
    # GPT-2's and OPT's is also what texts begin or end with; they write no word as unknown.
    if unknown in (None, tokenizer.bos_token_id, tokenizer.eos_token_id):
        return []
    strange = sum(unknown in prompt.token_ids for prompt in prompts)
    if not strange:
        return []
    return [f"{strange:,} of {len(prompts):,} prompts hold words that the tokenizer does not know"]


def make_prompts(
    problems: Sequence[Problem],
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    *,
    max_tokens: int = 1,
    context: int | None = None,
    data: Path | None = None,
) -> list[Prompt]:
    """Render and tokenise problems, in order.

    Args:
        problems: what to ask.
        tokenizer: the policy's.
        prompt: name of the format, a file of this folder.
        max_tokens: room that the answer needs.
        context: the policy's positions; None takes the tokenizer's word, if it has one.
        data: the folder that data sets are read from, for formats with examples of one.

    Raises:
        PromptTooLong: the longest prompt and the answer do not fit; it is named.
        ValueError: an unknown format, or one that the tokenizer cannot render.
        DataError: a format's examples cannot be read.
    """
    if not problems:
        return []
    form = find(prompt, data)
    texts = [form.render(problem, tokenizer) for problem in problems]
    encoded = tokenizer(texts, add_special_tokens=form.SPECIAL_TOKENS)["input_ids"]
    prompts = [
        Prompt(problem.id, tuple(ids)) for problem, ids in zip(problems, encoded, strict=True)
    ]
    room = min(tokenizer.model_max_length, context or tokenizer.model_max_length)
    longest = max(prompts, key=lambda each: len(each.token_ids))
    if len(longest.token_ids) + max_tokens > room:
        raise PromptTooLong(
            f"{longest.problem_id}: its prompt has {len(longest.token_ids)} tokens and the answer "
            f"needs up to {max_tokens}, together more than the context of {room}; lower "
            "max_tokens, leave the problem out, or choose a model with more context"
        )
    return prompts
