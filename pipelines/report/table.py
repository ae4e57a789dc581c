"""The table of a run, one row an iteration, as the terminal and the page both show it."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from pipelines.report.intervals import Estimate
from pipelines.report.pictures.duration import duration
from pipelines.report.run import Row, Run, accuracy, number, section

LAST_STEPS = 5
"""Policy steps at the end of an iteration over which its score and truth are averaged."""


@dataclass(frozen=True, slots=True)
class Table:
    """Headings, and rows of as many cells; an empty cell is a value that the run does not have."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


_Columns = list[tuple[str, Callable[[Row], str]]]


def by_iteration(run: Run) -> Table:
    """Return the run's table; columns without any value are left out."""
    return _filled(
        run,
        [
            ("iteration", lambda row: _iteration(row) + " (in progress)" * (row in run.under_way)),
            *((task, _accuracy_of(task, _bracketed)) for task in run.tasks()),
            ("score - truth", lambda row: _signed(gap(run, number(row, "iteration")))),
            ("AUROC", lambda row: _change(row, "auroc_before", "auroc")),
            ("pairs", lambda row: _change(row, "pair_accuracy_before", "pair_accuracy")),
            ("tokens a label", _label_cost),
            ("moved by cuts", _moved),
            ("KL to initial", lambda row: _plain(number(row, "kl_initial"))),
            ("time", _time),
        ],
    )


def brief(run: Run) -> Table:
    """Return the same table for a terminal of 80 columns: short cells, headings of two lines."""
    return _filled(
        run,
        [
            ("iter.", _iteration),
            *((task.replace("/", "\n", 1), _accuracy_of(task, _ranged)) for task in run.tasks()),
            ("score -\ntruth", lambda row: _signed(gap(run, number(row, "iteration")))),
            ("RM\nAUROC", lambda row: _judged(row, "auroc")),
            ("RM\npairs", lambda row: _judged(row, "pair_accuracy")),
            ("KL to\ninitial", lambda row: _plain(number(row, "kl_initial"))),
            ("time", _time),
        ],
    )


def _filled(run: Run, columns: _Columns) -> Table:
    cells = [[cell(row) for row in run.begun] for _, cell in columns]
    kept = [i for i, column in enumerate(cells) if any(column)]
    return Table(
        headings=tuple(columns[i][0] for i in kept),
        rows=tuple(zip(*(cells[i] for i in kept), strict=True)),
    )


def by_task(run: Run) -> Table:
    """Return what became of the answers in the last evaluation of each task."""
    keys = ("incorrect", "no_answer", "unparsed", "timeout", "truncated")
    rows = []
    for task in run.tasks():
        last = [row for row in run.iterations if task in section(row, "evaluations")][-1]
        found = section(section(last, "evaluations"), task)
        counts = [_count(number(found, key)) for key in ("n", "correct", *keys)]
        rows.append((task, *counts, _plain(number(found, "mean_length"))))
    return Table(
        ("task", "questions", "correct", *(key.replace("_", " ") for key in keys), "mean tokens"),
        tuple(rows),
    )


def gap(run: Run, iteration: float | None) -> float | None:
    """Return how far the score is above the truth, on average over an iteration's last steps."""
    gaps = [
        found
        for row in run.steps
        if number(row, "iteration") == iteration and (found := number(row, "gap")) is not None
    ]
    return statistics.fmean(gaps[-LAST_STEPS:]) if gaps else None


def _accuracy_of(task: str, written: Callable[[Estimate], str]) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        found = accuracy(row, task)
        return "" if found is None else written(found)

    return cell


def _bracketed(found: Estimate) -> str:
    return f"{found.value:.1%} [{found.low * 100:.1f}, {found.high * 100:.1f}]"


def _ranged(found: Estimate) -> str:
    return f"{found.value:.1%} {found.low * 100:.0f}-{found.high * 100:.0f}"


def _judged(row: Row, key: str) -> str:
    value = number(section(row, "reward_model"), key)
    return "" if value is None else f"{value:.3f}"


def _iteration(row: Row) -> str:
    return f"{number(row, 'iteration') or 0:.0f}"


def _time(row: Row) -> str:
    spent = [number(section(row, "seconds"), key) or 0.0 for key in section(row, "seconds")]
    return duration(sum(spent)) if spent else ""


def _change(row: Row, before: str, after: str) -> str:
    values = section(row, "reward_model")
    old, new = number(values, before), number(values, after)
    if new is None:
        return ""
    return f"{new:.3f}" if old is None else f"{old:.3f} → {new:.3f}"


def _label_cost(row: Row) -> str:
    """Show what a step's label cost, where labels are sampled at all."""
    tokens = number(section(row, "labels"), "tokens_per_label")
    return f"{tokens:.1f}" if tokens else ""


def _moved(row: Row) -> str:
    """Show how far another cut moves rewards at the same ends, by the cut that moves them most."""
    cuts = section(row, "segmentation")
    found = [number(section(cuts, cut), "reward_mean") for cut in cuts]
    moved = [value for value in found if value is not None]
    return f"{max(moved):.3f}" if moved else ""


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.3f}"


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"
