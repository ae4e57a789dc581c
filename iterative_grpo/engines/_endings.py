"""Where completions end: EOS ids, stop strings, the context's limit; ids as sampled become records.

Every engine samples token ids and hands them to `Endings`, so that all of them agree on what ended
a completion, which ids belong to it and what its text is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from iterative_grpo import stops
from iterative_grpo.engines._requests import Stopped
from iterative_grpo.types import Completion, Finish, Prompt, Sampling

# A stop string of n bytes spans at most n tokens that have text; a few more for special tokens and
# for what was sampled since the engine last looked.
_SPARE_TOKENS = 16


class PromptTooLong(ValueError):
    """A prompt leaves no room for `max_tokens` new tokens in the model's context."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """One row as sampled: ids up to and including the first EOS or the last token allowed.

    `logps` holds one log-probability a token, or nothing where the engine reports none.
    """

    token_ids: tuple[int, ...]
    logps: tuple[float, ...] = ()


def eos_token_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Return every id that ends a completion, sorted.

    Chat models list several in their generation configuration, while the tokenizer knows one;
    a completion ends at any of them.
    """
    found: set[int] = set()
    for holder in (getattr(model, "generation_config", None), model.config, tokenizer):
        ids = getattr(holder, "eos_token_id", None)
        if ids is not None:
            found.update([ids] if isinstance(ids, int) else ids)
    return tuple(sorted(found))


def check_prompts(
    prompts: Sequence[Prompt], samplings: Sequence[Sampling], context: int | None
) -> None:
    """Raise `PromptTooLong` for prompts with more than `context - max_tokens` tokens."""
    if context is None:
        return
    long = [
        (prompt, sampling.max_tokens)
        for prompt, sampling in zip(prompts, samplings, strict=True)
        if len(prompt.token_ids) + sampling.max_tokens > context
    ]
    if long:
        first, max_tokens = long[0]
        raise PromptTooLong(
            f"{first.problem_id}: a prompt of {len(first.token_ids)} tokens and max_tokens "
            f"{max_tokens} do not fit the model's context of {context} positions "
            f"({len(long)} of {len(prompts)} prompts are too long); "
            "lower max_tokens or leave these prompts out"
        )


@dataclass(frozen=True, slots=True)
class Endings:
    """Cuts sampled ids at EOS or a stop string and decodes them."""

    tokenizer: Any
    eos: frozenset[int]
    stop: tuple[str, ...]
    _closing: dict[int, bool] = field(default_factory=dict)

    @property
    def check(self) -> Stopped | None:
        """`stopped`, or None where there are no stop strings to look for."""
        return self.stopped if self.stop else None

    def stopped(self, token_ids: Sequence[int]) -> bool:
        """Whether a stop string is complete in the text of these ids.

        Runs for every row and token, so it first asks whether one of the last tokens could complete
        a stop string, then looks at a few tokens, and only then decodes them all.
        """
        if not any(map(self._may_close, token_ids[-_SPARE_TOKENS:])):
            return False
        longest = max(len(stop.encode()) for stop in self.stop)
        tail = token_ids[-longest - _SPARE_TOKENS :]
        return self._has_stop(tail) and self._has_stop(token_ids)

    def _may_close(self, token: int) -> bool:
        """Whether a token's text may hold the last character of a stop string; remembered."""
        known = self._closing.get(token)
        if known is None:
            text = self._decode([token])
            # A space may come from between tokens, a character from the bytes of several.
            known = not text or any(
                last in text or last.isspace() or ("�" in text and not last.isascii())
                for last in (stop[-1] for stop in self.stop)
            )
            self._closing[token] = known
        return known

    def completion(self, prompt: Prompt, sample: int, row: Sampled) -> Completion:
        """Return the record of one sampled row."""
        ids = row.token_ids
        finish = Finish.STOP if ids[-1] in self.eos else Finish.LENGTH
        text = self._decode(ids)
        if stops.contains(text, self.stop):
            ids, text = self._cut_at_stop(ids)
            finish = Finish.STOP
        return Completion(
            problem_id=prompt.problem_id,
            sample=sample,
            text=text,
            token_ids=ids,
            finish=finish,
            logps=row.logps[: len(ids)],
        )

    def _cut_at_stop(self, ids: tuple[int, ...]) -> tuple[tuple[int, ...], str]:
        """Return the fewest ids whose text holds a stop string, and the text in front of it."""
        low, high = 1, len(ids)
        while low < high:
            middle = (low + high) // 2
            if self._has_stop(ids[:middle]):
                high = middle
            else:
                low = middle + 1
        return ids[:low], stops.before(self._decode(ids[:low]), self.stop)

    def _has_stop(self, token_ids: Sequence[int]) -> bool:
        return stops.contains(self._decode(token_ids), self.stop)

    def _decode(self, token_ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(token_ids), skip_special_tokens=True))


def endings(samplings: Sequence[Sampling], tokenizer: Any, eos: Sequence[int]) -> list[Endings]:
    """Return what ends the rows of each prompt; prompts with equal stop strings share it."""
    made = {stop: Endings(tokenizer, frozenset(eos), stop) for stop in {s.stop for s in samplings}}
    return [made[sampling.stop] for sampling in samplings]


def completions(
    prompts: Sequence[Prompt],
    rows: Sequence[Sequence[Sampled]],
    endings: Sequence[Endings],
) -> list[list[Completion]]:
    """Return the records of all groups, in the order of the prompts."""
    return [
        [own.completion(prompt, sample, row) for sample, row in enumerate(group)]
        for prompt, group, own in zip(prompts, rows, endings, strict=True)
    ]
