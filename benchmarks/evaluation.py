"""What an evaluation costs above its generation, and that kill -9 changes nothing in it.

    python benchmarks/evaluation.py --data ../shared/data --policy RUN/iterations/06/optimize/policy

The policy is evaluated on GSM8K test, MATH-500 and the arithmetic test set, each whole: once
without a break, once killed with SIGKILL in the second task and started again. Printed are the
seconds of the whole command (interpreter and imports included), those of its generation, their
ratio, and whether both evaluations have equal answers and figures.

A policy of the main job has 128 positions, too few for the questions: a copy with more is made.
Positions that it never saw say nothing good of its accuracy there, and cost what they cost. Without
--policy an untrained one is made, which never stops: all its answers are cut off.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TASKS = ("gsm8k", "math500", "arithmetic")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--policy", type=Path, help="a checkpoint; default: one made on the spot")
    parser.add_argument("--data", type=Path, required=True, help="folder of JSON Lines")
    parser.add_argument("--context", type=int, default=1024, help="positions of the policy's copy")
    parser.add_argument("--limit", type=int, help="questions of each task at most")
    parser.add_argument("--max-tokens", type=int, help="of an answer; default: what fits")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": str(options.threads), "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch) / "policy"
        if options.policy is None:
            make(model, options.context)
        else:
            widen(options.policy, model, options.context)
        command = [sys.executable, "-m", "pipelines.cli", "evaluate", str(model), "--quiet"]
        command += ["--tasks", ",".join(TASKS), "--data", str(options.data)]
        for name in ("limit", "max_tokens"):
            if getattr(options, name) is not None:
                command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
        report(command, Path(scratch))


def report(command: Sequence[str], scratch: Path) -> None:
    """Evaluate unbroken and broken, and print what it cost."""
    whole, broken = scratch / "whole", scratch / "broken"
    began = time.perf_counter()
    subprocess.run([*command, "--output", str(whole)], check=True)
    total = time.perf_counter() - began
    spent = json.loads((whole / "evaluation.json").read_text(encoding="utf-8"))["seconds"]
    parts = {what: sum(spent[task][what] for task in spent if task != "last_start")
             for what in ("generate", "verify", "write")}  # fmt: skip
    print(f"\nwhole command {total:.1f} s")
    for what, seconds in parts.items():
        print(f"  {what:10} {seconds:8.1f} s")
    print(f"  {'the rest':10} {total - sum(parts.values()):8.1f} s: start, data, model, figures")
    print(f"total / generation = {total / parts['generate']:.3f}")
    killed = kill_in_the_middle(command, broken)
    began = time.perf_counter()
    subprocess.run([*command, "--output", str(broken)], check=True, stdout=subprocess.DEVNULL)
    print(f"killed after {killed:.1f} s, the rest took {time.perf_counter() - began:.1f} s")
    names = sorted(file.name for file in whole.glob("*.*.json*"))
    equal = [(whole / name).read_bytes() == (broken / name).read_bytes() for name in names]
    print(f"equal to the unbroken one: {sum(equal)} of {len(equal)} files of answers and figures")
    if not all(equal):
        raise SystemExit(1)


def kill_in_the_middle(command: Sequence[str], output: Path) -> float:
    """Start an evaluation, kill it once its second task is at work; return how long it had."""
    began = time.perf_counter()
    process = subprocess.Popen([*command, "--output", str(output)], stdout=subprocess.DEVNULL)
    finished = output / "gsm8k.test.answers.jsonl"
    while process.poll() is None and not finished.exists():
        time.sleep(0.05)
    time.sleep(1)
    if process.poll() is not None:
        raise SystemExit("the evaluation ended before it could be killed; raise --limit")
    process.send_signal(signal.SIGKILL)
    process.wait()
    return time.perf_counter() - began


def make(folder: Path, context: int) -> None:
    """Make an untrained policy of the main job's shape."""
    from pipelines import making
    from pipelines.datasets import arithmetic

    rows = arithmetic.read("train", None, 2_000, 0).problems
    texts = [text for row in rows for text in (f"{row.question}\n", arithmetic.demonstration(row))]
    tokenizer = making.make_tokenizer("words", texts, 2_048)
    shape = making.ModelShape(context=context)
    making.make_policy(tokenizer, shape, seed=0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def widen(policy: Path, folder: Path, context: int) -> None:
    """Copy a checkpoint, with as many positions as asked for if it has fewer."""
    shutil.copytree(policy, folder)
    file = folder / "config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings["max_position_embeddings"] = max(settings["max_position_embeddings"], context)
    file.write_text(json.dumps(settings), encoding="utf-8")


if __name__ == "__main__":
    main()
