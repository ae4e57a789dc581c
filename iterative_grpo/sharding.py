"""Models that no process holds whole: FSDP (version 2) and DeepSpeed's ZeRO.

Sampling reads all weights at every token. In shards, they would be exchanged at every token, by
processes that have to take equally many. Engines therefore sample a whole copy, which takes over
the weights once a generation; what is saved is put together in the same way. The reference and the
initial policy are sharded as the policy is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.distributed.fsdp import FSDPModule

from iterative_grpo import forwards, timing
from iterative_grpo.precision import cast, weights_in


class UnsupportedSharding(ValueError):
    """Weights lie on processes in a way that they cannot be put together from."""


class Sharding:
    """A model in training, and how an accelerator shards it: by FSDP, DeepSpeed, or not at all.

    Make it before the model is sharded. What is put together takes all processes, which have to
    ask for it together.

    Raises UnsupportedSharding for FSDP's version 1, whose parameters have neither names nor shapes
    of their own, and for a model that comes in shards.
    """

    def __init__(self, accelerator: Any, model: Any) -> None:
        self._fsdp = _is_fsdp(accelerator)
        deepspeed = accelerator.state.deepspeed_plugin
        self._zero = deepspeed.zero_stage if deepspeed else 0
        self._accelerator = accelerator
        self._model = model
        self._copy: Any = None
        low = accelerator.mixed_precision == "bf16"
        self._sampled_in = torch.bfloat16 if low else None
        self._shell = _shell(model) if self._fsdp or self._zero else None
        if self._fsdp:
            # Between the micro-batches of a step each process would keep whole gradients, and in
            # bfloat16 their sums, too.
            accelerator.gradient_state.plugin_kwargs["sync_each_batch"] = True

    def frozen(self, model: Any) -> Any:
        """Return a model that only scores, on this process's device, in shards if the policy is."""
        from trl.models import prepare_deepspeed

        if self._fsdp:
            return by_layers(model, self._accelerator)
        return prepare_deepspeed(model, self._accelerator) if self._zero else model

    def to_sample(self) -> Any:
        """Return what engines sample: the model, or a whole copy of it on this process's device.

        The copy is bfloat16 where training computes in bfloat16: there is to be room beside it.
        """
        if not (self._fsdp or self._zero == 3):
            return self._model
        copied = forwards.copied(self._model).eval().requires_grad_(False)
        cast(copied, self._sampled_in)
        self._copy = copied.to(self._accelerator.device)
        return self._copy

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Have what engines sample be the policy of now inside, in bfloat16 if it trains in that.

        Its weights are, as where a finished policy is sampled. Under autocast every product would
        cast what it is given, layers could not be fused, and nothing be captured in a graph.
        """
        with ExitStack() as behind:
            with timing.part("generate"):
                if self._copy is None:
                    behind.enter_context(forwards.plain(self._model))
                    behind.enter_context(weights_in(self._model, self._sampled_in))
                else:
                    self._refresh()
            yield

    @torch.no_grad()
    def _refresh(self) -> None:
        """Have the copy take over the model's weights."""
        own = dict(self._copy.named_parameters())
        for name, weight in whole_weights(self._model, trained_only=True):
            own[name].copy_(weight)

    def whole(self) -> Any:
        """Return the model with all its weights; of shards, in main memory of the first process.

        The other processes of shards get None. Weights have the precision of the optimizer's.
        """
        if self._shell is None:
            return self._model
        first = self._accelerator.is_main_process
        weights = {
            name: weight.detach().cpu().clone()
            for name, weight in whole_weights(self._model, exact=True)
            if first
        }
        if not first:
            return None
        self._shell.load_state_dict(weights, strict=False, assign=True)
        self._shell.tie_weights()
        missing = [name for name, weight in self._shell.named_parameters() if weight.is_meta]
        if missing:
            raise RuntimeError(f"no process has the weights of {', '.join(missing[:4])}")
        return self._shell.cpu()


def by_layers(model: Any, accelerator: Any) -> Any:
    """Return a model that only scores, in FSDP's shards that are gathered layer by layer.

    TRL's `prepare_fsdp` makes one shard of all layers: each forward pass has them whole at once.
    """
    from accelerate.utils.fsdp_utils import fsdp2_prepare_model

    if not _is_fsdp(accelerator):
        raise ValueError("the accelerator shards nothing by FSDP")
    return fsdp2_prepare_model(accelerator, model).eval()


def _is_fsdp(accelerator: Any) -> bool:
    plugin = getattr(accelerator.state, "fsdp_plugin", None)
    if plugin is not None and plugin.fsdp_version != 2:
        raise UnsupportedSharding(
            f"FSDP's version {plugin.fsdp_version} is not supported; set fsdp_version: 2"
        )
    return plugin is not None


def is_shard(parameter: Any) -> bool:
    """Whether this process has a part of a parameter alone, of DeepSpeed's or torch's making."""
    return hasattr(parameter, "ds_id") or hasattr(parameter, "full_tensor")


def largest(accelerator: Any, number: int) -> int:
    """Return the largest of all processes' numbers."""
    return int(accelerator.gather(torch.tensor(number, device=accelerator.device)).max())


def whole_weights(
    model: Any, *, exact: bool = False, trained_only: bool = False
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield each parameter's name and whole value; all processes go through it together.

    With `exact`, DeepSpeed's values are those that its optimizer keeps: in bfloat16 training the
    parameters themselves are rounded. With `trained_only`, frozen ones are left out.
    """
    for module in model.modules():
        if isinstance(module, FSDPModule):
            # Parts that a forward pass left whole are in the precision of that pass.
            module.reshard()
    for name, parameter in model.named_parameters():
        if trained_only and not parameter.requires_grad:
            continue
        plain = name.replace("_checkpoint_wrapped_module.", "")
        kept = _kept_by_deepspeed(parameter) if exact else None
        if kept is not None:
            yield plain, kept
        elif hasattr(parameter, "full_tensor"):
            yield plain, parameter.full_tensor()
        elif hasattr(parameter, "ds_id"):
            import deepspeed

            with deepspeed.zero.GatheredParameters([parameter]):
                yield plain, parameter.data
        else:
            yield plain, parameter.data


def _kept_by_deepspeed(parameter: torch.nn.Parameter) -> torch.Tensor | None:
    if not parameter.requires_grad or not (
        hasattr(parameter, "ds_id") or hasattr(parameter, "_hp_mapping")
    ):
        return None
    from deepspeed.utils import safe_get_full_fp32_param

    kept: torch.Tensor | None = safe_get_full_fp32_param(parameter)
    return kept


def _shell(model: Any) -> Any:
    """Return a model with its weights on torch's meta device."""
    if any(map(is_shard, model.parameters())):
        raise UnsupportedSharding(
            "the model was sharded while it was loaded; load it before TRL's settings are made"
        )
    # What is in its memo, `deepcopy` takes from there: nothing of the weights is ever copied.
    empty = {
        id(weight): torch.nn.Parameter(weight.detach().to("meta"), weight.requires_grad)
        for weight in model.parameters()
    }
    return forwards.copied(model, empty)
