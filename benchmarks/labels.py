"""Step labels on the main job: what they cost, how right they are, and what is learned from them.

    python benchmarks/labels.py --seeds 0-2
    python benchmarks/labels.py --runs runs/demo --pattern iterative-{seed} --json labels.json

Each seed has a policy after its warm start: the one of a run in FOLDER/PATTERN, made first where
there is none. It samples solutions of training questions, which every labeler labels; a process
reward model is trained on each set of labels and measured on solutions of test questions, against
the data set's exact step check. One thread.
"""

import sys
from pathlib import Path


def run() -> None:
    """Start, with the project in place of this folder on the path."""
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from benchmarks.label_measures import main

    main()


if __name__ == "__main__":
    run()
