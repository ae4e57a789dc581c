"""RLHFlow's convention (checkpoints Llama3.1-8B-PRM-*): a chat in which each step is a turn.

The user says "question step one", the assistant "+", the user "step two", the assistant "+", and so
on; where the model is about to say each "+", its probability against "-" scores the step. All steps
are read in one pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from iterative_grpo.chat import written
from reward_models.published._judge import (
    Judge,
    check_chat,
    pretrained,
    single,
    tokenizer_of,
    two_signs,
)


def load(path_or_name: str, *, device: str | None = None, dtype: str | None = None) -> Judge:
    """Load the model and its tokenizer."""
    from transformers import AutoModelForCausalLM

    model = pretrained(AutoModelForCausalLM, path_or_name, dtype)
    if device is not None:
        model.to(device)
    return judge(model, tokenizer_of(path_or_name))


def judge(model: Any, tokenizer: Any) -> Judge:
    """Return the judge of a loaded model; refuse a tokenizer without a chat template."""
    check_chat(tokenizer)
    good = single(tokenizer, "+")

    def render(question: str, steps: Sequence[str]) -> tuple[list[int], list[int]]:
        chat: list[dict[str, str]] = []
        signs = []
        for number, step in enumerate(steps):
            said = f"{question} {step}" if number == 0 else step
            chat.append({"role": "user", "content": said})
            begun = written(tokenizer, chat, add_generation_prompt=True)
            signs.append(len(begun))
            chat.append({"role": "assistant", "content": "+"})
        whole = written(tokenizer, chat)
        encoded = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
        ids = encoded["input_ids"]
        at = {
            start: place
            for place, (start, end) in enumerate(encoded["offset_mapping"])
            if end > start
        }
        # The sign is predicted by the token before it.
        marks = [at[sign] - 1 for sign in signs if sign in at and whole[sign] == "+"]
        return ids, [mark for mark in marks if ids[mark + 1] == good]

    signs = two_signs(good, single(tokenizer, "-"))
    return Judge(model, render, signs, tokenizer.pad_token_id or 0)
