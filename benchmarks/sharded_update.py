"""One policy update in FSDP's shards: stock TRL against ours, on the same stored rollouts.

    python benchmarks/sharded_update.py --data ../shared/data --group 8 --repeats 5

As `update.py`, on several processes that hold a part of the weights each, and whole prompts of the
rollouts. Without a GPU they speak gloo, and have a thread each: the figures then say what shared
prompts are worth beside the exchange of weights, not how fast either is on GPUs.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
FSDP = ["--use_fsdp", "--fsdp_version", "2", "--fsdp_auto_wrap_policy", "TRANSFORMER_BASED_WRAP"]
ARMS = ("stock", "shared")


def main() -> None:
    """Launch the processes, or be one of them."""
    options = parse()
    if options.policy is not None:
        work(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "accelerate.commands.launch", *FSDP]
        command += ["--num_machines", "1", "--num_processes", str(options.processes)]
        command += ["--main_process_port", "0", "--mixed_precision", "no"]
        command += [
            "--dynamo_backend",
            "no",
            __file__,
            *sys.argv[1:],
            "--policy",
            f"{folder}/policy",
        ]
        places = [str(ROOT), str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
        subprocess.run(command, env=environment, check=True)


def parse() -> argparse.Namespace:
    """Return the command line's options."""
    from update_rollouts import SHAPES

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with gsm8k/train.jsonl")
    parser.add_argument("--shape", choices=SHAPES, default="22m")
    parser.add_argument("--group", type=int, default=8, help="G")
    parser.add_argument("--prompts", type=int, default=8, help="over all processes")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--policy", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.prompts % options.processes:
        parser.error("--prompts must divide by --processes")
    return options


def work(options: argparse.Namespace) -> None:
    """Update in turns, as one of the processes; the first one prints what came of it."""
    import torch
    import transformers
    from accelerate import PartialState
    from update import Arm
    from update_rollouts import make

    from iterative_grpo.trl_seam.batches import split_rows

    logging.getLogger("transformers").setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    cuda = torch.cuda.is_available()
    if not cuda:
        from shards_on_cpu import allow

        allow()
        torch.set_num_threads(1)
    state = PartialState()
    options.device, options.dtype = ("cuda" if cuda else "cpu"), "float32"
    options.groups_in_micro_batch = 1
    with state.main_process_first():
        rollouts = make(options, options.group, options.policy)
    mine = split_rows(rollouts, state.num_processes)[state.process_index]
    mine = {
        name: value.to(state.device) if isinstance(value, torch.Tensor) else value
        for name, value in mine.items()
    }
    arms = {name: Arm(name, options, options.policy, mine, options.group) for name in ARMS}
    parameters = next(iter(arms.values())).parameters
    for arm in arms.values():
        arm.model, arm.optimizer = arm.trainer.accelerator.prepare(arm.model, arm.optimizer)
    gradients = {name: arm.gradient_of_update() for name, arm in arms.items()}
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for repeat in range(-1, options.repeats):
        for name, arm in arms.items():
            state.wait_for_everyone()
            run = arm.update()
            if repeat >= 0:
                seconds[name].append(run.total)
    if state.is_main_process:
        off = float((gradients["shared"] - gradients["stock"]).norm() / gradients["stock"].norm())
        report(options, parameters, seconds, off)
    state.destroy_process_group()


def report(
    options: argparse.Namespace, parameters: int, seconds: dict[str, list[float]], off: float
) -> None:
    """Print the figures."""
    stock, ours = (median(seconds[name]) for name in ARMS)
    print(
        f"{options.processes} processes, {parameters / 1e6:.0f} M parameters, G = {options.group}"
    )
    print("| arm | seconds, median (range) | speed-up |\n| --- | --- | --- |")
    for name, own in seconds.items():
        shown = f"{median(own):.2f} ({min(own):.2f} to {max(own):.2f})"
        print(f"| {name} | {shown} | {stock / median(own):.2f}x |")
    print(f"gradients differ by {off:.1e} of their norm")
    print(json.dumps({"speed_up": stock / ours, "seconds": seconds}), file=sys.stderr)


if __name__ == "__main__":
    main()
