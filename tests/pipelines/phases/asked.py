"""An engine that keeps how it was asked and answers everything alike, and a policy to load."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import making

SOURCE = """
from iterative_grpo.engines._requests import per_prompt
from iterative_grpo.types import Completion, Finish

ASKED = []


class Engine:
    def generate(self, prompts, sampling):
        samplings = per_prompt(prompts, sampling)
        ASKED.extend(samplings)
        return [
            [
                Completion(prompt.problem_id, sample, "1+1=2\\\\n#### 2", (5, 6), Finish.STOP)
                for sample in range(own.group_size)
            ]
            for prompt, own in zip(prompts, samplings, strict=True)
        ]


def load(model, tokenizer):
    return Engine()
"""


def write_policy(folder: Path, seed: int = 0) -> Path:
    """Write FOLDER/policy with room for a prompt with examples; return the folder."""
    tokenizer = making.make_tokenizer("bpe", ["1+2=3\n#### 3"], 270)
    shape = making.ModelShape(width=8, layers=1, heads=1, context=4096)
    making.make_policy(tokenizer, shape, seed).save_pretrained(folder / "policy")
    tokenizer.save_pretrained(folder / "policy")
    return folder


def be_process(monkeypatch: pytest.MonkeyPatch, rank: int, of: int) -> None:
    """Be one of several processes; those after it have already done their part."""
    import torch.distributed

    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(of))
    monkeypatch.setattr(torch.distributed, "barrier", lambda: None)
