"""Benchmarks at their smallest: the interfaces that they stand on change."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.datasets import arithmetic

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what the benchmarks read as GSM8K."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "gsm8k").mkdir()
    problems = itertools.islice(arithmetic.make("train", 0), 300)
    rows = [{"question": p.question, "answer": arithmetic.demonstration(p)} for p in problems]
    (folder / "gsm8k" / "train.jsonl").write_text(
        "\n".join(map(json.dumps, rows)), encoding="utf-8"
    )
    return folder


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("bounds.py --threads 1 --dtypes float32", ["float32"]),
        (
            "collectives.py --data DATA --pairs 2 --group 2 --accumulate 2",
            ["| TRL's |", "| deferred |"],
        ),
        ("reward_model_step.py --solutions 32 --repeats 1", ["| whole |", "| where it is read |"]),
        (
            "rollouts.py --shapes 3m --lengths fixed --prompts 2 --group 2 --tokens 4 --repeats 1",
            ["| generate |", "| native |", "| native-bf16 |"],
        ),
        (
            "sharded_update.py --data DATA --shape 1m --prompts 2 --group 2 --repeats 1",
            ["| stock |", "| shared |"],
        ),
        ("step_overhead.py --data DATA --cases 2x16x1 --repeats 1", ["| 16 |"]),
        (
            "update.py --data DATA --shape 1m --prompts 2 --groups 2 --repeats 1 --no-memory",
            ["| stock |", "| plain |", "| shared |"],
        ),
    ],
    ids=lambda each: each.partition(".")[0] if isinstance(each, str) else "",
)
def test_a_benchmark_runs(command: str, shown: list[str], data: Path) -> None:
    script, *options = command.replace("DATA", str(data)).split()
    done = subprocess.run(
        [sys.executable, f"benchmarks/{script}", *options],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [each for each in shown if each not in done.stdout] == []
