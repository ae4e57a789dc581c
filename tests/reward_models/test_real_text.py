"""Real model solutions of GSM8K questions: learned, measured and chosen from, split by question.

They answer GSM8K's test questions: good for checking this machinery, never for a reward model of a
policy that is then evaluated there.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.real_text_rewards import line, measure, read
from iterative_grpo.splitters import lines
from reward_models.division import Division, Part
from reward_models.model import RewardModel
from tests.reward_models.making import byte_bpe, llama

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("ITERATIVE_GRPO_DATA", ROOT.parent / "shared" / "data"))
SOLUTIONS = DATA / "gsm8k_model_solutions" / "solutions.jsonl"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SOLUTIONS.is_file(), reason=f"{SOLUTIONS} is not there"),
]


def test_a_small_judge_of_real_solutions() -> None:
    solutions = read(SOLUTIONS)
    assert len(solutions.rows) == 5276
    found = measure(solutions, 0, "temperature", epochs=2)
    print(f"\n{line(found)}")
    # A small model from scratch sees surfaces only: it is near chance (standard error 0.016) and
    # must not be on the wrong side of it. That models learn is tested where there is more to see.
    assert found.raw.auroc is not None
    assert found.raw.auroc > 0.45
    assert found.calibrated.auroc == pytest.approx(found.raw.auroc, abs=0.01)
    assert found.calibrated.ece < 0.1
    division = Division(held_out=0.25, validation=0.1, seed=0)
    unseen = division.divide(solutions.rows)[Part.HELD_OUT]
    names = {row.problem_id for row in unseen}
    assert found.best.problems == len(names)
    solved = {row.problem_id for row in unseen if row.correct}
    assert found.best.pass_at_n.value == pytest.approx(len(solved) / len(names))


def test_real_steps_encode_under_every_cut() -> None:
    rows = read(SOLUTIONS).rows
    tokenizer = byte_bpe(merges=400, texts=[row.text for row in rows[:500]])
    model = RewardModel.from_shape(llama(len(tokenizer), context=4096), tokenizer)
    cuts = [lines.Splitter().split(row.text) for row in rows]
    encoded = model.encode([row.question for row in rows], [row.text for row in rows], cuts)
    for row, cut in zip(encoded, cuts, strict=True):
        assert len(row.marks) == len(cut)
        # Steps of real solutions end in tokens of their own.
        assert list(row.marks) == sorted(set(row.marks))
        assert row.marks[-1] == len(row.token_ids) - 1
