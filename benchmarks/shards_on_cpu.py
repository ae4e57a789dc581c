"""FSDP and DeepSpeed on processes that have no GPU: torch can, accelerate only does it on GPUs."""

from __future__ import annotations

import os
from typing import Any

import torch
from accelerate import state
from accelerate.utils import DistributedType

from pipelines.world import sharded


def allow() -> None:
    """Have accelerate shard here, over gloo, wherever the launcher asks for it."""
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    os.environ.pop("ACCELERATE_USE_CPU", None)
    process, whole = state.PartialState, state.AcceleratorState
    backend, device, begin = process._prepare_backend, process.set_device, whole.__init__

    def prepare_backend(self: Any, *args: Any, **more: Any) -> Any:
        return ("gloo", DistributedType.MULTI_GPU) if sharded() else backend(self, *args, **more)

    def set_device(self: Any) -> None:
        if sharded():
            self.device = torch.device("cpu")
        else:
            device(self)

    def init(self: Any, mixed_precision: Any = None, cpu: bool = False, **more: Any) -> None:
        begin(self, mixed_precision, cpu and not sharded(), **more)

    process._prepare_backend, process.set_device, whole.__init__ = prepare_backend, set_device, init
    torch.distributed.init_process_group("gloo")
