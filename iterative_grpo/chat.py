"""Conversations as a chat template writes them, the same on every day."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from typing import Any

TODAY = date(2024, 7, 26)
"""The date of templates that write one; Llama 3's own falls back to this one.

With the real date a run would be trained, resumed and evaluated on different prompts.
"""

_NOW = re.compile(r"""strftime_now\(\s*(["'])(.*?)\1\s*\)""")


def written(tokenizer: Any, turns: Sequence[dict[str, str]], **options: Any) -> str:
    """Return turns of `role` and `content` as text; `options` are `apply_chat_template`'s.

    Raises ValueError if the tokenizer has no template, jinja2's TemplateError if it refuses turns.
    """
    # transformers hands a template nothing that can be called but its own clock.
    template = _NOW.sub(lambda found: repr(TODAY.strftime(found[2])), tokenizer.get_chat_template())
    return str(
        tokenizer.apply_chat_template(
            list(turns), tokenize=False, chat_template=template, **options
        )
    )
