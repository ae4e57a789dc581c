"""How far a policy has moved from another: the unbiased KL estimator on the policy's own samples.

    KL(pi || rho) ~ mean over tokens of  rho/pi - log(rho/pi) - 1

(http://joschu.net/blog/kl-approx.html, k3; arXiv:2402.03300 equation 4). Resets of the reference
remove any global bound, so the distance to the *initial* policy is measured beside the loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from iterative_grpo.types import Completion, Prompt


def kl(
    policy: Any, other: Any, prompts: Sequence[Prompt], groups: Sequence[Sequence[Completion]]
) -> float:
    """Return KL(policy || other) in nats a token, from completions that `policy` sampled.

    `groups[i]` are completions of `prompts[i]`, sampled at temperature 1.
    """
    rows = [
        (prompt.token_ids, completion.token_ids)
        for prompt, group in zip(prompts, groups, strict=True)
        for completion in group
    ]
    here = token_logps(policy, rows)
    there = token_logps(other, rows)
    log_ratio = there - here
    return float((log_ratio.exp() - log_ratio - 1).mean())


def token_logps(
    model: Any, rows: Sequence[tuple[Sequence[int], Sequence[int]]], batch: int = 32
) -> Any:
    """Return the log-probabilities (N,) of all completion tokens, row after row, in float32."""
    import torch

    found = []
    with torch.inference_mode():
        for begin in range(0, len(rows), batch):
            chunk = rows[begin : begin + batch]
            longest = max(len(prompt) + len(completion) for prompt, completion in chunk)
            ids = torch.zeros(len(chunk), longest, dtype=torch.long)
            mask = torch.zeros_like(ids)
            for row, (prompt, completion) in enumerate(chunk):
                size = len(prompt) + len(completion)
                ids[row, :size] = torch.tensor([*prompt, *completion])
                mask[row, :size] = 1
            ids, mask = ids.to(model.device), mask.to(model.device)
            logps = model(input_ids=ids, attention_mask=mask).logits.float().log_softmax(-1)
            picked = logps[:, :-1].gather(-1, ids[:, 1:, None]).squeeze(-1)
            for row, (prompt, completion) in enumerate(chunk):
                first = len(prompt) - 1
                found.append(picked[row, first : first + len(completion)].cpu())
    return torch.cat(found)
