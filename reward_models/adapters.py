"""LoRA training of a reward model (arXiv:2106.09685), merged so that its checkpoint stays standard.

The head is trained whole: it is fresh at first, and a low-rank change of one row is that row.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from reward_models.model import HEADS, RewardModel


class NoLora(RuntimeError):
    """LoRA was asked for and cannot be had."""


@contextmanager
def lora(
    model: RewardModel,
    *,
    rank: int,
    alpha: int,
    dropout: float = 0.0,
    targets: str | tuple[str, ...] = "all-linear",
) -> Iterator[RewardModel]:
    """Train `model` by low-rank adapters inside the context; they are merged at its end.

    Raises NoLora if peft is not installed, or the model has no head of a known name.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise NoLora("reward_model.lora needs the package peft: pip install peft") from error
    plain = model.model
    head = next((name for name in HEADS if hasattr(plain, name)), None)
    if head is None:
        raise NoLora(
            f"{type(plain).__name__} has no head called {' or '.join(HEADS)}; train it whole"
        )
    settings = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        exclude_modules=[head],
        modules_to_save=[head],
    )
    model.model = get_peft_model(plain, settings)
    try:
        yield model
    finally:
        if model.model is not None:  # trained in shards, only one process has it as a whole
            model.model = model.model.merge_and_unload()
