"""The reward model of each iteration on the page: how good, decided how, trained on what."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipelines.report.run import Row, Run, number, section
from pipelines.report.table import Table

_Columns = Sequence[tuple[str, Callable[[Row], str]]]


def measured(run: Run) -> Table:
    """Return how good each iteration's reward model is on held-out solutions."""
    return _table(
        run,
        [
            ("AUROC", _change("auroc")),
            ("past samples", _change("auroc_frozen")),
            ("pairs", _change("pair_accuracy")),
            ("rank correlation", _change("rank_correlation")),
            ("Brier", _change("brier")),
            ("ECE", _change("ece")),
            ("best of 4", _share("best_of_n")),
            ("majority", _share("majority")),
            ("pass@4", _share("pass_at_n")),
            ("gain over majority, 95%", _gain),
            ("score by length", _plain("score_by_length")),
        ],
    )


def trained(run: Run) -> Table:
    """Return what each iteration's reward model was trained on, and what became of it."""
    return _table(
        run,
        [
            ("rows", _count("train_rows")),
            ("of history", _share("replay_share")),
            ("ages", _ages),
            ("right, fresh", _share("positive_fresh")),
            ("right, replayed", _share("positive_replayed")),
            ("weights kept", _kept),
            ("decision", _decision),
        ],
    )


def refusals(run: Run) -> list[str]:
    """Return a sentence for each reason for which a retrained model was refused."""
    return [
        f"Iteration {number(row, 'iteration') or 0:.0f}: {reason}"
        for row in run.begun
        if section(row, "reward_model").get("promoted") is False
        for reason in _texts(section(row, "reward_model"), "refused_because")
    ]


def failures(run: Run) -> list[str]:
    """Return a sentence for each iteration whose model failed probes, or was not probed."""
    lines = []
    for row in run.begun:
        found = section(row, "reward_model")
        where = f"Iteration {number(row, 'iteration') or 0:.0f}: "
        failed, why_not = _texts(found, "probes_failed"), found.get("probes_not_run")
        if failed:
            lines.append(where + ", ".join(failed))
        elif isinstance(why_not, str):
            lines.append(f"{where}not probed: {why_not}")
    return lines


def _table(run: Run, columns: _Columns) -> Table:
    """Leave out the columns without any value."""
    rows = [row for row in run.begun if section(row, "reward_model")]
    judged = [section(row, "reward_model") for row in rows]
    cells = {heading: [cell(found) for found in judged] for heading, cell in columns}
    kept = [heading for heading, column in cells.items() if any(column)]
    iterations = [f"{number(row, 'iteration') or 0:.0f}" for row in rows]
    return Table(
        ("iteration", *kept),
        tuple(zip(iterations, *(cells[heading] for heading in kept), strict=True)),
    )


def _change(key: str) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        old, new = number(row, f"{key}_before"), number(row, key)
        if new is None:
            return ""
        return f"{new:.3f}" if old is None else f"{old:.3f} → {new:.3f}"

    return cell


def _share(key: str) -> Callable[[Row], str]:
    return lambda row: "" if (value := number(row, key)) is None else f"{value:.1%}"


def _plain(key: str) -> Callable[[Row], str]:
    return lambda row: "" if (value := number(row, key)) is None else f"{value:+.2f}"


def _count(key: str) -> Callable[[Row], str]:
    return lambda row: "" if (value := number(row, key)) is None else f"{value:,.0f}"


def _gain(row: Row) -> str:
    low, high = number(row, "gain_low"), number(row, "gain_high")
    return "" if low is None or high is None else f"{low:+.1%} to {high:+.1%}"


def _ages(row: Row) -> str:
    """Return how many replayed rows are of which age, as `1: 150, 2: 150`."""
    ages = section(row, "replay_ages")
    return ", ".join(f"{age}: {number(ages, age) or 0:.0f}" for age in ages)


def _kept(row: Row) -> str:
    kept, steps = number(row, "kept_step"), number(row, "train_steps")
    if kept is None or steps is None:
        return ""
    return "those before training" if kept == 0 else f"of step {kept:.0f} of {steps:.0f}"


def _decision(row: Row) -> str:
    return {True: "taken", False: "refused", None: ""}.get(row.get("promoted"), "")


def _texts(row: Row, key: str) -> list[str]:
    value = row.get(key)
    return [str(it) for it in value] if isinstance(value, list) else []
