"""What became of the answers: every question is in one column."""

from __future__ import annotations

from pathlib import Path

from pipelines.evaluation.figures import counts
from pipelines.report.run import read
from pipelines.report.table import by_task
from tests.pipelines.report.synthetic_run import write_lines


def test_outcomes_add_up_to_the_questions(tmp_path: Path) -> None:
    made = {"correct": 46, "incorrect": 9, "no_answer": 3, "unparsed": 2, "timeout": 1}
    answers = [
        {"outcome": outcome, "tokens": 20, "finish": "length" if n == 0 else "stop"}
        for outcome, times in made.items()
        for n in range(times)
    ]
    evaluations = {"arithmetic/test": counts(answers)}
    rows = [{"iteration": 0, "evaluations": evaluations}]
    write_lines(tmp_path / "metrics" / "iterations.jsonl", rows)
    table = by_task(read(tmp_path))
    found = dict(zip(table.headings, table.rows[0], strict=True))
    assert int(found["questions"]) == 61
    assert {name: int(found[name.replace("_", " ")]) for name in made} == made
    assert (found["truncated"], found["mean tokens"]) == ("5", "20")
