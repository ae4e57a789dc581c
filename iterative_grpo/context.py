"""How many tokens a model has positions for."""

from __future__ import annotations

from typing import Any


def positions(config: Any) -> int | None:
    """Return a model's positions by its configuration (transformers'), None if it names no limit.

    A model of text and images says it in the configuration of its text model.
    """
    found = getattr(config.get_text_config(), "max_position_embeddings", None)
    # XLNet's is -1.
    return found if isinstance(found, int) and found > 0 else None
