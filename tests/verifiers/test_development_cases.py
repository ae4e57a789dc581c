"""The labelled development cases and every MATH gold, where the data are at hand."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from verifiers import Verdict, verify

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("ITERATIVE_GRPO_DATA", ROOT.parent / "shared" / "data"))

pytestmark = pytest.mark.filterwarnings("ignore::verifiers.verdict.SwappedArgumentsWarning")


def rows(path: str) -> list[dict[str, Any]]:
    file = DATA / path
    if not file.exists():
        pytest.skip(f"{file} is not there; set ITERATIVE_GRPO_DATA to the folder of the data")
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "accuracy", "false_positives"),
    [("equivalence", 0.95, 0.005), ("metamorphic", 0.997, 0.001), ("adversarial", 0.97, 0.0)],
)
def test_labelled_cases(name: str, accuracy: float, false_positives: float) -> None:
    strict = [
        row
        for row in rows(f"verifier_cases/{name}.jsonl")
        if not row.get("convention") and not row.get("lenient")
    ]
    verdicts: list[Verdict] = [verify(row["pred"], row["gold"]) for row in strict]
    right = [v.correct is row["expected"] for v, row in zip(verdicts, strict, strict=True)]
    wrongly = [v.correct and not row["expected"] for v, row in zip(verdicts, strict, strict=True)]
    assert sum(right) >= accuracy * len(strict)
    assert sum(wrongly) <= false_positives * len(strict)


@pytest.mark.slow
@pytest.mark.parametrize("split", ["train", "test"])
def test_every_math_gold_is_correct_in_a_box(split: str) -> None:
    golds = [row["answer"] for row in rows(f"math_index/{split}.jsonl")]
    assert all(verify(f"The final answer is $\\boxed{{{gold}}}$.", gold).correct for gold in golds)


@pytest.mark.slow
def test_verdicts_agree_with_the_labels_of_gsm8k_solutions() -> None:
    solutions = rows("gsm8k_model_solutions/solutions.jsonl")
    for row in solutions:
        verdict = verify(row["solution"], row["answer"], convention="gsm8k")
        assert verdict.correct is row["is_correct"], row["solution"][-80:]
