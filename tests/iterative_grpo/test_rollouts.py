"""Rollouts and completions: round trips through JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from iterative_grpo import completions, rollouts
from iterative_grpo.rollouts import Rollout
from iterative_grpo.types import Completion, Finish, StepRewards


def rollout(text: str, ends: tuple[int, ...], values: tuple[float, ...], right: bool) -> Rollout:
    finish = Finish.STOP if right else Finish.LENGTH
    rewards = StepRewards(ends, values, {"model": values})
    return Rollout("p", 0, text, len(text) + 1, finish, rewards, values, right)


ROLLOUTS = [
    rollout("ab\nc", (3, 4), (1.0, 0.0), right=True),
    rollout("", (0,), (0.0,), right=False),
    rollout("same", (4,), (0.5,), right=False),
    rollout("same", (4,), (0.5,), right=True),
]


def test_rows_come_back(tmp_path: Path) -> None:
    file = tmp_path / "rollouts.jsonl"
    rows = [json.dumps(r.as_row(iteration=1, step=7)) for r in ROLLOUTS]
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    assert list(rollouts.read(file)) == [(7, r) for r in ROLLOUTS]
    assert list(json.loads(rows[0]))[:3] == ["iteration", "step", "problem_id"]


@pytest.mark.parametrize("broken", ['{"problem_id": "p"', '{"problem_id": "p"}', "3"])
def test_completions_come_back_and_broken_lines_are_named(broken: str, tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    made = [Completion("p", i, "ü\n", (1, 2), Finish.STOP) for i in range(2)]
    with file.open("w", encoding="utf-8") as out:
        completions.write(out, made)
    assert list(completions.read(file)) == made
    assert "ü" in file.read_text(encoding="utf-8")
    with file.open("a", encoding="utf-8") as out:
        out.write(broken)
    with pytest.raises(completions.BrokenCompletions, match=r"samples\.jsonl:3"):
        list(completions.read(file))
