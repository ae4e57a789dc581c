"""The LM head on chosen positions, in chunks: no batch's logits ever exist at once.

Dimensions: N positions, H width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

# Bytes of logits that exist at once. On a CPU a chunk should stay in the cache: all passes over it
# after the product then cost little.
_CHUNK_BYTES = {"cpu": 8 * 2**20}
_CHUNK_BYTES_ELSEWHERE = 512 * 2**20


def score(
    hidden_NH: torch.Tensor,
    head: torch.nn.Linear,
    targets_N: torch.Tensor,
    temperature: float,
    entropy: bool = False,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return log-probabilities (N,) of targets and, if asked for, entropies (N,) in nats.

    The distribution is softmax(logits / temperature). The product runs in the model's precision
    (or autocast's), everything after it in float32 at least: float64 stays float64. Logits are
    computed a second time for the gradient instead of being kept; positions whose gradient is
    exactly zero are left out of that.
    """
    weight_VH: torch.Tensor = head.weight
    bias_V: torch.Tensor | None = head.bias
    device = hidden_NH.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        hidden_NH, weight_VH = hidden_NH.to(dtype), weight_VH.to(dtype)
        bias_V = None if bias_V is None else bias_V.to(dtype)
    hidden_NH = hidden_NH.to(weight_VH.dtype)
    logps_N, entropies_N = _ChunkedHead.apply(  # type: ignore[no-untyped-call]
        hidden_NH, weight_VH, bias_V, targets_N, temperature, entropy
    )
    return logps_N, entropies_N if entropy else None


class _ChunkedHead(torch.autograd.Function):
    """log p = z_target - log sum exp z, with z = (W h + b) / temperature."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_NH: torch.Tensor,
        weight_VH: torch.Tensor,
        bias_V: torch.Tensor | None,
        targets_N: torch.Tensor,
        temperature: float,
        entropy: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        dtype = torch.promote_types(hidden_NH.dtype, torch.float32)
        logps_N = torch.empty(len(hidden_NH), dtype=dtype, device=hidden_NH.device)
        normalizers_N, entropies_N = torch.empty_like(logps_N), torch.empty_like(logps_N)
        for part in _chunks(len(hidden_NH), weight_VH):
            logits = _logits(hidden_NH[part], weight_VH, bias_V, temperature, dtype)
            highest = logits.amax(-1)
            logits.sub_(highest[:, None])
            picked = logits.gather(-1, targets_N[part, None]).squeeze(-1)
            weights = logits.exp()
            total = weights.sum(-1)
            logps_N[part] = picked - total.log()
            normalizers_N[part] = highest + total.log()
            if entropy:
                # The largest logit is 0 here, so this is log sum exp - E[logit] without overflow.
                entropies_N[part] = total.log() - weights.mul_(logits).sum(-1) / total
        ctx.save_for_backward(hidden_NH, weight_VH, bias_V, targets_N, normalizers_N, entropies_N)
        ctx.temperature = temperature
        ctx.set_materialize_grads(False)
        if not entropy:
            ctx.mark_non_differentiable(entropies_N)
        return logps_N, entropies_N

    @staticmethod
    def backward(
        ctx: Any, *gradients: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None, None, None, None]:
        of_logps_N, of_entropies_N = gradients
        hidden_NH, weight_VH, bias_V, targets_N, normalizers_N, entropies_N = ctx.saved_tensors
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        dtype = normalizers_N.dtype
        grad_hidden = torch.zeros_like(hidden_NH) if needs_hidden else None
        grad_weight = torch.zeros_like(weight_VH, dtype=dtype) if needs_weight else None
        grad_bias = torch.zeros_like(bias_V, dtype=dtype) if needs_bias else None
        contributes = torch.zeros_like(targets_N, dtype=torch.bool)
        for gradient in (of_logps_N, of_entropies_N):
            if gradient is not None:
                contributes |= gradient != 0
        rows = contributes.nonzero().squeeze(-1)
        for part in _chunks(len(rows), weight_VH):
            chosen = rows[part]
            hidden = hidden_NH[chosen]
            logits = _logits(hidden, weight_VH, bias_V, ctx.temperature, dtype)
            logps = logits.sub_(normalizers_N[chosen, None])
            weights = logps.exp()
            # d log p_target / d z_j = [j = target] - p_j, d entropy / d z_j = -p_j (log p_j + H)
            factor = (
                torch.zeros_like(logps[:, :1]) if of_logps_N is None else of_logps_N[chosen, None]
            )
            if of_entropies_N is None:
                grad = weights.mul_(-factor)
            else:
                surprise = logps.add_(entropies_N[chosen, None])
                grad = surprise.mul_(-of_entropies_N[chosen, None]).sub_(factor).mul_(weights)
            grad.scatter_add_(-1, targets_N[chosen, None], factor)
            grad.div_(ctx.temperature)
            if grad_bias is not None:
                grad_bias += grad.sum(0)
            grad = grad.to(weight_VH.dtype)
            if grad_hidden is not None:
                grad_hidden[chosen] = grad @ weight_VH
            if grad_weight is not None:
                _accumulate(grad_weight, grad.t(), hidden)
        return (
            grad_hidden,
            None if grad_weight is None else grad_weight.to(weight_VH.dtype),
            None if grad_bias is None else grad_bias.to(weight_VH.dtype),
            None,
            None,
            None,
        )


def _logits(
    hidden: torch.Tensor,
    weight_VH: torch.Tensor,
    bias_V: torch.Tensor | None,
    temperature: float,
    dtype: torch.dtype,
) -> torch.Tensor:
    logits = nn.functional.linear(hidden, weight_VH, bias_V).to(dtype)
    return logits if temperature == 1.0 else logits.div_(temperature)


def _chunks(rows: int, weight_VH: torch.Tensor) -> list[slice]:
    allowed = _CHUNK_BYTES.get(weight_VH.device.type, _CHUNK_BYTES_ELSEWHERE)
    size = max(allowed // (len(weight_VH) * max(weight_VH.element_size(), 4)), 16)
    return [slice(start, start + size) for start in range(0, rows, size)]


def _accumulate(total: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> None:
    """Add a @ b without rounding every chunk's product to the inputs' low precision."""
    if total.dtype == a.dtype:
        total.addmm_(a, b)
    elif total.device.type == "cuda":
        total += torch.mm(a, b, out_dtype=total.dtype)
    else:
        total.addmm_(a.to(total.dtype), b.to(total.dtype))
