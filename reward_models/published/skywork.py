"""Skywork's convention (checkpoints Skywork-o1-Open-PRM-Qwen-2.5-*): a value read at newlines.

A Qwen2 backbone with a linear value head, `v_head.summary`, reads the tokenizer's beginning-of-text
token, the question and a newline, then each line of the solution and a newline; lines are tokenised
apart, so that the newline is a token of its own. The sigmoid of the value at that newline scores
the line. After github.com/SkyworkAI/skywork-o1-prm-inference, `prepare_input` in
`model_utils/io_utils.py` and `PRM_MODEL` in `model_utils/prm_model.py`.

A step of several lines is read at its last newline.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reward_models.encoding import UnfitTokenizer
from reward_models.published._heads import WithHead, stored
from reward_models.published._judge import Judge, pretrained, single, tokenizer_of

if TYPE_CHECKING:
    import torch

HEAD = ("v_head.summary.weight", "v_head.summary.bias")


def load(path_or_name: str, *, device: str | None = None, dtype: str | None = None) -> Judge:
    """Load backbone, value head and tokenizer."""
    import torch
    from transformers import AutoModel

    weight, bias = head_weights(path_or_name)
    backbone = pretrained(AutoModel, path_or_name, dtype)
    # The head keeps its own precision, and hidden states are cast to it, as where it was trained.
    head = torch.nn.Linear(weight.shape[1], 1, dtype=weight.dtype)
    head.load_state_dict({"weight": weight, "bias": bias})
    model = WithHead(backbone, head)
    if device is not None:
        model.to(device)
    return judge(model, tokenizer_of(path_or_name))


def head_weights(path_or_name: str) -> list[torch.Tensor]:
    """Return the head's weights; UntrainedHead if the checkpoint has none."""
    return stored(path_or_name, HEAD, "Skywork-o1-Open-PRM")


def judge(model: Any, tokenizer: Any) -> Judge:
    """Return the judge of a loaded model; refuse a tokenizer that cannot see newlines."""
    if tokenizer.bos_token is None:
        raise UnfitTokenizer(
            "the tokenizer names no beginning-of-text token (bos_token), which this convention "
            "puts before the question; take the tokenizer that was published with the model"
        )
    newline = single(tokenizer, "\n")
    if tokenizer.decode([newline]) != "\n" or newline == tokenizer.unk_token_id:
        raise UnfitTokenizer(
            "the tokenizer has no token for a newline alone, at which this convention reads the "
            "steps; take the tokenizer that was published with the model"
        )

    def encode(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    def render(question: str, steps: Sequence[str]) -> tuple[list[int], list[int]]:
        ids = encode(f"{tokenizer.bos_token}{question}\n")
        marks = []
        for step in steps:
            for line in step.split("\n"):
                ids += [*encode(line), newline]
            marks.append(len(ids) - 1)
        return ids, marks

    return Judge(model, render, _value, tokenizer.pad_token_id or 0)


def _value(values_N1: torch.Tensor) -> torch.Tensor:
    return values_N1[:, 0].sigmoid()
