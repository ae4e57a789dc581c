"""A small reward model on real solutions of GSM8K questions: how good, how calibrated, what for.

    python benchmarks/real_text_rewards.py --data ../shared/data
    python benchmarks/real_text_rewards.py --data ../shared/data --seeds 0-4 --calibrate isotonic

DATA/gsm8k_model_solutions/solutions.jsonl holds four models' solutions with their verdicts. The
questions are divided as a run divides them: 65 % to train on, 10 % to stop early and calibrate on,
25 % to measure on. They are GSM8K's test questions, so that such a model must never reward a
policy that is evaluated there. The model is a Llama of 64 dimensions from scratch, with a tokenizer
made of the training part: it shows that the machinery works on real text, not what a pretrained
backbone would reach. About three minutes a seed on one thread.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reward_models.best_of import BestOf
    from reward_models.diagnostics import Diagnostics
    from reward_models.model import RewardModel
    from reward_models.types import LabeledSolution

FILE = Path("gsm8k_model_solutions") / "solutions.jsonl"
N = 4


@dataclass(frozen=True, slots=True)
class Solutions:
    """Labeled solutions, each with the answer that it states, None without one."""

    rows: list[LabeledSolution]
    answers: list[str | None]


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures on held-out questions, as scored and calibrated, and best-of-N against the vote."""

    raw: Diagnostics
    calibrated: Diagnostics
    best: BestOf
    seconds: float


def main() -> None:
    """Train and measure one model a seed; print each, then the means."""
    options = parse()
    solutions = read(options.data / FILE)
    found = []
    for seed in options.seeds:
        found.append(measure(solutions, seed, options.calibrate))
        print(f"seed {seed}: {line(found[-1])}", flush=True)
    print(f"\nmean of {len(found)} seeds (min to max)")
    for name, values in figures(found).items():
        spread = f"{statistics.fmean(values):.3f} ({min(values):.3f} to {max(values):.3f})"
        print(f"{name:34}{spread}")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the data")
    parser.add_argument("--seeds", type=seeds, default=[0, 1, 2], help="as 0-2 or 0,3")
    parser.add_argument("--calibrate", choices=("temperature", "isotonic"), default="temperature")
    return parser.parse_args()


def seeds(text: str) -> list[int]:
    """Return the seeds that a range or a list names."""
    first, dash, last = text.partition("-")
    return list(range(int(first), int(last) + 1)) if dash else [int(it) for it in text.split(",")]


def read(file: Path) -> Solutions:
    """Return the solutions with their verdicts as outcome labels."""
    from reward_models.types import LabeledSolution

    rows, answers = [], []
    with file.open(encoding="utf-8") as lines:
        for found in map(json.loads, lines):
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
    return Solutions(rows, answers)


def measure(solutions: Solutions, seed: int, calibrate: str, epochs: int = 3) -> Measured:
    """Train on one part of the questions, calibrate on another, measure on the third."""
    from reward_models import calibration
    from reward_models.best_of import Candidate, best_of
    from reward_models.diagnostics import diagnose
    from reward_models.division import Division, Part
    from reward_models.measuring import score
    from reward_models.training import TrainingSettings, train

    started = time.perf_counter()
    division = Division(held_out=0.25, validation=0.1, seed=seed)
    parts = division.divide(solutions.rows)
    model = judge([f"{row.question}\n{row.text}" for row in parts[Part.LABELS]], seed)
    settings = TrainingSettings(
        learning_rate=1e-3, optimizer="muon", muon_learning_rate=5e-3, epochs=epochs, seed=seed
    )
    validation, unseen = parts[Part.VALIDATION], parts[Part.HELD_OUT]
    train(model, parts[Part.LABELS], settings=settings, heldout=validation)
    fitted = calibration.fit(
        calibrate,
        score(model, validation),
        [row.labels for row in validation],
        [row.problem_id for row in validation],
    )
    scores = score(model, unseen)
    labels, names = [row.labels for row in unseen], [row.problem_id for row in unseen]
    stated = dict(zip((id(row) for row in solutions.rows), solutions.answers, strict=True))
    candidates = [
        Candidate(row.problem_id, own[-1], row.correct, stated[id(row)])
        for row, own in zip(unseen, scores, strict=True)
    ]
    return Measured(
        diagnose(scores, labels, names),
        diagnose(fitted.apply(scores), labels, names),
        best_of(candidates, N, seed=seed),
        time.perf_counter() - started,
    )


def judge(texts: list[str], seed: int) -> RewardModel:
    """Return an untrained model whose tokenizer knows the texts.

    Some solutions are loops of two thousand tokens: a context that cut them would be refused.
    """
    from pipelines import making
    from reward_models.model import RewardModel

    tokenizer = making.make_tokenizer("bpe", texts, 2048)
    shape = making.ModelShape(width=64, layers=2, context=4096)
    policy: Any = making.make_policy(tokenizer, shape, seed)
    return RewardModel.from_shape(policy.config, tokenizer, seed=seed)


def line(found: Measured) -> str:
    """Return one seed's figures."""
    best = found.best
    return (
        f"AUROC {found.raw.auroc:.3f}, within questions {found.raw.pair_accuracy:.3f}, ECE "
        f"{found.raw.ece:.3f} -> {found.calibrated.ece:.3f}, Brier {found.raw.brier:.3f} -> "
        f"{found.calibrated.brier:.3f}; best of {N} {best.best_of_n.value:.3f}, majority "
        f"{best.majority.value:.3f}, pass@{N} {best.pass_at_n.value:.3f}, gain "
        f"[{best.gain.low:+.3f}, {best.gain.high:+.3f}] on {best.problems} questions; "
        f"{found.seconds:.0f} s"
    )


def figures(found: list[Measured]) -> dict[str, list[float]]:
    """Return each figure's values over the seeds."""
    return {
        "AUROC": [it.raw.auroc or 0.0 for it in found],
        "share of right solutions": [it.raw.positive_share for it in found],
        "pairs of one question": [it.raw.pair_accuracy or 0.0 for it in found],
        "ECE": [it.raw.ece for it in found],
        "ECE, calibrated": [it.calibrated.ece for it in found],
        "Brier": [it.raw.brier for it in found],
        "Brier, calibrated": [it.calibrated.brier for it in found],
        f"best of {N}": [it.best.best_of_n.value for it in found],
        "majority": [it.best.majority.value for it in found],
        f"pass@{N}": [it.best.pass_at_n.value for it in found],
        "best of 4 - majority": [it.best.gain.value for it in found],
    }


if __name__ == "__main__":
    # The project in place of this folder, which is imported as a package.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    main()
