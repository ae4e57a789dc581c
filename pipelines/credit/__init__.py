"""What each credit rule makes of a run's stored rollouts, side by side; no model is needed.

    from pipelines import credit

    done = credit.compare(Path("runs/process"), iteration=2, limit=8)
    print(done.text)      # a table for each of the first 8 solutions, and the rules' biases

Everything lies in RUN/credit/NN/ then: `solutions.jsonl`, `bias.json`, a picture a solution.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class CreditFiles:
    """What `compare` wrote, and the same for a terminal."""

    folder: Path
    files: tuple[Path, ...]
    text: str


def compare(run_dir: Path, iteration: int | None = None, limit: int = 8) -> CreditFiles:
    """Apply every credit rule to an iteration's rollouts and write RUN/credit/NN/.

    Args:
        run_dir: a run directory; only its folder `credit` is written to.
        iteration: whose rollouts; the last that has any where none is named.
        limit: solutions with a table and a picture, the first ones; the files have all.

    Raises:
        NoRun: the folder is no run directory.
        CannotCompare: it has no rollouts, or none that can be read.
        OSError: a file cannot be written.
    """
    from pipelines.credit import comparison, terminal, writing
    from pipelines.report.run import read

    found = comparison.compare(read(run_dir), iteration, limit)
    folder = run_dir / "credit" / f"{found.iteration:02d}"
    return CreditFiles(folder, writing.write(found, folder, limit), terminal.text(found, limit))
