"""The records that cross file borders: frozen, slotted, checked when made.

Character offsets are the shared coordinate: a solution is cut at some offsets, its *ends*, and each
end gets a number. Outcome supervision is the cut with one end (docs/decisions.md).
"""

from __future__ import annotations

import enum
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


class Finish(enum.StrEnum):
    """Why a completion ended: the policy stopped, or the token limit cut it off."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class Problem:
    """A question with its canonical gold answer.

    `tags` carries what a data set knows besides (level, subject, reference steps); nothing in the
    algorithm depends on it.
    """

    id: str
    question: str
    answer: str
    dataset: str
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What an engine continues: token ids, so that nobody tokenises a second time.

    The ids are the rendered question, and for step labels also the sampled ids of a prefix.
    """

    problem_id: str
    token_ids: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.token_ids:
            raise ValueError(f"{self.problem_id}: a prompt needs at least one token, found none")


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample: G completions of a prompt, at most `max_tokens` tokens each, EOS included.

    `temperature` 0 is greedy. A completion ends as soon as its text contains one of the `stop`
    strings, wherever tokens divide it; special tokens are no part of that text. The seed fixes the
    result for an engine, a model and a list of prompts.
    """

    group_size: int
    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        problems = []
        if self.group_size < 1:
            problems.append(f"group_size is {self.group_size}, must be at least 1")
        if self.max_tokens < 1:
            problems.append(f"max_tokens is {self.max_tokens}, must be at least 1")
        if not self.temperature >= 0:
            problems.append(f"temperature is {self.temperature}, must be 0 (greedy) or more")
        if not 0 < self.top_p <= 1:
            problems.append(f"top_p is {self.top_p}, must be in (0, 1]")
        if self.top_k < 0:
            problems.append(f"top_k is {self.top_k}, must be 0 (off) or more")
        if not isinstance(self.stop, tuple) or not all(self.stop):
            problems.append(
                f"stop is {self.stop!r}, must be a tuple of strings, none of them empty"
            )
        if problems:
            raise ValueError("sampling: " + "; ".join(problems))


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled output. `token_ids` are the ids as sampled, up to the one that ended it.

    That one is an EOS id, the token that completed a stop string, or the last one allowed. `text`
    is their decoding without special tokens, cut in front of the stop string: the ids tell what the
    policy did, the text what it answered. `logps` are the sampled tokens' log-probabilities under
    the sampling distribution where the engine reports them, else empty.
    """

    problem_id: str
    sample: int
    text: str
    token_ids: tuple[int, ...]
    finish: Finish
    logps: tuple[float, ...] = ()

    @property
    def truncated(self) -> bool:
        """Whether the token limit cut the output off."""
        return self.finish is Finish.LENGTH


@dataclass(frozen=True, slots=True)
class StepRewards:
    """The rewards of one completion: `values[k]` belongs to the step that closes at `ends[k]`.

    `ends` are strictly increasing character offsets into the completion's text; the last one is
    the text's length. `components` names what the values were made of, each as long as `ends`
    (for example the verifier's share and the reward model's); they are logged, never summed again.
    """

    ends: tuple[int, ...]
    values: tuple[float, ...]
    components: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_ends(self.ends)
        # A model gives numbers of numpy's or torch's, which no record can be written with.
        object.__setattr__(self, "values", tuple(map(float, self.values)))
        components = {name: tuple(map(float, own)) for name, own in self.components.items()}
        object.__setattr__(self, "components", components)
        if len(self.values) != len(self.ends):
            raise ValueError(
                f"{len(self.ends)} step ends but {len(self.values)} values; "
                "a reward source returns one value per end"
            )
        bad = [value for value in self.values if not math.isfinite(value)]
        if bad:
            raise ValueError(f"a reward must be a finite number, found {bad[0]!r}")
        for name, component in self.components.items():
            if len(component) != len(self.ends):
                raise ValueError(
                    f"component {name!r} has {len(component)} values for {len(self.ends)} ends"
                )


def check_ends(ends: Sequence[int]) -> None:
    """Refuse ends that are not a cut of a text: none at all, or not strictly increasing."""
    if not ends:
        raise ValueError("a solution needs at least one step end, found none")
    # Outcomes have one end, and many thousand rows are checked.
    rising = len(ends) == 1 or all(a < b for a, b in itertools.pairwise(ends))
    if ends[0] < 0 or not rising:
        raise ValueError(f"step ends must be strictly increasing offsets >= 0, found {list(ends)}")
