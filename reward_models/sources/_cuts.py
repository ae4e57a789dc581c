"""Cutting completions, with the check that rows belong together."""

from __future__ import annotations

from collections.abc import Sequence

from iterative_grpo.protocols import Splitter
from iterative_grpo.types import Completion, Problem


def cut(
    splitter: Splitter, problems: Sequence[Problem], completions: Sequence[Completion]
) -> list[tuple[int, ...]]:
    """Return the ends of each completion's steps."""
    if len(problems) != len(completions):
        raise ValueError(
            f"{len(problems)} problems for {len(completions)} completions; expected one each"
        )
    return [splitter.split(completion.text) for completion in completions]
