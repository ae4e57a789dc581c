"""Small real models, tokenizers and labeled solutions, made on the spot."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, PreTrainedTokenizerFast

from reward_models.types import LabeledSolution

LINES = [
    "Ann has 18 coins. Ann wins 5. How many?",
    "18+5=23\n#### 23",
    "Bob has 7 boxes of 4. Bob gives 9. How many?",
    "7*4=28\n28-9=19\n#### 19",
]


def byte_bpe(
    *, merges: int = 40, texts: Sequence[str] = tuple(LINES * 20)
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer: every text encodes, characters may be several tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=258 + merges,
        special_tokens=["<pad>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>")


def words() -> PreTrainedTokenizerFast:
    """A word-level tokenizer of digits, words and signs; it drops spaces and keeps newlines."""
    pieces = ["<pad>", "<eos>", "<unk>", "\n", *"0123456789+-*=#.?,"]
    pieces += sorted({w for line in LINES for w in line.replace(".", " ").split() if w.isalpha()})
    tokenizer = Tokenizer(models.WordLevel({p: i for i, p in enumerate(pieces)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("[ ]+"), "removed"),
            pre_tokenizers.Split(Regex(r"[0-9+\-*=#.?,\n]"), "isolated"),
        ]
    )
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


def llama(vocabulary: int, *, width: int = 32, layers: int = 2, context: int = 128) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=width * 3,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )


def solution(number: int, *, right: bool, iteration: int = 1, text: str = "") -> LabeledSolution:
    """A one-step solution of problem `number`, labelled by hand."""
    text = text or f"{number}+1={number + (1 if right else 2)}"
    return LabeledSolution(
        problem_id=f"p{number}",
        question=f"{number} and 1?",
        text=text,
        ends=(len(text),),
        labels=(float(right),),
        counts=((int(right), 1),),
        iteration=iteration,
        labeler="verdict",
        completer="",
        correct=right,
        finished=True,
    )


def additions(count: int, seed: int, *, steps: bool = False) -> list[LabeledSolution]:
    """Solutions of "a and b?" of which half are off by one: learnable by a tiny model in seconds.

    The answer is right when it repeats the first digit of the question: attention can see that.
    """
    generator = random.Random(seed)
    rows = []
    for index in range(count):
        digit = generator.randrange(10)
        right = generator.random() < 0.5
        said = digit if right else (digit + generator.randrange(1, 10)) % 10
        first, last = f"{digit}={digit}\n", f"#### {said}"
        text = first + last if steps else last
        ends = (len(first), len(text)) if steps else (len(text),)
        labels = (1.0, float(right)) if steps else (float(right),)
        rows.append(
            LabeledSolution(
                problem_id=f"d{index // 4}",
                question=f"Ann has {digit} coins.",
                text=text,
                ends=ends,
                labels=labels,
                counts=tuple((int(label), 1) for label in labels),
                iteration=1,
                labeler="verdict",
                completer="",
                correct=right,
                finished=True,
            )
        )
    return rows
