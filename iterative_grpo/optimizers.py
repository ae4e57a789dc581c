"""Optimizers by name: AdamW, or Muon on the hidden matrices with AdamW on the rest.

Muon orthogonalises the momentum of a matrix, so that all its directions learn alike
(https://kellerjordan.github.io/posts/muon/). A small transformer made on the spot learns its task
with it in a fraction of AdamW's steps. Embeddings, heads, gains and biases stay with AdamW.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5

STACKED = 2**26
"""Numbers of the matrices that are orthogonalised together, if no single one has more: of a large
model's, all of one shape would need as much again as its gradients."""


def build(
    model: nn.Module,
    *,
    kind: str,
    lr: float,
    muon_lr: float = 0.02,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.95),
) -> torch.optim.Optimizer:
    """Make the optimizer of a model's trainable parameters.

    Args:
        model: its parameters are sorted by shape and place, see `hidden_matrices`.
        kind: `adamw` or `muon`.
        lr: AdamW's learning rate.
        muon_lr: Muon's, for the hidden matrices; unused by `adamw`.
        weight_decay: decoupled, for matrices alone: gains and biases have none.
        betas: AdamW's.

    Raises:
        ValueError: an unknown kind, or a model without trainable parameters.
    """
    if kind not in ("adamw", "muon"):
        raise ValueError(f"unknown optimizer {kind!r}; known: adamw, muon")
    hidden = hidden_matrices(model) if kind == "muon" else []
    taken = {id(each) for each in hidden}
    rest = [each for each in model.parameters() if each.requires_grad and id(each) not in taken]
    groups: list[dict[str, Any]] = [
        {"params": hidden, "lr": muon_lr, "weight_decay": weight_decay, "muon": True},
        {"params": [each for each in rest if each.ndim >= 2], "weight_decay": weight_decay},
        {"params": [each for each in rest if each.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise ValueError("the model has no trainable parameters")
    if kind == "adamw":
        # Elsewhere the default; on a GPU that makes another copy of all parameters on its way.
        on_gpu = all(each.device.type == "cuda" for each in rest)
        return torch.optim.AdamW(groups, lr=lr, betas=betas, fused=on_gpu or None)
    return MuonAdamW(groups, lr=lr, betas=betas)


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """Return the trainable weights of linear layers between the embedding and the head.

    Left out are embeddings, what is tied to them, and layers that lead out of the model: those
    called `lm_head`, `score`, `classifier` or `head`.
    """
    outside: set[int] = set()
    for name, module in model.named_modules():
        leads_out = name.rsplit(".", 1)[-1] in {"lm_head", "score", "classifier", "head"}
        if isinstance(module, nn.Embedding) or leads_out:
            outside.update(id(each) for each in module.parameters())
    inside = [
        param
        for module in model.modules()
        if isinstance(module, nn.Linear)
        for param in module.parameters(recurse=False)
        if param.ndim == 2 and id(param) not in outside
    ]
    return [param for param in inside if param.requires_grad]


class MuonAdamW(torch.optim.Optimizer):
    """Groups with `muon=True` take Muon's step, the others AdamW's; one state, one schedule.

    The steps are those of `torch.optim.Muon` (Nesterov momentum 0.95, step scaled by
    sqrt(max(1, rows / columns))) and `torch.optim.AdamW`. Matrices of one shape, and
    the transposed, are orthogonalised together, which on a small model halves the time of the step.
    """

    def __init__(
        self,
        params: list[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "muon": False,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; the closure, if given, is evaluated before."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [param for param in group["params"] if param.grad is not None]
            if group["muon"]:
                self._muon(params, group)
            else:
                self._adamw(params, group)
        return loss

    def _muon(self, params: list[nn.Parameter], group: dict[str, Any]) -> None:
        by_shape: dict[tuple[Any, ...], list[nn.Parameter]] = defaultdict(list)
        for param in params:
            by_shape[*sorted(param.shape), param.device].append(param)
        for alike in by_shape.values():
            together = max(1, STACKED // alike[0].numel())
            for first in range(0, len(alike), together):
                self._orthogonal_step(alike[first : first + together], group)

    def _orthogonal_step(self, params: list[nn.Parameter], group: dict[str, Any]) -> None:
        updates = []
        for param in params:
            gradient = _gradient(param)
            state = self.state[param]
            if not state:
                state["momentum"] = torch.zeros_like(param)
            momentum = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
            updates.append(_wide(gradient.lerp(momentum, MOMENTUM)))
        for param, update in zip(params, orthogonalize(torch.stack(updates)), strict=True):
            rows, columns = param.shape
            scale = group["lr"] * math.sqrt(max(1.0, rows / columns))
            param.mul_(1 - group["lr"] * group["weight_decay"])
            param.add_(update.mT if rows > columns else update, alpha=-scale)

    def _adamw(self, params: list[nn.Parameter], group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        for param in params:
            gradient = _gradient(param)
            state = self.state[param]
            if not state:
                state["step"] = 0
                state["mean"] = torch.zeros_like(param)
                state["square"] = torch.zeros_like(param)
            state["step"] += 1
            mean = state["mean"].lerp_(gradient, 1 - beta1)
            square = state["square"].lerp_(gradient.square(), 1 - beta2)
            unbiased = (square / (1 - beta2 ** state["step"])).sqrt_().add_(group["eps"])
            param.mul_(1 - group["lr"] * group["weight_decay"])
            param.addcdiv_(mean, unbiased, value=-group["lr"] / (1 - beta1 ** state["step"]))


def orthogonalize(matrices_NRC: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Bring the singular values of N matrices (R rows, C columns) near 1, their vectors kept.

    Five quintic Newton-Schulz iterations, whose coefficients send singular values of (0, 1] to
    about 0.7 to 1.2 fast rather than to 1 exactly. Done in `dtype`, by default bfloat16 where the
    processor multiplies it in hardware and float32 elsewhere.
    """
    a, b, c = NEWTON_SCHULZ
    dtype = dtype or fast_dtype(matrices_NRC.device)
    tall = matrices_NRC.shape[-2] > matrices_NRC.shape[-1]
    x = (matrices_NRC.mT if tall else matrices_NRC).to(dtype)
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices_NRC.dtype)


def fast_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 where the device multiplies it in hardware, else float32."""
    if device.type == "cpu":
        read = getattr(torch.cpu, "get_capabilities", None)
        capabilities: dict[str, Any] = {} if read is None else read()
        known = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
        return torch.bfloat16 if known else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.float32


def _wide(matrix: Tensor) -> Tensor:
    return matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix


def _gradient(param: nn.Parameter) -> Tensor:
    if param.grad is None:
        raise ValueError("a parameter without gradient reached the optimizer's step")
    return param.grad
