"""Small real models made on the spot, shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

torch.set_num_threads(1)
# No test is one of speed: a busy machine would fail it.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real GSM8K and MATH rows, or skip."""
    here = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("ITERATIVE_GRPO_DATA", here.parent / "shared" / "data"))
    if not (folder / "gsm8k" / "test.jsonl").exists():
        pytest.skip(f"no real data in {folder}; set ITERATIVE_GRPO_DATA to a folder that has them")
    return folder


def character_tokenizer(alphabet: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer of one token a character, with pad and EOS."""
    vocabulary = {token: i for i, token in enumerate(["<pad>", "<eos>", *alphabet])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>", padding_side="left"
    )


@pytest.fixture
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    return character_tokenizer("0123456789+-*=# \nabcdefgh?")


@pytest.fixture
def tiny_policy(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> Callable[[int, torch.dtype], Path]:
    """Return a maker of tiny Llama checkpoints: (seed, dtype) -> folder."""

    def make(seed: int = 0, dtype: torch.dtype = torch.float32) -> Path:
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=len(tiny_tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=128,
            tie_word_embeddings=True,
            pad_token_id=tiny_tokenizer.pad_token_id,
            eos_token_id=tiny_tokenizer.eos_token_id,
            bos_token_id=None,
            initializer_range=0.3,
        )
        folder = tmp_path / f"policy-{seed}-{dtype}".replace("torch.", "")
        LlamaForCausalLM(config).to(dtype).save_pretrained(folder)
        tiny_tokenizer.save_pretrained(folder)
        return folder

    return make


@pytest.fixture(autouse=True, scope="session")
def _quiet_libraries() -> None:
    """Keep libraries' progress bars out of test reports."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
