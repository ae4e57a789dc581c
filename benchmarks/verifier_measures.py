"""The measures of ``benchmarks/verifying.py``: rows, agreement, time, and the table."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.verifier_subjects import Judged, MathVerify, Subject, ours

ROOT = Path(__file__).resolve().parents[1]
PWNED = "pwned-by-verifier"
"""The file that the adversarial cases try to make in the current folder."""


@dataclass(frozen=True, slots=True)
class Case:
    """One labelled row."""

    pred: str
    gold: str
    expected: bool
    convention: str
    limit_s: float
    counted: bool
    kind: str
    format_rule: bool


@dataclass(frozen=True, slots=True)
class Result:
    """One subject on one set of rows."""

    name: str
    rows: int
    agree: int
    false_positives: int
    false_negatives: int
    errors: int
    hangs: int
    too_slow: int
    seconds: float
    slowest_s: float
    p99_ms: float
    code_run: bool
    without_format_rules: float
    wrong: list[dict[str, Any]]

    @property
    def per_second(self) -> float:
        """Rows a second, the subject's own time alone."""
        return self.rows / self.seconds if self.seconds else 0.0


def read_cases(path: Path) -> list[Case]:
    """Rows of a file of cases; raises ValueError naming the line that lacks a field."""
    cases = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        row = json.loads(line)
        lacking = {"gold", "pred", "expected"} - row.keys()
        if lacking:
            raise ValueError(f"{path}, line {number}: no {', '.join(sorted(lacking))}")
        cases.append(
            Case(
                pred=row["pred"],
                gold=row["gold"],
                expected=bool(row["expected"]),
                convention="math",
                limit_s=float(row.get("limit_s") or 5),
                counted=not row.get("lenient"),
                kind=str(row.get("kind") or row.get("category") or ""),
                format_rule=bool(row.get("convention")),
            )
        )
    return cases


def development_sets(data: Path) -> Iterator[tuple[str, list[Case]]]:
    """The sets of the table by name, those that are there."""
    for name in ("equivalence", "metamorphic", "adversarial"):
        path = data / "verifier_cases" / f"{name}.jsonl"
        if path.exists():
            yield name, read_cases(path)
    solutions = data / "gsm8k_model_solutions" / "solutions.jsonl"
    if solutions.exists():
        rows = [json.loads(line) for line in solutions.read_text(encoding="utf-8").splitlines()]
        yield (
            "GSM8K solutions",
            [
                _case(r["solution"], r["answer"].rpartition("####")[2].strip(), r["is_correct"])
                for r in rows
            ],
        )
    golds = [data / "math_index" / f"{split}.jsonl" for split in ("train", "test")]
    if all(path.exists() for path in golds):
        answers = [
            json.loads(line)["answer"]
            for path in golds
            for line in path.read_text(encoding="utf-8").splitlines()
        ]
        yield (
            "MATH golds",
            [
                _case(f"So the final answer is $\\boxed{{{gold}}}$.", gold, True, "math")
                for gold in answers
            ],
        )


def _case(pred: str, gold: str, expected: bool, convention: str = "gsm8k") -> Case:
    return Case(pred, gold, expected, convention, 5.0, True, "", False)


def measure(name: str, subject: Subject, cases: list[Case], progress: bool) -> Result:
    """Run one subject over all rows, in a folder of its own."""
    judged: list[Judged] = []
    with _empty_folder() as folder:
        for index, case in enumerate(cases):
            judged.append(subject(case.pred, case.gold, case.convention))
            if progress and index % 500 == 499:
                print(f"  {name}: {index + 1} of {len(cases)}", file=sys.stderr, flush=True)
        code_run = (folder / PWNED).exists()
    return _result(name, cases, judged, code_run)


def _result(name: str, cases: list[Case], judged: list[Judged], code_run: bool) -> Result:
    counted = [(c, j) for c, j in zip(cases, judged, strict=True) if c.counted]
    right = [(c, j) for c, j in counted if (j.answer == "yes") == c.expected]
    wrong = [(c, j) for c, j in counted if (j.answer == "yes") != c.expected]
    plain = [(c, j) for c, j in counted if not c.format_rule]
    plain_right = sum((j.answer == "yes") == c.expected for c, j in plain)
    times = sorted(j.seconds for j in judged)
    return Result(
        name=name,
        rows=len(cases),
        agree=len(right),
        false_positives=sum(not c.expected for c, _ in wrong),
        false_negatives=sum(c.expected for c, _ in wrong),
        errors=sum(j.answer == "error" for j in judged),
        hangs=sum(j.answer == "hang" for j in judged),
        too_slow=sum(j.seconds > c.limit_s for c, j in zip(cases, judged, strict=True)),
        seconds=sum(times),
        slowest_s=times[-1] if times else 0.0,
        p99_ms=1000 * times[min(len(times) - 1, int(0.99 * len(times)))] if times else 0.0,
        code_run=code_run,
        without_format_rules=plain_right / len(plain) if plain else 1.0,
        wrong=[
            {
                "gold": c.gold[:200],
                "pred": c.pred[-200:],
                "expected": c.expected,
                "said": j.answer,
                "detail": j.detail,
                "kind": c.kind,
                "format_rule": c.format_rule,
            }
            for c, j in wrong
        ],
    )


@contextmanager
def _empty_folder() -> Iterator[Path]:
    """Work in an empty folder for a while, so that files made by executed code are seen."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir(before)


def import_seconds(module: str) -> float:
    """Median of five imports in fresh processes, the interpreter's own start taken off."""

    def once(code: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
        return time.perf_counter() - start

    pairs = [(once("pass"), once(f"import {module}")) for _ in range(5)]
    return statistics.median(after - before for before, after in pairs)


def table(results: dict[str, list[Result]], imports: dict[str, float]) -> str:
    """The measures as a Markdown table, one column a subject."""
    subjects = list(results)
    lines = [f"| measure | {' | '.join(subjects)} |", "| --- |" + " --- |" * len(subjects)]
    for index, first in enumerate(results[subjects[0]]):
        sets = [results[subject][index] for subject in subjects]
        counted = first.agree + first.false_positives + first.false_negatives
        rows = [
            (
                f"{first.name}: agreement of {counted}",
                [f"{_share(r.agree, counted)}" for r in sets],
            ),
            (
                f"{first.name}: false positives, negatives",
                [f"{r.false_positives}, {r.false_negatives}" for r in sets],
            ),
            (f"{first.name}: rows a second", [f"{r.per_second:,.0f}" for r in sets]),
            (
                f"{first.name}: p99, slowest",
                [f"{r.p99_ms:.1f} ms, {r.slowest_s:.2f} s" for r in sets],
            ),
        ]
        if any(r.without_format_rules != r.agree / max(1, counted) for r in sets):
            shares = [f"{100 * r.without_format_rules:.1f} %" for r in sets]
            rows.insert(1, (f"{first.name}: without rows on format rules", shares))
        if any(r.hangs or r.errors or r.too_slow or r.code_run for r in sets) or (
            first.name == "adversarial"
        ):
            rows.append(
                (
                    f"{first.name}: killed, over their limit, errors, code run",
                    [
                        f"{r.hangs}, {r.too_slow}, {r.errors}, {'yes' if r.code_run else 'no'}"
                        for r in sets
                    ],
                )
            )
        lines += [f"| {label} | {' | '.join(values)} |" for label, values in rows]
    shown = [f"{1000 * imports[subject]:.0f} ms" for subject in subjects]
    lines.append(f"| import | {' | '.join(shown)} |")
    return "\n".join(lines)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} %" if whole else "-"


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--cases", type=Path, action="append", help="measure this file instead")
    parser.add_argument("--sets", help="only these sets, comma-separated")
    parser.add_argument("--limit", type=float, default=10.0, help="seconds a row for the peer")
    parser.add_argument("--no-peer", action="store_true", help="measure our verifier alone")
    parser.add_argument("--json", type=Path, help="also write everything, wrong rows included")
    parser.add_argument("--show", type=int, default=0, help="print so many of our wrong rows a set")
    chosen = parser.parse_args()
    sets = (
        [(path.stem, read_cases(path)) for path in chosen.cases]
        if chosen.cases
        else list(development_sets(chosen.data.resolve()))
    )
    if chosen.sets:
        sets = [(name, cases) for name, cases in sets if name in chosen.sets.split(",")]
    if not sets:
        raise SystemExit(f"no cases in {chosen.data}; name the folder (--data) or a file (--cases)")
    results: dict[str, list[Result]] = {}
    imports = {"this verifier": import_seconds("verifiers")}
    # Both subjects start warm: modules imported, a worker with sympy running.
    ours("\\boxed{\\int_0^1 x^2 dx}", "1/3", "math")
    results["this verifier"] = [measure(name, ours, cases, True) for name, cases in sets]
    with ExitStack() as stack:
        if not chosen.no_peer:
            imports["Math-Verify"] = import_seconds("math_verify")
            peer = stack.enter_context(MathVerify(chosen.limit))
            results["Math-Verify"] = [measure(name, peer, cases, True) for name, cases in sets]
    print(table(results, imports))
    print(f"\nPython {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}")
    for result in results["this verifier"]:
        for row in result.wrong[: chosen.show]:
            print(json.dumps({"set": result.name, **row}, ensure_ascii=False))
    if chosen.json:
        plain = {
            subject: [
                {field: getattr(result, field) for field in Result.__slots__}
                | {"per_second": result.per_second}
                for result in found
            ]
            for subject, found in results.items()
        }
        chosen.json.write_text(json.dumps({"results": plain, "import_s": imports}, indent=1))
