"""Made word problems with two or three operations: the task that a CPU learns in minutes.

    Ann has 18 coins. Ann wins 5. Ann buys 2 boxes of 4. How many?

is answered one step a line: `18+5=23`, `2*4=8`, `23+8=31`, then `#### 31`.

Reinforcement learning at this scale corrects behaviour and teaches no arithmetic, so the
demonstrations of the warm start carry known, systematic mistakes (`MISTAKES`), while problems,
golds, verifier and step checks are clean. A mistake more likely than 0.5 makes the greedy answer
wrong where sampling still finds the right one: that is what the algorithm then has to find out.

The splits share no (start, operations, operands): a split is a range of that key's hash, so names
and things never decide. Problems are made in an order that the seed fixes, as many as are asked.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from iterative_grpo.types import Problem
from pipelines.datasets._derivation import Block, State, right_prefixes
from pipelines.datasets._split import Rows, refuse_split

VERIFIER = "gsm8k"
PROMPT = "plain"
MADE = True
"""Problems are made, not read: a folder of data does not concern this set."""

SPLITS = ("train", "validation", "test")
SIZES = {"train": 20_000, "validation": 300, "test": 1_000}
"""How many problems a split has when no limit asks for another number; there are far more."""

LARGEST = 60
"""No value on the way to the answer is larger."""

NAMES = ("Ann", "Ben", "Eva", "Max", "Mia", "Sam", "Tom", "Zoe")
THINGS = ("apples", "books", "cards", "coins", "pens", "stamps")

WEIGHTS = {
    "wins": 15,
    "finds": 15,
    "loses": 16,
    "gets": 10,
    "sells": 10,
    "gives": 8,
    "boxes": 13,
    "times": 14,
}
"""How often each operation is drawn, before draws that leave 0 to `LARGEST` are thrown away."""

SIGNS = {"wins": 1, "finds": 1, "gets": 1, "loses": -1, "sells": -1, "gives": -1}

MISTAKES = {"gives": 0.6, "times": 0.6, "boxes": 0.4, "sells": 0.25, "gets": 0.25}
"""The share of demonstrations in which an operation goes wrong, always in the same way: the sign
of "gives", "sells" and "gets" is turned, "times" is left out, a box of boxes is a+b for a*b."""

_BUCKETS = 20
_BUCKET_OF = {"test": (0,), "validation": (1,), "train": tuple(range(2, _BUCKETS))}


@dataclass(frozen=True, slots=True)
class Operation:
    """What one sentence does: `verb` is a key of `WEIGHTS`, `operands` the numbers it names.

    One number, or two for boxes: how many, and how many in each.
    """

    verb: str
    operands: tuple[int, ...]

    def apply(self, value: int) -> int:
        """Return the value after this sentence."""
        if self.verb == "times":
            return value * self.operands[0]
        if self.verb == "boxes":
            return value + self.operands[0] * self.operands[1]
        return value + SIGNS[self.verb] * self.operands[0]

    def sentence(self, name: str) -> str:
        """Say it in words."""
        match self.verb:
            case "times":
                return f"{name} has {self.operands[0]} times as many."
            case "boxes":
                return f"{name} buys {self.operands[0]} boxes of {self.operands[1]}."
            case verb:
                return f"{name} {verb} {self.operands[0]}."


def read(split: str, path: Path | None, limit: int | None, seed: int) -> Rows:
    """Make the first `limit` problems of a split. The seed chooses which; `path` is not looked at.

    A run may name a folder for the other data sets that it evaluates on.
    """
    if split not in SPLITS:
        raise refuse_split("arithmetic", split, SPLITS)
    count = SIZES[split] if limit is None else limit
    stream = make(split, seed)
    problems = tuple(next(stream) for _ in range(count))
    digest = hashlib.sha256()
    for problem in problems:
        digest.update(f"{problem.question}\n{problem.answer}\n".encode())
    return Rows(problems, digest.hexdigest(), f"made by pipelines.datasets.arithmetic, seed {seed}")


def make(split: str, seed: int) -> Iterator[Problem]:
    """Make problems of a split without end, no (start, operations, operands) twice."""
    rng = random.Random(f"arithmetic/{split}/{seed}")  # noqa: S311
    wanted = _BUCKET_OF[split]
    seen: set[str] = set()
    while True:
        start, operations = _draw(rng)
        tag = "; ".join(" ".join([each.verb, *map(str, each.operands)]) for each in operations)
        key = f"{start}; {tag}"
        if key in seen or _bucket(key) not in wanted:
            continue
        seen.add(key)
        name, thing = rng.choice(NAMES), rng.choice(THINGS)
        sentences = [f"{name} has {start} {thing}."]
        sentences += [operation.sentence(name) for operation in operations]
        value = start
        for operation in operations:
            value = operation.apply(value)
        yield Problem(
            id=f"arithmetic/{split}/{len(seen) - 1}",
            question=" ".join([*sentences, "How many?"]),
            answer=str(value),
            dataset="arithmetic",
            tags={
                "level": str(len(operations)),
                "start": str(start),
                "operations": tag,
                "steps": ";".join(solution_steps(start, operations)),
            },
        )


def identity(problem: Problem) -> str:
    """Return what tells questions apart, and what no two splits share: names and things do not."""
    return f"{problem.tags['start']}; {problem.tags['operations']}"


def parse_operations(problem: Problem) -> tuple[int, tuple[Operation, ...]]:
    """Read start and operations back from a problem's tags."""
    if "operations" not in problem.tags:
        raise ValueError(f"{problem.id}: has no tag 'operations'; it is no arithmetic problem")
    operations = []
    for each in problem.tags["operations"].split("; "):
        verb, *operands = each.split()
        operations.append(Operation(verb, tuple(map(int, operands))))
    return int(problem.tags["start"]), tuple(operations)


def solution_steps(
    start: int, operations: tuple[Operation, ...], faulty: frozenset[int] = frozenset()
) -> list[str]:
    """Write out the steps, in the sentences' order; `faulty` operations go wrong in their way.

    A fault that would leave 0 to 99 is not committed, so that numbers keep at most two digits.
    """
    value = start
    steps: list[str] = []

    def step(left: int, sign: str, right: int) -> int:
        result = {"+": left + right, "-": left - right, "*": left * right}[sign]
        steps.append(f"{left}{sign}{right}={result}")
        return result

    for number, operation in enumerate(operations):
        wrong = number in faulty
        first = operation.operands[0]
        if operation.verb == "times":
            if not wrong and value * first <= 99:
                value = step(value, "*", first)
        elif operation.verb == "boxes":
            amount = step(first, "+" if wrong else "*", operation.operands[1])
            value = step(value, "+", amount)
        else:
            sign = SIGNS[operation.verb] * (-1 if wrong else 1)
            sign = sign if 0 <= value + sign * first <= 99 else -sign
            value = step(value, "+" if sign > 0 else "-", first)
    return steps


def demonstration(problem: Problem) -> str:
    """Return the right solution."""
    start, operations = parse_operations(problem)
    return _finish(start, solution_steps(start, operations))


def faulty_demonstration(problem: Problem, rng: random.Random) -> str:
    """Return a solution in which each operation goes wrong with its chance in `MISTAKES`."""
    start, operations = parse_operations(problem)
    faulty = frozenset(
        number
        for number, operation in enumerate(operations)
        if rng.random() < MISTAKES.get(operation.verb, 0.0)
    )
    return _finish(start, solution_steps(start, operations, faulty))


def check_steps(problem: Problem, text: str, ends: Sequence[int]) -> list[bool]:
    """Say for each step end whether the text up to it follows a right derivation: exact truth.

    Steps may come in any order that is right; `_derivation` says which lines are. The last end of
    a whole text is right if the solution is: nothing wrong, and the answer there.
    """
    start, operations = parse_operations(problem)
    blocks, factors = [Block((start,))], []
    for operation in operations:
        last = blocks[-1]
        if operation.verb == "times":
            factors.append(operation.operands[0])
            blocks.append(Block(()))
        elif operation.verb == "boxes":
            box = (operation.operands[0], operation.operands[1])
            blocks[-1] = replace(last, boxes=tuple(sorted((*last.boxes, box))))
        else:
            term = SIGNS[operation.verb] * operation.operands[0]
            blocks[-1] = replace(last, terms=tuple(sorted((*last.terms, term))))
    return right_prefixes(State(tuple(blocks), tuple(factors)), text, tuple(ends))


def _finish(start: int, steps: list[str]) -> str:
    answer = steps[-1].split("=")[1] if steps else str(start)
    return "\n".join([*steps, f"#### {answer}"])


def _draw(rng: random.Random) -> tuple[int, tuple[Operation, ...]]:
    verbs, weights = list(WEIGHTS), list(WEIGHTS.values())
    while True:
        start = rng.randint(3, 40)
        operations = []
        value = start
        for verb in rng.choices(verbs, weights, k=rng.choice((2, 3))):
            operands: tuple[int, ...]
            if verb == "boxes":
                operands = (rng.randint(2, 5), rng.randint(3, 9))
            elif verb == "times":
                operands = (rng.randint(2, 4),)
            else:
                operands = (rng.randint(2, 20),)
            operation = Operation(verb, operands)
            value = operation.apply(value)
            if not 0 < value <= LARGEST:
                break
            operations.append(operation)
        else:
            return start, tuple(operations)


def _bucket(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % _BUCKETS
