"""Math-Shepherd's convention (arXiv:2312.08935, checkpoint math-shepherd-mistral-7b-prm).

A causal language model reads "question step one ки\\nstep two ки"; at each tag "ки" the probability
of "+" against "-" scores the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reward_models.encoding import UnfitTokenizer
from reward_models.published._judge import (
    Judge,
    pretrained,
    single,
    tokenizer_of,
    two_signs,
    without,
)

TAG = "ки"


def load(path_or_name: str, *, device: str | None = None, dtype: str | None = None) -> Judge:
    """Load the model and its tokenizer."""
    from transformers import AutoModelForCausalLM

    model = pretrained(AutoModelForCausalLM, path_or_name, dtype)
    if device is not None:
        model.to(device)
    return judge(model, tokenizer_of(path_or_name))


def judge(model: Any, tokenizer: Any) -> Judge:
    """Return the judge of a loaded model; refuse a tokenizer that cannot see the tag."""
    tag = single(tokenizer, f"1 {TAG}")
    if TAG not in tokenizer.decode([tag]) or tag == tokenizer.unk_token_id:
        raise UnfitTokenizer(
            f"the tokenizer cuts the step tag {TAG!r} into pieces or does not know it; a model of "
            "Math-Shepherd's convention has it as one token"
        )

    def render(question: str, steps: Sequence[str]) -> tuple[list[int], list[int]]:
        # A tag that the policy wrote would be read as the end of a step.
        tagged = "\n".join(f"{without(step, TAG)} {TAG}" for step in steps)
        ids = tokenizer(f"{without(question, TAG)} {tagged}")["input_ids"]
        return ids, [place for place, token in enumerate(ids) if token == tag]

    signs = two_signs(single(tokenizer, "+"), single(tokenizer, "-"))
    return Judge(model, render, signs, tokenizer.pad_token_id or 0)
