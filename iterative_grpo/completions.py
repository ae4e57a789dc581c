"""Completions as JSON Lines, one a line, with their token ids as sampled."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from iterative_grpo.types import Completion, Finish


class BrokenCompletions(ValueError):
    """A completions file that cannot be read; the message names file and line."""


def write(stream: TextIO, completions: Iterable[Completion]) -> None:
    """Append completions to an open text file."""
    for completion in completions:
        row = {
            "problem_id": completion.problem_id,
            "sample": completion.sample,
            "text": completion.text,
            "token_ids": list(completion.token_ids),
            "finish": completion.finish.value,
        }
        stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def read(path: Path) -> Iterator[Completion]:
    """Yield the completions of a file."""
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                yield Completion(
                    problem_id=row["problem_id"],
                    sample=row["sample"],
                    text=row["text"],
                    token_ids=tuple(row["token_ids"]),
                    finish=Finish(row["finish"]),
                )
            except (ValueError, KeyError, TypeError) as error:
                raise BrokenCompletions(f"{path}:{number}: no completion: {error!r}") from None
