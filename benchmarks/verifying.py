"""The verifier beside Math-Verify: accuracy, speed and safety, in one run.

    python benchmarks/verifying.py --data ../shared/data
    python benchmarks/verifying.py --cases FILE.jsonl --json result.json

Without ``--cases`` the development cases are measured; with it, that file alone (fields: gold,
pred, expected; optional: convention, lenient, limit_s, kind or category). Math-Verify is part of
the ``dev`` extra; it runs in worker processes with a hard limit a row, so that its hangs are
counted and not suffered.
"""

import sys
from pathlib import Path


def run() -> None:
    """Start, with the project in place of this folder on the path."""
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from benchmarks.verifier_measures import main

    main()


if __name__ == "__main__":
    run()
