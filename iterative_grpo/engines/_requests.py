"""What an engine is asked for: prompts, and how each of them is to be sampled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iterative_grpo.protocols import Samplings
from iterative_grpo.types import Sampling

Stopped = Callable[[Sequence[int]], bool]
"""Tells from a row's new ids whether a stop string ends it."""


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt and how to continue it.

    `stopped` is None where nothing but EOS and the limit ends a row. `streams` (G,) holds the
    states that the random numbers of its rows start from.
    """

    token_ids: Sequence[int]
    sampling: Sampling
    stopped: Stopped | None
    streams: NDArray[np.uint64]


def per_prompt(prompts: Sequence[Any], sampling: Samplings) -> list[Sampling]:
    """Return the sampling of each prompt.

    Raises:
        ValueError: if several are given, and not one for each prompt.
    """
    if isinstance(sampling, Sampling):
        return [sampling] * len(prompts)
    if len(sampling) != len(prompts):
        raise ValueError(
            f"{len(prompts)} prompts were given with {len(sampling)} samplings; "
            "pass one Sampling for all prompts, or one for each"
        )
    return list(sampling)
