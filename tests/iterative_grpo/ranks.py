"""Starting a script of these tests on several processes of one machine, without a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def launch(script: str, processes: int, folder: Path, *arguments: object) -> None:
    """Run `python -m tests.iterative_grpo.SCRIPT *arguments` on every process, in `folder`."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_machines", "1"]
    command += ["--num_processes", str(processes), "--main_process_port", "0"]
    command += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    command += ["--multi_gpu"] if processes > 1 else []
    command += ["-m", f"tests.iterative_grpo.{script}", *map(str, arguments)]
    environment = {
        **os.environ,
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    subprocess.run(command, env=environment, check=True, cwd=folder, timeout=300)
