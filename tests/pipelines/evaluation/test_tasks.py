"""Which questions a task asks, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.datasets import checksum
from pipelines.evaluation.tasks import UnusableTasks, load_task, load_tasks


def test_the_seed_chooses_the_questions_of_a_limited_task(data: Path) -> None:
    one, again, other = (load_task("gsm8k", data, 5, seed) for seed in (0, 0, 3))
    assert one == again
    assert {it.id for it in one.problems} != {it.id for it in other.problems}
    assert one.state.startswith("5 of 12 rows (limit); ")
    # The file is one, the questions asked are others.
    assert one.fingerprint == other.fingerprint
    assert one.content == checksum(one.problems) != other.content


def test_a_limit_above_the_rows_is_none(data: Path) -> None:
    whole = load_task("gsm8k", data, None, 0)
    assert load_task("gsm8k", data, 50, 0) == whole
    assert len(whole.problems) == 12
    assert "limit" not in whole.state


def test_a_task_is_read_and_asked_as_its_data_set_says_unless_told_otherwise(data: Path) -> None:
    usual = load_task("gsm8k/train", data, None, 0)
    assert (usual.name, usual.prompt, usual.verifier) == ("gsm8k/train", "plain", "gsm8k")
    told = load_task("gsm8k", data, None, 0, "deepseek_math_cot", "math")
    assert (told.name, told.prompt, told.verifier) == ("gsm8k/test", "deepseek_math_cot", "math")
    with pytest.raises(UnusableTasks, match="gsm8k/test is named 2 times"):
        load_tasks(["gsm8k", "openai/gsm8k"], data, None, 0)
