"""Our verdicts beside lm-eval's, row by row on the same stored completions, and our prompts.

    python benchmarks/parity.py --data ../shared/data --output parity

Needs the `parity` extra in an environment of its own (docs/parity.md). Writes report.md and
disagreements.jsonl to the output folder, and ends with status 1 if a prompt differs or if a
disagreement is our fault or has no explanation.
"""

import argparse
import sys
from pathlib import Path


def run() -> int:
    """Compare, write and say what was found."""
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from benchmarks import parity_prompts, parity_report, parity_rows, parity_verdicts

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--output", type=Path, required=True, help="a new folder for the results")
    parser.add_argument("--limit", type=int, help="rows of a collection at most; default: all")
    chosen = parser.parse_args()
    if chosen.output.exists():
        parser.error(f"{chosen.output} exists already; name a new folder, or move the old one away")
    prompts = parity_prompts.compare(chosen.data, chosen.limit)
    collections = parity_rows.gsm8k(chosen.data) + parity_rows.math(chosen.data)
    compared = parity_verdicts.compare(collections, chosen.data, chosen.limit)
    report = parity_report.Report(
        prompts,
        compared,
        parity_rows.accuracies(chosen.data),
        parity_rows.several_boxes(chosen.data),
        chosen.limit,
    )
    chosen.output.mkdir(parents=True)
    report.write(chosen.output)
    print(report.markdown())
    return 0 if report.clean else 1


if __name__ == "__main__":
    sys.exit(run())
