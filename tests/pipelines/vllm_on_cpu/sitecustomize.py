"""What lets vLLM take new weights on a CPU; each process that has it in its path imports it.

Nothing of the project stands in for itself, but for the look at whether there is a GPU.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any


def unpacked(module: Any) -> None:
    """Leave weights as they are: vLLM packs them on a CPU, and cannot take the next step's then."""
    import torch
    from vllm.platforms import current_platform

    def unquantized(layer: Any, remove_weight: bool) -> None:
        layer.cpu_linear = torch.nn.functional.linear

    if current_platform.is_cpu():
        module.dispatch_cpu_unquantized_gemm = unquantized


def by_file(module: Any) -> None:
    """Send weights to a server by a file, where TRL's client sends them from GPU to GPU."""
    from safetensors.torch import save_file
    from vllm.distributed.utils import StatelessProcessGroup

    def init_communicator(self: Any, device: Any) -> None:
        group = StatelessProcessGroup.create("127.0.0.1", self.group_port, rank=0, world_size=1)
        self.communicator = group  # which takes the port, as TRL's does

    def update(self: Any, metadata: Any, named_params: Iterator[tuple[str, Any]]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            weights = {name: weight.contiguous() for name, weight in named_params}
            assert [name for name, *_ in metadata] == list(weights)
            save_file(weights, f"{folder}/model.safetensors")
            request = {"method": "reload_weights", "kwargs": {"weights_path": folder}}
            answer = self.session.post(f"{self.base_url}/collective_rpc", json=request)
            answer.raise_for_status()

    module.VLLMClient.init_communicator = init_communicator
    module.VLLMClient.update_named_params = update


def without_gpu(module: Any) -> None:
    """Let the run believe that this machine lacks nothing."""
    module.lacking = lambda mode: None


AFTER: dict[str, Callable[[Any], None]] = {
    "vllm.model_executor.layers.utils": unpacked,
    "trl.generation.vllm_client": by_file,
    "pipelines.trl_vllm": without_gpu,
}


class Finder(importlib.abc.MetaPathFinder):
    """Finds the modules that are changed, each once."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the module's own specification with a loader that changes it."""
        change = AFTER.pop(fullname, None)
        if change is None:
            return None
        spec = importlib.util.find_spec(fullname)
        assert spec is not None
        assert spec.loader is not None
        spec.loader = Loader(spec.loader, change)
        return spec


class Loader(importlib.abc.Loader):
    """Loads as another one does, and changes the module then."""

    def __init__(self, own: importlib.abc.Loader, change: Callable[[Any], None]) -> None:
        self.own = own
        self.change = change

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """Return what the other one does."""
        return self.own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module, and change it."""
        self.own.exec_module(module)
        self.change(module)


sys.meta_path.insert(0, Finder())
