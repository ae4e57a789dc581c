"""Stored completions with what is known about them: solutions, golds, rewrites, other answers."""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from reward_models.best_of import BestOf, Candidate, best_of
from verifiers import verify_many
from verifiers.steps import StepOutcome, check_steps

TaskName = Literal["gsm8k", "math"]


@dataclass(frozen=True, slots=True)
class Row:
    """A completion. `solution` is the reference solution, as a data set's row has it.

    `gold` is what our side is given: for MATH the whole solution too, since `math_verify` reads
    all boxes of it, and a few solutions box several answers (`several_boxes`).
    `right` is the label: given with the row, or by construction; None where nobody has said.
    """

    id: str
    question: str
    solution: str
    gold: str
    response: str
    right: bool | None


@dataclass(frozen=True, slots=True)
class Collection:
    """Rows of one origin, to be judged under one task of lm-eval."""

    name: str
    task: TaskName
    about: str
    rows: tuple[Row, ...]


def gsm8k(data: Path) -> list[Collection]:
    """Return OpenAI's labelled solutions, in two forms, and rewrites of the test golds."""
    solutions = list(_solutions(data))
    golds = _read(data / "gsm8k" / "test.jsonl")
    return [
        Collection(
            "model solutions",
            "gsm8k",
            "OpenAI's four models, labelled by OpenAI; they end in `A: n`",
            tuple(_solution_row(row, row["solution"]) for row in solutions),
        ),
        Collection(
            "model solutions, `#### n`",
            "gsm8k",
            "the same with `#### n` for the last `A: n`, the form of the data set's own answers",
            tuple(_solution_row(row, _marked(row["solution"])) for row in solutions),
        ),
        Collection(
            "rewrites of golds",
            "gsm8k",
            "the reference solution with its answer written otherwise (right) or changed (wrong)",
            tuple(_rewrites(golds)),
        ),
    ]


def math(data: Path) -> list[Collection]:
    """Return MATH's test solutions, solutions of other problems, and the labelled cases."""
    rows = _read(data / "math" / "test.jsonl")
    golds = [row["answer"] for row in _read(data / "math_index" / "test.jsonl")]
    sampled = {row["unique_id"] for row in _read(data / "math500" / "test.jsonl")}
    names = [row["unique_id"] for row in _read(data / "math_index" / "test.jsonl")]
    own, other = [], []
    of_subject = defaultdict(list)
    for index, row in enumerate(rows):
        of_subject[row["type"]].append(index)
    following = {
        index: group[(place + 1) % len(group)]
        for group in of_subject.values()
        for place, index in enumerate(group)
    }
    for index, (row, gold) in enumerate(zip(rows, golds, strict=True)):
        fixed = (f"math/test/{index}", row["problem"], row["solution"], row["solution"])
        own.append(Row(*fixed, row["solution"], True))
        if names[index] in sampled:
            # The same text is the same answer; whether two texts are, the sides are to tell.
            same = golds[following[index]] == gold or None
            other.append(Row(*fixed, rows[following[index]]["solution"], same))
    return [
        Collection("reference solutions", "math", "each test solution for itself", tuple(own)),
        Collection(
            "solutions of other problems",
            "math",
            "for MATH-500's problems, the solution of the subject's next problem in MATH",
            tuple(other),
        ),
        *(
            Collection(f"{name} cases", "math", about, tuple(_cases(data, name)))
            for name, about in (
                ("metamorphic", "rewrites (right) and changes (wrong) of MATH golds"),
                ("equivalence", "pairs of answers from test suites, labelled"),
            )
        ),
    ]


def several_boxes(data: Path) -> list[str]:
    """Return MATH's test problems whose solution is not right by the data set's own gold.

    The gold is the last box, in lm-eval's `exact_match` and in the hub's `answer` fields as in
    ours; where the last of several boxes is one of several answers, it is a part of the answer.
    """
    rows = _read(data / "math" / "test.jsonl")
    golds = [row["answer"] for row in _read(data / "math_index" / "test.jsonl")]
    pairs = [(row["solution"], gold) for row, gold in zip(rows, golds, strict=True)]
    verdicts = verify_many(pairs, workers=1)
    return [f"math/test/{index}" for index, each in enumerate(verdicts) if not each.correct]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """One model's answers to the test questions by our verdict and by the labels."""

    model: str
    questions: int
    ours: int
    labels: int


@dataclass(frozen=True, slots=True)
class Accuracies:
    """Per model, and all four models' answers as four samples of a question."""

    models: tuple[Accuracy, ...]
    mean: float
    four: BestOf


def accuracies(data: Path) -> Accuracies:
    """Judge the 5,276 labelled solutions with our verifier.

    Majority, pass@4 and best-of-4 take the four models' solutions of a question as four samples.
    Votes are for the number that a solution states. Best-of-4 takes the solution with the fewest
    wrong equalities by `check_steps`: a judge that sees no label. Ties are shared equally.
    """
    rows = list(_solutions(data))
    verdicts = verify_many(
        [(row["solution"], _gold(row["answer"])) for row in rows], convention="gsm8k"
    )
    by_model: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    candidates = []
    for row, verdict in zip(rows, verdicts, strict=True):
        by_model[row["model"]].append((verdict.correct, row["is_correct"]))
        candidates.append(
            Candidate(
                problem_id=str(row["test_index"]),
                score=-float(_wrong_steps(row["solution"])),
                correct=verdict.correct,
                answer=_vote(verdict.extracted),
            )
        )
    return Accuracies(
        models=tuple(
            Accuracy(name, len(own), sum(a for a, _ in own), sum(b for _, b in own))
            for name, own in sorted(by_model.items())
        ),
        mean=sum(verdict.correct for verdict in verdicts) / len(verdicts),
        four=best_of(candidates, 4),
    )


def _wrong_steps(solution: str) -> int:
    return sum(step.outcome is StepOutcome.WRONG for step in check_steps(solution))


def _vote(extracted: str | None) -> str | float | None:
    """Return what a solution votes for: 18, 18.00 and $18 are one vote."""
    if extracted is None:
        return None
    try:
        return float(extracted.replace(",", "").strip("$ "))
    except ValueError:
        return extracted


def _solutions(data: Path) -> list[dict[str, Any]]:
    return _read(data / "gsm8k_model_solutions" / "solutions.jsonl")


def _solution_row(row: dict[str, Any], response: str) -> Row:
    return Row(
        id=f"gsm8k/test/{row['test_index']} {row['model']}",
        question=row["question"],
        solution=row["answer"],
        gold=_gold(row["answer"]),
        response=response,
        right=row["is_correct"],
    )


def _marked(solution: str) -> str:
    before, _, answer = solution.rpartition("A:")
    return f"{before}#### {answer.strip()}"


def _gold(solution: str) -> str:
    return solution.rpartition("####")[2].strip()


_RIGHT: dict[str, Callable[[str], str]] = {
    "same": lambda n: f"#### {n}",
    "thousands": lambda n: f"#### {int(n):,}",
    "decimals": lambda n: f"#### {n}.00",
    "dollar": lambda n: f"#### ${n}",
    "full stop": lambda n: f"#### {n}.",
    "unit": lambda n: f"#### {n} apples",
    "no space": lambda n: f"####{n}",
    "bold": lambda n: f"#### **{n}**",
    "sentence": lambda n: f"The answer is {n}.",
    "box": lambda n: f"The answer is \\boxed{{{n}}}.",
    "latex": lambda n: f"The final answer is ${n}$.",
    "text behind": lambda n: f"#### {n}\n\nThis took 2 steps, each checked 3 times.",
    "next question": lambda n: f"#### {n}\n\nQuestion: Ann has 5 pens. How many?\nAnswer: #### 5",
    "equation": lambda n: f"#### {int(n) - 1} + 1 = {n}",
}
_WRONG: dict[str, Callable[[str], str]] = {
    "plus one": lambda n: f"#### {int(n) + 1}",
    "ten times": lambda n: f"#### {n}0",
    "digit in front": lambda n: "#### " + re.sub(r"(\d+)", r"1\1", n),
    "negative": lambda n: f"#### {-int(n) or 1}",
    "half more": lambda n: f"#### {n}.5",
    "two answers": lambda n: f"#### {int(n) + 7} or {n}",
    "percent": lambda n: f"#### {int(n) + 1}%",
    "sentence, plus one": lambda n: f"The answer is {int(n) + 1}.",
    "gold on the way": lambda n: f"First we get {n}.\n#### {int(n) + 3}",
    "nothing": lambda n: "I do not know.",
}


def _rewrites(golds: Sequence[dict[str, Any]]) -> Iterator[Row]:
    for index, row in enumerate(golds):
        gold = _gold(row["answer"])
        plain = gold.replace(",", "")
        # The steps stay: an answer that is missed leaves their numbers to be taken for it.
        steps = row["answer"].rpartition("####")[0]
        for right, ways in ((True, _RIGHT), (False, _WRONG)):
            for name, write in ways.items():
                before = "" if name == "nothing" else steps
                yield Row(
                    id=f"gsm8k/test/{index} {name}",
                    question=row["question"],
                    solution=row["answer"],
                    gold=gold,
                    response=before + write(plain),
                    right=right,
                )


def _cases(data: Path, name: str) -> Iterator[Row]:
    for row in _read(data / "verifier_cases" / f"{name}.jsonl"):
        if row.get("convention"):
            continue  # the label depends on a rule of format that neither side is asked for
        kind = row["kind"] if name == "metamorphic" else row["source"]
        boxed = f"The final answer is $\\boxed{{{row['gold']}}}$."
        # Math-Verify looks for formulas between delimiters; those that have none get them.
        response = row["pred"] if _PROSE.search(row["pred"]) else f"${row['pred']}$"
        yield Row(f"{name}/{row['id']} {kind}", "", boxed, row["gold"], response, row["expected"])


_PROSE = re.compile(r"\$|\\boxed|\\\[|\\\(|\n|(?<!\\)\b[A-Za-z]{3,}\b.*\s")


def _read(file: Path) -> list[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
