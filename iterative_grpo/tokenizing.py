"""Loading a tokenizer that begins texts as its files say."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def load(name: str | Path, **options: Any) -> Any:
    """Return `AutoTokenizer.from_pretrained(name, **options)`, with BOS where its files ask for it.

    Since version 5 transformers leaves `add_bos_token` of tokenizer_config.json aside where there
    is a tokenizer.json, whose own template counts. Files that relied on version 4 to make that
    template (DeepSeek's, of a LlamaTokenizerFast over bytes) would begin texts without BOS.

    Raises:
        OSError, ValueError: as transformers does, if there is no such tokenizer.
    """
    from transformers import AutoTokenizer
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    tokenizer: Any = AutoTokenizer.from_pretrained(str(name), **options)
    asked = get_tokenizer_config(str(name)).get("add_bos_token") is True
    bos = tokenizer.bos_token_id
    if asked and bos is not None and tokenizer("1")["input_ids"][:1] != [bos]:
        tokenizer.add_bos_token = True
    return tokenizer
