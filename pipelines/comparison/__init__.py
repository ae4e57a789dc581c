"""Two evaluations question by question: who gained, who lost, and whether that is more than luck.

    from pipelines import comparison

    done = comparison.compare(Path("runs/outcome"), Path("runs/process"))
    print(done.text)

A side is a run directory (the last evaluated iteration, or the one named) or the folder of an
evaluation. Everything lies in `comparison.json` and `comparison.html` of the output folder then.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ComparisonFiles:
    """What `compare` wrote, and the same for a terminal."""

    folder: Path
    files: tuple[Path, ...]
    text: str


def compare(
    first: Path,
    second: Path,
    *,
    iteration: int | None = None,
    common: bool = False,
    output: Path | None = None,
) -> ComparisonFiles:
    """Compare two evaluations on the questions that both answered, and write what is found.

    Args:
        first: side A, a run directory or an evaluation's folder.
        second: side B.
        iteration: of the sides that are run directories; the last evaluated one if none is named.
        common: compare what both answered where they did not answer the same questions.
        output: the folder to write to; comparisons/A-B-HASH where none is named.

    Raises:
        NoAnswers: a side holds no finished evaluation, or one that cannot be read.
        NotComparable: no task in common, other questions, or an output folder that holds others'
            files.
        OSError: a file cannot be written.
    """
    from pipelines.comparison import answers, comparing, terminal, writing

    sides = (answers.read(first, iteration), answers.read(second, iteration))
    folder = output or writing.default_folder(*sides)
    writing.check(folder)
    found = comparing.compare(*sides, common=common)
    return ComparisonFiles(folder, writing.write(found, folder), terminal.text(found))
