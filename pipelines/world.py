"""The processes of a phase: who am I of how many, and waiting for each other."""

from __future__ import annotations

import datetime
import gc
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")

PATIENCE = datetime.timedelta(days=7)
"""How long processes wait for each other: their parts, or the first one's own work, may take hours.

Without it torch ends all of them after 30 minutes (gloo) or 10 (NCCL).
"""

SHARDING = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED")
"""What `accelerate launch` tells its processes by environment variables, "true" if so."""

OF_POLICY = ("ACCELERATE_MIXED_PRECISION", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS")
"""What it tells them that the policy's training alone is meant by."""

HEEDED = {"optimize": (*SHARDING, *OF_POLICY), "retrain": SHARDING[:1]}
"""What of that each phase does; the others nothing."""


class LaunchError(RuntimeError):
    """The launcher started another number of processes than was asked for."""


@dataclass(frozen=True, slots=True)
class World:
    """This process's place: rank of size."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes what there is only one of."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return this process's part of a list: a run of neighbours, sizes equal up to one."""
        each, rest = divmod(len(items), self.size)
        begin = self.rank * each + min(self.rank, rest)
        return items[begin : begin + each + (self.rank < rest)]

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            import torch.distributed

            torch.distributed.barrier()

    def merge(self, folder: Path, name: str, kept: Path | None = None) -> None:
        """Join the shards `shard(name, rank)` in the order of ranks into `name`.

        Shards lie beside it and are removed, or in the folder `kept`, which a phase resumes from.
        """
        self.wait()
        if self.first:
            with (folder / name).open("wb") as whole:
                for rank in range(self.size):
                    part = (kept or folder) / shard(name, rank)
                    with part.open("rb") as rows:
                        shutil.copyfileobj(rows, whole, 1 << 20)
                    if kept is None:
                        part.unlink()
        self.wait()


def current(expected: int = 1) -> World:
    """Return this process's place, and refuse if the launcher gave less (or more) than asked.

    On a CPU, `accelerate launch --num_processes 2` can start one process without a word.
    """
    world = World(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))
    if world.size != expected:
        raise LaunchError(
            f"{expected} processes were asked for (launch.processes), the launcher started "
            f"{world.size}; check launch.config_file, or set launch.processes={world.size}"
        )
    return world


def settle(phase: str | None) -> None:
    """Leave of what the launcher asked for what a phase does; call it before accelerate starts.

    Nothing, for None: what a user's own default of accelerate says is not what the run asked for.

    The policy is trained in shards (FSDP, DeepSpeed) and in mixed precision, reward models in
    FSDP's shards, and other phases have whole models. Accelerate would divide the loss of a reward
    model by DeepSpeed's gradient accumulation. Each process reads a checkpoint itself: with
    what accelerate calls memory-efficient loading, transformers leaves models of all but the first
    incomplete, for FSDP to send the rest. Reward models and engines would never get it.
    """
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    for name in (*SHARDING, *OF_POLICY):
        if phase is None or name not in HEEDED.get(phase, ()):
            os.environ.pop(name, None)


def sharded() -> bool:
    """Whether the launcher asked for shards, and `settle` left them."""
    return any(os.environ.get(name, "").lower() == "true" for name in SHARDING)


def leave() -> None:
    """Wait for the other processes and leave their group, once nothing trains in it any more.

    A model wrapped for several processes holds the group. If it is the last to do so, torch waits
    for the group's threads with Python's lock in its hands, which one of them may be waiting for:
    now and then a process that has done its work hangs (torch 2.13, gloo). A process that just
    exits while these threads run may be aborted.
    """
    import torch.distributed

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        gc.collect()
        torch.distributed.destroy_process_group()


def joined() -> World:
    """Return this process's place among those that `accelerate launch` started for a command.

    Alone if none did.
    """
    place = World(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))
    if place.size > 1:
        from accelerate import PartialState

        PartialState(timeout=PATIENCE)
    return place


def shard(name: str, rank: int) -> str:
    """Return the file name of one process's part of a file."""
    return f"{name}.rank{rank}"
