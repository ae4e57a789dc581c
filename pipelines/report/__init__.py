"""Reports: pictures, one page, and a summary of a run directory, finished or not.

    from pipelines import report

    files = report.write(Path("runs/arithmetic"))   # metrics/*.png and report.html
    print(report.summary(Path("runs/arithmetic")))

`compare_runs` draws several runs of several arms, the picture at the head of the README;
`compare_accuracy` what they made of their samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """What `write` made; `left_out` names each picture that could not be drawn, with the reason."""

    page: Path
    pictures: tuple[Path, ...]
    left_out: tuple[str, ...]


def write(run_dir: Path) -> ReportFiles:
    """Write RUN/metrics/*.png and RUN/report.html from what the run has made so far.

    Raises:
        NoRun: the folder is no run directory.
        OSError: a file cannot be written.
    """
    from pipelines.report.writing import write

    return write(run_dir)


def summary(run_dir: Path) -> str:
    """Return the table of iterations and where everything lies, as wide as the terminal.

    Raises:
        NoRun: the folder is no run directory.
    """
    from pipelines.report import run, terminal

    return terminal.summary(run.read(run_dir))


def compare_runs(runs: Mapping[str, Sequence[Path]], output: Path) -> Path:
    """Draw score and truth over policy steps, a panel an arm, means over its runs, as PNG.

    Args:
        runs: the arms' names, as they are to be shown, with the run directories of their seeds.
        output: where the picture goes; its folder is made.

    Raises:
        NothingToCompare: an arm has no run with policy steps.
    """
    from pipelines.report import comparison

    return comparison.compare_runs(runs, output)


def compare_accuracy(runs: Mapping[str, Sequence[Path]], output: Path) -> Path:
    """Draw held-out accuracy over the outputs sampled, an arm a curve, means over runs, as PNG.

    Args:
        runs: the arms' names, as they are to be shown, with the run directories of their seeds.
        output: where the picture goes; its folder is made.

    Raises:
        NothingToCompare: an arm has no run that was evaluated.
    """
    from pipelines.report import learning_curves

    return learning_curves.compare_accuracy(runs, output)
