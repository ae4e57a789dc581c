"""A few rows of our own making, in the fields of the hub's data sets."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

GSM8K = [
    {
        "question": f"Rita packs {n} crates of 3 jars and drops {n % 4} jars. How many are whole?",
        "answer": f"There are {n}*3=<<{n}*3={3 * n}>>{3 * n} jars.\n"
        f"{3 * n}-{n % 4}=<<{3 * n}-{n % 4}={3 * n - n % 4}>>{3 * n - n % 4} are whole.\n"
        f"#### {3 * n - n % 4:,}",
    }
    for n in range(300, 360)
]

MATH = [
    {
        "problem": f"What is the square of ${n}$?",
        "level": f"Level {n % 5 + 1}",
        "type": "Algebra",
        "solution": f"Multiply: ${n}\\cdot {n} = \\boxed{{{n * n}}}$.",
    }
    for n in range(40)
]

MATH500 = [
    {
        "problem": "Write one half of $x^2$ as a fraction.",
        "solution": "It is $\\boxed{\\frac{x^2}{2}}$.",
        "answer": "\\frac{x^2}{2}",
        "subject": "Algebra",
        "level": 2,
        "unique_id": "test/algebra/9001.json",
    }
]


def write(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """Write JSON Lines, making the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
