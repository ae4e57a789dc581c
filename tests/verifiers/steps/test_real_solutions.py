"""The step checker on solutions that people and models wrote."""

import json
from pathlib import Path

import pytest

from verifiers.steps import StepOutcome, check_spans, check_steps


def _rows(path: Path, field: str, count: int) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()[:count]
    return [json.loads(line)[field] for line in lines]


def test_gsm8ks_marks_are_right(real_data: Path) -> None:
    # GSM8K's calculator marks were computed, so all that can be read are right; `//` cannot.
    outcomes = []
    for text in _rows(real_data / "gsm8k" / "train.jsonl", "answer", 2_000):
        for step in check_steps(text):
            if text.rfind("<<", 0, step.start + 1) > text.rfind(">>", 0, step.start):
                outcomes.append((step.outcome, text[step.start : step.end]))
    assert len(outcomes) > 6_000
    assert [span for outcome, span in outcomes if outcome is not StepOutcome.RIGHT] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "field", "least_right", "most_wrong"),
    [
        # Read by hand: of GSM8K's 29 about 24 are faults of the data, of MATH's 26 about half.
        ("gsm8k/train.jsonl", "answer", 0.90, 0.0010),
        ("math/train.jsonl", "solution", 0.15, 0.0010),
    ],
)
def test_few_false_alarms(
    real_data: Path, file: str, field: str, least_right: float, most_wrong: float
) -> None:
    counts = dict.fromkeys(StepOutcome, 0)
    for text in _rows(real_data / file, field, 10_000):
        for step in check_steps(text):
            counts[step.outcome] += 1
    every = sum(counts.values())
    assert counts[StepOutcome.RIGHT] > least_right * every, counts
    assert counts[StepOutcome.WRONG] < most_wrong * every, counts


def test_wrong_sums_of_models_are_found(real_data: Path) -> None:
    path = real_data / "gsm8k_model_solutions" / "solutions.jsonl"
    found = 0
    for text in _rows(path, "solution", 1_500):
        ends = [i + 1 for i, letter in enumerate(text) if letter == "\n" and i + 1 < len(text)]
        steps = check_spans(text, [*ends, len(text)])
        assert len(steps) == len(ends) + 1
        found += any(step.outcome is StepOutcome.WRONG for step in steps)
    assert found > 10
