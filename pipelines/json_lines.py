"""Reading JSON Lines that a run wrote: where a line is no object, its file and number are named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def objects(
    file: Path, broken: Callable[[str], Exception], advice: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place of each line, as `FILE, line N`, with its object.

    Raises what `broken` makes of the message, which ends with `advice`, at a line that is none.
    """
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            place = f"{file}, line {number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise broken(f"{place}: not JSON ({error}). {advice}") from None
            if not isinstance(row, dict):
                kind = type(row).__name__
                raise broken(f"{place}: a JSON {kind} where an object is expected. {advice}")
            yield place, row
