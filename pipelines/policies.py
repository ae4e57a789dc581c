"""Loading policies, and what is asked of one before any compute is spent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from iterative_grpo import timing
from pipelines.config import PolicySettings


class PolicyError(ValueError):
    """A model or tokenizer that this program cannot train, with what to do about it."""


def load(path: str | Path, settings: PolicySettings) -> tuple[Any, Any]:
    """Return (model, tokenizer) from a checkpoint or hub name, on the device that is there.

    Raises PolicyError if there is no such model, or its tokenizer lacks EOS or pad tokens.
    """
    with timing.part(timing.INPUT_OUTPUT):
        return _load(path, settings)


def _load(path: str | Path, settings: PolicySettings) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    trust = settings.trust_remote_code
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(path), padding_side="left", trust_remote_code=trust
        )
        model = AutoModelForCausalLM.from_pretrained(
            str(path), dtype=settings.dtype, trust_remote_code=trust
        )
    except (OSError, ValueError) as error:
        raise PolicyError(
            f"policy.model {path} cannot be loaded: {error}. Expected a folder with a transformers "
            "checkpoint, or the name of a causal language model on the hub"
        ) from None
    check_tokenizer(tokenizer, str(path), settings)
    placed: Any = model
    return placed.to(device()).eval(), tokenizer


def save(model: Any, tokenizer: Any, path: Path) -> None:
    """Write a checkpoint that `load` reads."""
    with timing.part(timing.INPUT_OUTPUT):
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)


def device() -> str:
    """Return where models run: an accelerator if there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def check_tokenizer(tokenizer: Any, name: str, settings: PolicySettings) -> None:
    """Refuse a tokenizer that cannot say where an output ends or what is padding."""
    if tokenizer.eos_token_id is None:
        raise PolicyError(
            f"the tokenizer of {name} has no EOS token: an output could never end. Set one with "
            "tokenizer.eos_token = ... and save the tokenizer beside the model"
        )
    if tokenizer.pad_token_id is None and settings.pad_token is not None:
        tokenizer.pad_token = settings.pad_token
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.unk_token_id:
        raise PolicyError(
            f"the tokenizer of {name} has no pad token; name one of its tokens with "
            "policy.pad_token (for base models often the EOS token "
            f"{tokenizer.eos_token!r} or a reserved one)"
        )


def context_of(model: Any) -> int | None:
    """Return how many positions a model has, None if its configuration does not say."""
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return positions if isinstance(positions, int) and positions > 0 else None
