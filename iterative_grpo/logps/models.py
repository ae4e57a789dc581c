"""What a model allows: which path computes its log-probabilities, and why not a faster one."""

from __future__ import annotations

from typing import Any

import torch
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel
from transformers import PreTrainedModel

from iterative_grpo.attention import more_than_plain

# Factors and bounds that a model puts between its head and its logits; TRL's path knows them all.
_LOGIT_CHANGES = (
    "final_logit_softcapping",
    "logit_scale",
    "output_multiplier",
    "lm_head_multiplier",
    "logits_scaling",
)


def unwrapped(model: Any) -> Any:
    """Return the transformers model inside of PEFT and `unparallel`'s wrappers, others as such."""
    model = unparallel(model)
    # PEFT puts its layers into the model itself, so the model computes with the active adapter.
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def only_trl(model: Any, inner: Any) -> str | None:
    """Return why our own head cannot score this model, or None if it can."""
    if not isinstance(inner, PreTrainedModel):
        return f"it is wrapped as {type(inner).__name__}"
    if inner.base_model is inner:
        return "its backbone and its head are one module"
    adapters = getattr(unparallel(model), "peft_config", {}).values()
    if any(getattr(adapter, "is_prompt_learning", False) for adapter in adapters):
        return "its adapter learns a prompt"
    head = inner.get_output_embeddings()
    if not isinstance(head, torch.nn.Linear):
        return f"its head is {type(head).__name__}, not a linear layer"
    for parameter in (head.weight, *(p for p in inner.get_input_embeddings().parameters())):
        if hasattr(parameter, "ds_id"):
            return "DeepSpeed shards its parameters"
        if hasattr(parameter, "full_tensor") and not in_shards(model):
            return "its parameters are sharded"
        if parameter.device != inner.device:
            return "it lies on several devices"
    if getattr(inner.config, "is_encoder_decoder", False):
        return "it is an encoder-decoder"
    config = inner.config.get_text_config()
    for name in _LOGIT_CHANGES:
        if getattr(config, name, None) not in (None, 1, 1.0):
            return f"its configuration has {name}"
    return None


def in_shards(model: Any) -> bool:
    """Whether FSDP (version 2) holds the weights, and gathers them around each forward pass."""
    return isinstance(model, FSDPModule)


def not_shared(inner: Any) -> str | None:
    """Return why completions cannot share a prompt in this model, or None if they can."""
    config = inner.config.get_text_config()
    if not getattr(inner, "_supports_attention_backend", False):
        return "it takes no attention function from outside"
    more = more_than_plain(config)
    return None if more is None else f"it has {more}"


def drops(inner: torch.nn.Module) -> bool:
    """Whether the model drops anything now: rows that share a prompt would share its draws."""
    if not inner.training:
        return False
    if any(isinstance(m, torch.nn.Dropout) and m.training and m.p > 0 for m in inner.modules()):
        return True
    return bool(getattr(inner.config, "attention_dropout", 0.0))


def unparallel(model: Any) -> Any:
    """Return the model inside of DDP or DeepSpeed, which see its gradients by forward passes."""
    # By its name: the package may not be there, and takes seconds to import.
    parallel = isinstance(model, DistributedDataParallel) or (
        type(model).__name__ == "DeepSpeedEngine"
    )
    return model.module if parallel else model
