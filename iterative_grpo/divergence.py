"""How far a policy has moved from another: the unbiased KL estimator on the policy's own samples.

    KL(pi || rho) ~ mean over tokens of  rho/pi - log(rho/pi) - 1

(http://joschu.net/blog/kl-approx.html, k3; arXiv:2402.03300 equation 4). Resets of the reference
remove any global bound, so the distance to the *initial* policy is measured beside the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from iterative_grpo import timing
from iterative_grpo.types import Completion, Prompt

ROWS = 32
"""Rows of a forward pass at most, which suits small models."""

LOGITS = 2**28
"""Logits of a forward pass at most, of which three copies in float32 exist at once (3 GiB)."""


def kl(
    policy: Any, other: Any, prompts: Sequence[Prompt], groups: Sequence[Sequence[Completion]]
) -> float:
    """Return KL(policy || other) in nats a token, from completions that `policy` sampled.

    `groups[i]` are completions of `prompts[i]`, sampled at temperature 1.
    """
    rows = rows_of(prompts, groups)
    return float(k3(token_logps(policy, rows), token_logps(other, rows)).mean())


def k3(here: Any, there: Any) -> Any:
    """Return the estimate at each token, from its log-probabilities under the two policies."""
    log_ratio = there - here
    return log_ratio.exp() - log_ratio - 1


@dataclass(frozen=True, slots=True)
class Initial:
    """The policy that a run began with, frozen.

    The distance from it is measured on the first `outputs` outputs of each generation: the cost is
    a forward pass of these by both policies.
    """

    model: Any
    outputs: int

    def __post_init__(self) -> None:
        if self.outputs < 1:
            raise ValueError(f"outputs is {self.outputs}, must be at least 1")


@dataclass(frozen=True, slots=True)
class Moved:
    """A part of the distance: the sum of estimates over so many tokens."""

    nats: float
    tokens: int


def together(parts: Iterable[Moved | None]) -> float | None:
    """Return the mean over the tokens of all parts, None without any."""
    known = [part for part in parts if part is not None]
    tokens = sum(part.tokens for part in known)
    return sum(part.nats for part in known) / tokens if tokens else None


Rows = Sequence[tuple[Sequence[int], Sequence[int]]]
"""Prompt and completion ids, a pair a row."""


def rows_of(prompts: Sequence[Prompt], groups: Sequence[Sequence[Completion]]) -> Rows:
    """Return the rows of prompts and of their completions, group by group."""
    return [
        (prompt.token_ids, completion.token_ids)
        for prompt, group in zip(prompts, groups, strict=True)
        for completion in group
    ]


def moved(
    logps: Callable[[Any, Any, Any, int], Any],
    policy: Any,
    other: Any,
    rows: Rows,
    pad: int,
    device: Any,
) -> Moved:
    """Return how far `policy` is from `other` on rows that it sampled.

    `logps(model, ids (B, P + T), mask (B, P + T), T)` returns the log-probabilities (B, T) of the
    last T positions, as a trainer computes them on `device`. The weights may wait elsewhere.
    """
    import torch

    before = max(len(prompt) for prompt, _ in rows)
    after = max(len(completion) for _, completion in rows)
    ids = torch.full((len(rows), before + after), pad)
    mask = torch.zeros_like(ids)
    for row, (prompt, completion) in enumerate(rows):
        filled = slice(before - len(prompt), before + len(completion))
        ids[row, filled] = torch.tensor([*prompt, *completion])
        mask[row, filled] = 1
    ids, mask = ids.to(device), mask.to(device)
    estimates = k3(*(logps(model, ids, mask, after).float() for model in (policy, other)))
    real = mask[:, before:].bool()
    return Moved(float(estimates[real].sum()), int(real.sum()))


def token_logps(model: Any, rows: Rows) -> Any:
    """Return the log-probabilities (N,) of all completion tokens, row after row, in float32."""
    import torch

    found = []
    with torch.inference_mode(), timing.part("reference") as spent:
        spent.tokens += sum(len(prompt) + len(completion) for prompt, completion in rows)
        for chunk in _passes(rows, model.get_input_embeddings().num_embeddings):
            picked = _next_logps(model, chunk)
            for row, (prompt, completion) in enumerate(chunk):
                first = len(prompt) - 1
                found.append(picked[row, first : first + len(completion)].cpu())
    return torch.cat(found)


def _passes(rows: Rows, vocabulary: int) -> Iterator[Rows]:
    """Yield rows in their order, as many together as keep to the bound (or one)."""
    chunk: list[tuple[Sequence[int], Sequence[int]]] = []
    longest = 0
    for row in rows:
        longest = max(longest, sum(map(len, row)))
        if chunk and ((len(chunk) + 1) * longest * vocabulary > LOGITS or len(chunk) == ROWS):
            yield chunk
            chunk, longest = [], sum(map(len, row))
        chunk.append(row)
    if chunk:
        yield chunk


def _next_logps(model: Any, rows: Rows) -> Any:
    """Return the log-probabilities (B, X - 1) of each token after the first, padding included."""
    import torch

    longest = max(len(prompt) + len(completion) for prompt, completion in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, (prompt, completion) in enumerate(rows):
        size = len(prompt) + len(completion)
        ids[row, :size] = torch.tensor([*prompt, *completion])
        mask[row, :size] = 1
    ids, mask = ids.to(model.device), mask.to(model.device)
    logps = model(input_ids=ids, attention_mask=mask).logits.float().log_softmax(-1)
    return logps[:, :-1].gather(-1, ids[:, 1:, None]).squeeze(-1)
