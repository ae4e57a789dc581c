"""Starting a script of these tests on several processes of one machine, without a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def launch(
    script: str, processes: int, folder: Path, *arguments: object, shards: Sequence[str] = ()
) -> None:
    """Run `python -m tests.iterative_grpo.SCRIPT *arguments` on every process, in `folder`.

    `shards` are options of `accelerate launch` instead of `--multi_gpu`.
    """
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_machines", "1"]
    command += ["--num_processes", str(processes), "--main_process_port", "0"]
    command += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    command += shards or (["--multi_gpu"] if processes > 1 else [])
    command += ["-m", f"tests.iterative_grpo.{script}", *map(str, arguments)]
    environment = {
        **os.environ,
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    subprocess.run(command, env=environment, check=True, cwd=folder, timeout=300)
