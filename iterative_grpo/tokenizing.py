"""Loading a tokenizer that begins texts as its files say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

VOCABULARIES = ("tokenizer.*", "vocab*", "*.model", "*.tiktoken", "*.spm", "tekken*")
"""Files that a folder's tokenizer may have its tokens in: one of them, by the tokenizer's kind."""


class NoTokenizer(ValueError):
    """A folder without a tokenizer's files."""


def load(name: str | Path, **options: Any) -> Any:
    """Return `AutoTokenizer.from_pretrained(name, **options)`, with BOS where its files ask for it.

    Since version 5 transformers leaves `add_bos_token` of tokenizer_config.json aside where there
    is a tokenizer.json, whose own template counts. Files that relied on version 4 to make that
    template (DeepSeek's, of a LlamaTokenizerFast over bytes) would begin texts without BOS.

    Raises:
        NoTokenizer: a folder has none of its files, where transformers would make one of the
            special tokens alone.
        OSError, ValueError: as transformers does, if there is no such tokenizer.
    """
    from transformers import AutoTokenizer
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    folder = Path(name)
    found = not folder.is_dir() or any(next(folder.glob(each), None) for each in VOCABULARIES)
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(str(name), **options)
    except (OSError, ValueError):
        if found:
            raise
        raise _none_in(name) from None
    # Tokenizers over bytes or characters have no such file.
    if not found and tokenizer.vocab_files_names:
        raise _none_in(name)
    asked = get_tokenizer_config(str(name)).get("add_bos_token") is True
    bos = tokenizer.bos_token_id
    if asked and bos is not None and tokenizer("1")["input_ids"][:1] != [bos]:
        tokenizer.add_bos_token = True
    return tokenizer


def _none_in(name: str | Path) -> NoTokenizer:
    return NoTokenizer(
        f"{name}: no tokenizer in this folder (no tokenizer.json, vocab.json or tokenizer.model); "
        "copy the files of the one that the model was trained with into it"
    )
