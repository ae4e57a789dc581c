"""What `update.py` reports: times, memory and gradients of its arms."""

from __future__ import annotations

import argparse
import os
import platform
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Run:
    """One update of one arm, in seconds."""

    arm: str
    group: int
    reference: float
    gradient: float
    step: float

    @property
    def total(self) -> float:
        """Return all of it."""
        return self.reference + self.gradient + self.step


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of a process before an update and at its peak."""

    before: int
    peak: int


def summary(
    options: argparse.Namespace,
    group: int,
    runs: list[Run],
    gradients: dict[str, Any],
    memory: dict[str, Memory],
    rollouts: dict[str, Any],
) -> dict[str, Any]:
    """Return the figures of one group size."""
    prompts, completions = rollouts["prompt_mask"].sum(1), rollouts["completion_mask"].sum(1)
    stock_tokens = len(prompts) * (
        rollouts["prompt_mask"].size(1) + rollouts["completion_mask"].size(1)
    )
    # The last token of a completion predicts nothing.
    needed = int(prompts[::group].sum() + completions.sum() - len(completions))
    # Two operations a parameter and token forward, four backward; the reference is forward alone.
    flops = 8 * options.parameters * needed
    base = gradients.get("stock")
    arms = {}
    for name in options.arms:
        own = [run for run in runs if run.arm == name and run.group == group]
        found: dict[str, Any] = {
            "seconds": median(run.total for run in own),
            "reference": median(run.reference for run in own),
            "gradient": median(run.gradient for run in own),
            "step": median(run.step for run in own),
        }
        found["utilisation"] = flops / found["seconds"] / options.peak
        if base is not None:
            found["gradient_difference"] = float((gradients[name] - base).norm() / base.norm())
        if name in memory:
            found["memory"] = asdict(memory[name])
        arms[name] = found
    return {
        "group": group,
        "rows": len(prompts),
        "prompt_tokens": float(prompts.float().mean()),
        "completion_tokens": float(completions.float().mean()),
        "tokens_padded": stock_tokens,
        "tokens_needed": needed,
        "arms": arms,
    }


def table(reports: list[dict[str, Any]]) -> str:
    """Return the figures as Markdown, each arm against the first."""
    lines = []
    for report in reports:
        lines += [
            f"G = {report['group']}, {report['rows']} rows, prompts of "
            f"{report['prompt_tokens']:.0f} and completions of {report['completion_tokens']:.0f} "
            f"tokens on average; {report['tokens_padded']:,} tokens padded, "
            f"{report['tokens_needed']:,} needed "
            f"({report['tokens_padded'] / report['tokens_needed']:.2f}x).",
            "",
            "| arm | update s | reference s | gradient s | step s | speed-up | update MB "
            "| of stock | process MB | gradient difference | model FLOPs utilisation |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        first = next(iter(report["arms"].values()))
        for name, arm in report["arms"].items():
            lines.append(
                f"| {name} | {arm['seconds']:.2f} | {arm['reference']:.2f} "
                f"| {arm['gradient']:.2f} | {arm['step']:.3f} "
                f"| {first['seconds'] / arm['seconds']:.2f}x | {memory_cells(arm, first)} "
                f"| {arm.get('gradient_difference', float('nan')):.1e} "
                f"| {arm['utilisation']:.1%} |"
            )
        lines.append("")
    return "\n".join(lines)


def memory_cells(arm: dict[str, Any], first: dict[str, Any]) -> str:
    """Return what the update needs above the trainer at rest, its share, and the whole process."""
    if "memory" not in arm:
        return "- | - | -"
    needed, base = (m["memory"]["peak"] - m["memory"]["before"] for m in (arm, first))
    return f"{needed / 1e6:.0f} | {needed / base:.2f} | {arm['memory']['peak'] / 1e6:.0f}"


def machine(options: argparse.Namespace) -> dict[str, Any]:
    """Return what a reader needs to compare figures."""
    import torch
    import transformers
    import trl

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "trl": trl.__version__,
        "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
        "dtype": options.dtype,
        "shape": options.shape,
        "threads": options.threads,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }
