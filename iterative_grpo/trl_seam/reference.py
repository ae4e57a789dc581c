"""The reference: the policy as it is when a phase begins (Algorithm 1, line 3, arXiv:2402.03300).

TRL 1.16 loads it a second time, from the path that the policy's configuration names. A copy is the
same without reading the files again, and cannot be another model than the policy that was given.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from transformers import PreTrainedModel
from trl.trainer import grpo_trainer

from iterative_grpo import forwards
from iterative_grpo.forwards import replaced, replaced_by_trl
from iterative_grpo.sharding import by_layers, is_shard


@contextlib.contextmanager
def copied(policy: Any) -> Iterator[None]:
    """Set up TRL's trainer inside: where it wants a reference, it gets a copy of `policy`.

    FSDP shards the copy layer by layer.

    Left to TRL are policies that it loads itself, those whose weights are not all here (sharded, on
    `meta`, quantised), and those whose `forward` somebody else replaced.
    """
    if not isinstance(policy, PreTrainedModel) or not _whole(policy):
        yield
        return
    load, shard = grpo_trainer.create_model_from_path, grpo_trainer.prepare_fsdp
    grpo_trainer.create_model_from_path = lambda *_, **__: forwards.copied(policy).eval()
    grpo_trainer.prepare_fsdp = by_layers
    try:
        yield
    finally:
        grpo_trainer.create_model_from_path, grpo_trainer.prepare_fsdp = load, shard


def _whole(policy: PreTrainedModel) -> bool:
    if getattr(policy, "is_quantized", False):
        return False
    if replaced(policy) and not replaced_by_trl(policy):
        return False
    return not any(each.is_meta or is_shard(each) for each in policy.parameters())
