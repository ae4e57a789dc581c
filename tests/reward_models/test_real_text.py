"""Real model solutions of GSM8K questions: learned, measured and chosen from, split by question.

They answer GSM8K's test questions: good for checking this machinery, never for a reward model of a
policy that is then evaluated there.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from iterative_grpo.splitters import lines
from reward_models.best_of import Candidate, best_of
from reward_models.calibration import fit
from reward_models.diagnostics import diagnose
from reward_models.division import Division, Part
from reward_models.model import RewardModel
from reward_models.training import TrainingSettings, train
from reward_models.types import LabeledSolution
from tests.reward_models.making import byte_bpe, llama

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("ITERATIVE_GRPO_DATA", ROOT.parent / "shared" / "data"))
SOLUTIONS = DATA / "gsm8k_model_solutions" / "solutions.jsonl"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SOLUTIONS.is_file(), reason=f"{SOLUTIONS} is not there"),
]


def read_rows() -> tuple[list[LabeledSolution], list[str | None]]:
    """Return the solutions with OpenAI's outcome labels, and the answers that they state."""
    rows, answers = [], []
    with SOLUTIONS.open(encoding="utf-8") as file:
        for line in file:
            found = json.loads(line)
            text, right = found["solution"], bool(found["is_correct"])
            rows.append(
                LabeledSolution(
                    problem_id=f"test/{found['test_index']}",
                    question=found["question"],
                    text=text,
                    ends=(len(text),),
                    labels=(float(right),),
                    counts=((int(right), 1),),
                    iteration=1,
                    labeler="verdict",
                    completer="",
                    correct=right,
                    finished=True,
                )
            )
            answers.append(text.rpartition("A:")[2].strip() or None)
    return rows, answers


def test_a_small_judge_of_real_solutions() -> None:
    rows, answers = read_rows()
    assert len(rows) == 5276
    division = Division(held_out=0.25, validation=0.0, seed=0)
    part = [division.part(row.question) for row in rows]
    trained = [row for row, own in zip(rows, part, strict=True) if own is Part.LABELS]
    kept = [
        (row, answer)
        for row, answer, own in zip(rows, answers, part, strict=True)
        if own is Part.HELD_OUT
    ]
    unseen = [row for row, _ in kept]
    assert {row.question for row in trained}.isdisjoint(row.question for row in unseen)

    # Some are loops of two thousand tokens; a context that cut them would be refused.
    texts = [f"{row.question}\n{row.text}" for row in trained]
    tokenizer = byte_bpe(merges=1800, texts=texts)
    model = RewardModel.from_shape(llama(len(tokenizer), width=64, context=4096), tokenizer)
    settings = TrainingSettings(
        learning_rate=2e-3, optimizer="muon", epochs=2, batch_size=32, balance="none"
    )
    report = train(model, trained, settings=settings)
    assert report.padding < 0.2
    scores = model.score(
        [row.question for row in unseen], [row.text for row in unseen], [row.ends for row in unseen]
    )
    labels, names = [row.labels for row in unseen], [row.problem_id for row in unseen]
    found = diagnose(scores, labels, names)
    candidates = [
        Candidate(row.problem_id, score[-1], row.correct, answer)
        for (row, answer), score in zip(kept, scores, strict=True)
    ]
    four = best_of(candidates, 4)
    # Calibrated on one half of the held-out questions, measured on the other.
    half = Division(held_out=0.5, validation=0.0, seed=1)
    fitted, measured = (
        [row for row, found in enumerate(unseen) if half.part(found.question) is wanted]
        for wanted in (Part.LABELS, Part.HELD_OUT)
    )
    calibration = fit(
        "temperature",
        [scores[row] for row in fitted],
        [labels[row] for row in fitted],
        [names[row] for row in fitted],
    )
    raw, calibrated = (
        diagnose(given, [labels[row] for row in measured], [names[row] for row in measured])
        for given in (
            [scores[row] for row in measured],
            calibration.apply([scores[row] for row in measured]),
        )
    )
    print(
        f"\nAUROC {found.auroc:.3f}, within questions {found.pair_accuracy:.3f}, Brier "
        f"{found.brier:.3f}, ECE {raw.ece:.3f} -> {calibrated.ece:.3f}; best of 4 "
        f"{four.best_of_n.value:.3f} [{four.best_of_n.low:.3f}, {four.best_of_n.high:.3f}], "
        f"majority {four.majority.value:.3f}, pass@4 {four.pass_at_n.value:.3f}, "
        f"{report.seconds:.0f} s"
    )
    # A small model from scratch sees surfaces only: better than chance (its standard error is
    # about 0.016), and no match for the majority.
    assert found.auroc is not None
    assert found.auroc > 0.54
    assert calibrated.ece < raw.ece
    assert calibrated.auroc == pytest.approx(raw.auroc, abs=0.01)
    assert four.problems == len(set(names))
    assert four.pass_at_n.value == pytest.approx(
        sum(any(row.correct for row in unseen if row.problem_id == name) for name in set(names))
        / len(set(names))
    )


def test_real_steps_encode_under_every_cut() -> None:
    rows, _ = read_rows()
    tokenizer = byte_bpe(merges=400, texts=[row.text for row in rows[:500]])
    model = RewardModel.from_shape(llama(len(tokenizer), context=4096), tokenizer)
    cuts = [lines.Splitter().split(row.text) for row in rows]
    encoded = model.encode([row.question for row in rows], [row.text for row in rows], cuts)
    for row, cut in zip(encoded, cuts, strict=True):
        assert len(row.marks) == len(cut)
        # Steps of real solutions end in tokens of their own.
        assert list(row.marks) == sorted(set(row.marks))
        assert row.marks[-1] == len(row.token_ids) - 1
