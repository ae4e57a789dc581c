"""A backbone with a head that transformers does not know: both are rebuilt here.

So no code of the checkpoint runs. The head's weights are read from the checkpoint's safetensors.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from reward_models.model import UntrainedHead

if TYPE_CHECKING:
    import torch


class WithHead:
    """The backbone with its head: gives an object with `logits` (B, T, C), as a classifier does."""

    def __init__(self, backbone: Any, head: torch.nn.Module) -> None:
        self.backbone, self.head = backbone.eval(), head.eval()
        self.config = backbone.config

    @property
    def device(self) -> Any:
        """Where the model lies."""
        return self.backbone.device

    def to(self, device: str) -> None:
        """Move the model."""
        self.backbone.to(device)
        self.head.to(device)

    def __call__(self, *, input_ids: Any, attention_mask: Any) -> SimpleNamespace:
        """Return the logits (B, T, C) under the name that classifiers give them."""
        hidden_BTD = self.backbone(
            input_ids=input_ids, attention_mask=attention_mask, use_cache=False
        ).last_hidden_state
        dtype = next(self.head.parameters()).dtype
        return SimpleNamespace(logits=self.head(hidden_BTD.to(dtype)))


def stored(path_or_name: str, names: Sequence[str], shape: str) -> list[torch.Tensor]:
    """Return weights by name from a checkpoint's safetensors, sharded or not.

    Raises UntrainedHead if one is missing: the checkpoint is then not of the `shape` expected.
    """
    from transformers.utils.hub import cached_file

    index = cached_file(
        path_or_name, "model.safetensors.index.json", _raise_exceptions_for_missing_entries=False
    )
    if index is None:
        files = dict.fromkeys(names, "model.safetensors")
    else:
        files = json.loads(Path(index).read_text(encoding="utf-8"))["weight_map"]
    weights = []
    for name in names:
        # An index names every weight: what it leaves out, none of its files has.
        file = files.get(name)
        found = None if file is None else _weight(cached_file(path_or_name, file), name)
        if found is None:
            raise UntrainedHead(
                f"{path_or_name}: has no {name}; not a checkpoint of {shape}'s shape"
            )
        weights.append(found)
    return weights


def _weight(path: Any, name: str) -> torch.Tensor | None:
    """Return a weight of one file, None if the file has none of that name."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        found: torch.Tensor | None = file.get_tensor(name) if name in set(file.keys()) else None
    return found
