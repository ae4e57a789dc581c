"""Small models made on the spot, so that a run needs no download: a tokenizer and a policy.

Both are ordinary: `save_pretrained` writes what `AutoTokenizer` and `AutoModelForCausalLM` load.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

PAD, EOS, BOS, UNKNOWN = "<pad>", "<eos>", "<bos>", "<unk>"
_SPECIAL = (PAD, EOS, BOS, UNKNOWN)

LEAST_BPE = 256 + len(_SPECIAL)
"""Tokens of the smallest bpe vocabulary: every byte, and the special ones."""

_PIECES = r" ?[^\W\d_]+ ?|\d|[^\w\s]+ ?|\s|_"
"""Words with the spaces at their sides, single digits, runs of signs with a space after them."""


class UnfitShape(ValueError):
    """Sizes of which no model or tokenizer can be made."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The size of a policy. The default has 0.37 M parameters: enough for the arithmetic task.

    `width` is the hidden size (the feed-forward one is three times that), `context` the positions.
    The base of the rotary positions is the context's length, at least 100: the usual 10,000 would
    leave most dimensions without any turn within 128 positions.
    """

    width: int = 96
    layers: int = 3
    heads: int = 4
    context: int = 128

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads", "context"):
            size = getattr(self, name)
            if size < 1:
                raise UnfitShape(f"shape: {name} is {size}, must be at least 1")
        if self.width % self.heads or self.width // self.heads % 2:
            raise UnfitShape(
                f"shape: width {self.width} over {self.heads} heads must give an even number of "
                "dimensions a head, for rotary positions"
            )


def make_tokenizer(kind: str, texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a tokenizer on texts. Decoding gives every text back exactly.

    Args:
        kind: `words` (whole words, single digits; only what stands in `texts` is known, the rest
            becomes `<unk>`) or `bpe` (byte-level; knows every text).
        texts: what to learn from; questions and solutions, as the policy will see them.
        vocab_size: the most tokens, special ones included.

    Raises:
        ValueError: an unknown kind.
        UnfitShape: more different words than `vocab_size`, or less room than bytes take.
    """
    import transformers

    match kind:
        case "words":
            backend = _words(texts, vocab_size)
        case "bpe":
            backend = _bpe(texts, vocab_size)
        case _:
            raise ValueError(f"unknown kind of tokenizer {kind!r}; known: bpe, words")
    make: Callable[..., PreTrainedTokenizerFast] = transformers.PreTrainedTokenizerFast
    return make(
        tokenizer_object=backend,
        pad_token=PAD,
        eos_token=EOS,
        bos_token=BOS,
        unk_token=UNKNOWN,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def make_policy(
    tokenizer: PreTrainedTokenizerFast, shape: ModelShape, seed: int
) -> LlamaForCausalLM:
    """Make an untrained Llama: tied embeddings, no dropout, the tokenizer's special ids.

    The seed fixes the weights; torch's global random state is left as it was.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        intermediate_size=3 * shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.context,
        rope_parameters={"rope_type": "default", "rope_theta": float(max(100, shape.context))},
        # The usual 0.02 is for widths of hundreds; narrower models learn faster from more.
        initializer_range=0.5 / math.sqrt(shape.width),
        tie_word_embeddings=True,
        attention_dropout=0.0,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def _words(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    splitter = pre_tokenizers.Split(Regex(_PIECES), behavior="isolated")
    words = sorted({piece for text in texts for piece, _ in splitter.pre_tokenize_str(text)})
    if len(words) + len(_SPECIAL) > vocab_size:
        raise UnfitShape(
            f"{len(words)} different words and {len(_SPECIAL)} special tokens where vocab_size is "
            f"{vocab_size}; raise it, or make a bpe tokenizer"
        )
    vocab = {word: number for number, word in enumerate([*_SPECIAL, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def _bpe(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if vocab_size < LEAST_BPE:
        raise UnfitShape(
            f"vocab_size is {vocab_size}; a bpe tokenizer needs at least {LEAST_BPE}: every byte "
            f"and {len(_SPECIAL)} special tokens"
        )
    tokenizer = Tokenizer(models.BPE())
    # Single digits: a small model learns arithmetic on places, not on words for numbers.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(_SPECIAL),
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer
