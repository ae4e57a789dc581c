"""Which families of models run on which path, and whether the numbers are the plain ones.

    python benchmarks/families.py

A small random model of each family, made on the spot, is sampled by the native engine, scored on
the path that the trainer finds for it, and made a reward model. All three are held against forward
passes of one row at a time: `off by` is the largest difference of a log-probability, or of a reward
model's logit. Windows and chunks are shorter than the rows.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import re
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CONFIG_MAPPING,
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
    PreTrainedTokenizerFast,
)
from trl.trainer.utils import add_fused_lm_head

from iterative_grpo.engines import native
from iterative_grpo.engines._shared_cache import UnsupportedModel
from iterative_grpo.logps.paths import Logps, UnscorableModel
from iterative_grpo.types import Prompt, Sampling
from reward_models import reading
from reward_models.model import RewardModel

VOCABULARY = 48
TEMPERATURE = 0.7
WINDOW = 8
FULL = ["full_attention"] * 3

SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "ffn_dim": 48,
    "word_embed_proj_dim": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256,
    "moe_intermediate_size": 24, "shared_expert_intermediate_size": 24, "intermediate_size_mlp": 48,
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2,
    "n_group": 1, "topk_group": 1, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8, "v_head_dim": 8, "sliding_window": WINDOW,
    "attention_chunk_size": WINDOW,
    "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8,
    "linear_value_head_dim": 8, "mamba_d_ssm": 64, "mamba_n_heads": 8, "mamba_d_head": 8,
    "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_dt_rank": 4, "state_size": 8,
    "pad_token_id": 0, "bos_token_id": None, "eos_token_id": None, "attention_dropout": 0.0,
    "hidden_dropout": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "dropout": 0.0,
    "initializer_range": 0.25,
}  # fmt: skip
"""Sizes and rates by the names that configurations give them; each family takes those it has."""

LATENT: dict[str, Any] = {"num_key_value_heads": 4}
HYBRID = {"layer_types": ["linear_attention", "full_attention", "linear_attention"]}

FAMILIES: dict[str, tuple[str, Mapping[str, Any]]] = {
    "Llama": ("llama", {}),
    "Llama 4 (chunks)": ("llama4_text", {}),
    "Mistral": ("mistral", {"sliding_window": None}),
    "Mistral (window)": ("mistral", {}),
    "Mixtral": ("mixtral", {"sliding_window": None}),
    "Ministral 3": ("ministral3", {"sliding_window": None}),
    "Qwen2, Qwen2.5": ("qwen2", {"use_sliding_window": False}),
    "Qwen2-MoE": ("qwen2_moe", {"use_sliding_window": False}),
    "Qwen3": ("qwen3", {"use_sliding_window": False}),
    "Qwen3-MoE": ("qwen3_moe", {"use_sliding_window": False}),
    "Qwen3-Next": ("qwen3_next", HYBRID),
    "Gemma": ("gemma", {}),
    "Gemma 2": ("gemma2", {}),
    "Gemma 3": ("gemma3_text", {}),
    "Phi": ("phi", {}),
    "Phi-3 (window)": ("phi3", {}),
    "Phi-3, Phi-4": ("phi3", {"sliding_window": None}),
    "Phi-3.5-MoE (window)": ("phimoe", {}),
    "OLMo": ("olmo", {}),
    "OLMo 2": ("olmo2", {}),
    "OLMo 3 (window)": ("olmo3", {}),
    "OLMoE": ("olmoe", {}),
    "DeepSeek-V2": ("deepseek_v2", LATENT),
    "DeepSeek-V3": ("deepseek_v3", LATENT),
    "GLM-4": ("glm4", {}),
    "GLM-4-MoE": ("glm4_moe", {}),
    "GPT-OSS (window, sinks)": ("gpt_oss", {}),
    "GPT-2": ("gpt2", {}),
    "GPT-NeoX, Pythia": ("gpt_neox", {}),
    "OPT": ("opt", {}),
    "Bloom (ALiBi)": ("bloom", {}),
    "Falcon": ("falcon", {}),
    "StableLM": ("stablelm", {}),
    "StarCoder2": ("starcoder2", {"sliding_window": None}),
    "Cohere": ("cohere", {}),
    "Cohere 2 (window)": ("cohere2", {}),
    "Granite": ("granite", {}),
    "SmolLM3": ("smollm3", {}),
    "EXAONE 4": ("exaone4", {"sliding_window": None, "layer_types": FULL}),
    "ERNIE 4.5": ("ernie4_5", {}),
    "Hunyuan": ("hunyuan_v1_dense", {}),
    "Seed-OSS": ("seed_oss", {}),
    "Nemotron": ("nemotron", {}),
    "LFM2 (convolutions)": ("lfm2", {"layer_types": ["conv", "full_attention", "conv"]}),
    "Mamba": ("mamba", {}),
    "Falcon-H1": ("falcon_h1", {}),
}


@dataclass(frozen=True, slots=True)
class Found:
    """What a family runs on, and how far its numbers are off the plain ones."""

    path: str
    off: float | None = None

    def __str__(self) -> str:
        return self.path if self.off is None else f"{self.path} ({self.off:.0e})"


def main() -> None:
    """Try the families that were asked for and print a table."""
    options = parse()
    transformers.logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    logging.getLogger("iterative_grpo").setLevel(logging.ERROR)
    torch.set_num_threads(options.threads)
    print("| family | `engine: native` | log-probabilities in training | reward model |")
    print("| --- | --- | --- | --- |")
    for name in options.families or FAMILIES:
        tried = [tried_by(name) for tried_by in (sampling, scoring, judging)]
        print(f"| {name} | {' | '.join(map(str, tried))} |", flush=True)
    print(f"\ntransformers {transformers.__version__}, torch {torch.__version__}", file=sys.stderr)


def parse() -> argparse.Namespace:
    """Read the command line."""
    top = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    top.add_argument("--families", nargs="*", choices=FAMILIES, help="default: all")
    top.add_argument("--threads", type=int, default=1)
    return top.parse_args()


def made(name: str, auto: Any = AutoModelForCausalLM, **head: Any) -> Any:
    """Return a family's model with random weights, norms and biases too."""
    kind, more = FAMILIES[name]
    usual = CONFIG_MAPPING[kind]()
    fixed = {key for key, its in vars(type(usual)).items() if isinstance(its, property)}
    sizes = {key: it for key, it in SMALL.items() if hasattr(usual, key) and key not in fixed}
    torch.manual_seed(0)
    model = auto.from_config(CONFIG_MAPPING[kind](**{**sizes, **more, **head})).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += 0.2 * torch.randn_like(parameter)
    return model


def sampling(name: str) -> Found:
    """Sample by the native engine; compare the log-probabilities that it returns."""
    model = made(name)
    generator = torch.Generator().manual_seed(1)
    prompts = []
    for size in (3, 14, 25):
        ids = torch.randint(3, VOCABULARY, (size,), generator=generator)
        prompts.append(Prompt(f"p{size}", tuple(ids.tolist())))
    try:
        groups = native.load(model, NoEnd()).generate(prompts, Sampling(4, 40, seed=1))
    except UnsupportedModel as error:
        why = re.search(r"but \S+ (.*?)(;|$)", str(error))
        return Found(f"refused: {why[1] if why else error}")
    off = 0.0
    for prompt, group in zip(prompts, groups, strict=True):
        for completion in group:
            plain = logps_of(model, prompt.token_ids, completion.token_ids, 1.0)
            off = max(off, float((plain - torch.tensor(completion.logps)).abs().max()))
    return Found("yes", off)


class NoEnd:
    """A tokenizer without an end, so that all rows are as long as they may be."""

    eos_token_id = None

    def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str:
        """Return a word for each token."""
        return " ".join(f"w{each}" for each in ids)


def logps_of(
    model: Any, prompt: tuple[int, ...], completion: tuple[int, ...], temperature: float
) -> torch.Tensor:
    """Return a completion's log-probabilities (T,) by a forward pass of its row alone."""
    ids = torch.tensor([[*prompt, *completion]])
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1]
    scores = (logits.float() / temperature).log_softmax(-1)
    return scores.gather(-1, torch.tensor(completion)[:, None])[:, 0]


def scoring(name: str) -> Found:
    """Score groups of unlike lengths on the path that the trainer would find."""
    model = made(name)
    ids, mask, columns = rollouts()
    expected = []
    for row, seen in zip(ids, mask, strict=True):
        length = int(seen[:-columns].sum())
        own = tuple(row[seen.bool()].tolist())
        expected.append(logps_of(model, own[:length], own[length:], TEMPERATURE))
    add_fused_lm_head(model, temperature=TEMPERATURE)
    logps = Logps(TEMPERATURE, contextlib.nullcontext)
    stock = trl(model)
    try:
        with torch.no_grad():
            scores = logps(model, ids, mask, columns, wanted="shared", entropy=False, stock=stock)
            got = stock(ids, mask, columns) if scores is None else scores[0]
    except (UnscorableModel, AttributeError):  # Llama 4's backbone and head are one module
        return Found("refused: TRL cannot train it")
    off = max(
        float((row[: len(own)] - own).abs().max()) for row, own in zip(got, expected, strict=True)
    )
    return Found("TRL's" if scores is None else next(iter(logps._paths[model].values())), off)


def trl(model: Any) -> Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]:
    """Return TRL's own path to log-probabilities."""

    def stock(ids: torch.Tensor, mask: torch.Tensor, columns: int) -> torch.Tensor:
        labels = ids.masked_fill(mask == 0, -100)
        labels[:, :-columns] = -100
        output = model(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True)
        scores: torch.Tensor = output.log_probs[:, -columns:]
        return scores

    return stock


def rollouts() -> tuple[torch.Tensor, torch.Tensor, int]:
    """Return ids (B, X), mask (B, X) and the completions' columns, padded as TRL pads."""
    generator = torch.Generator().manual_seed(2)
    longest, columns, rows = 30, 24, []
    for size in (30, 11, 20):
        prompt = torch.randint(3, VOCABULARY, (size,), generator=generator)
        for length in (columns, 9, 17):
            row = torch.zeros(2, longest + columns, dtype=torch.long)
            row[0, longest - size : longest] = prompt
            answer = torch.randint(3, VOCABULARY, (length,), generator=generator)
            row[0, longest : longest + length] = answer
            row[1, longest - size : longest + length] = 1
            rows.append(row)
    ids, mask = torch.stack(rows, dim=1)
    return ids, mask, columns


def judging(name: str) -> Found:
    """Read solutions by a reward model, many at once, and each by itself."""
    letters = [chr(code) for code in range(ord("a"), ord("a") + VOCABULARY - 3)]
    vocabulary = {word: place for place, word in enumerate(["<pad>", "<eos>", "\n", *letters])}
    backend = Tokenizer(models.WordLevel(vocabulary))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    special = {"pad_token": "<pad>", "eos_token": "<eos>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **special)
    try:
        model = made(name, AutoModelForTokenClassification, num_labels=1)
    except ValueError:
        return Found("none in transformers")
    judge = RewardModel(model, tokenizer)
    texts = ["".join(letters[(3 * k + step) % 26] for step in range(9 + 4 * k)) for k in range(8)]
    questions = ["".join(letters[: 20 + k // 4]) for k in range(8)]
    rows = judge.encode(questions, texts, [(5, len(text)) for text in texts])
    with torch.no_grad():
        together = judge.read(model, rows)[:, 0]
        alone = torch.cat(
            [model(torch.tensor([row.token_ids])).logits[0, list(row.marks), 0] for row in rows]
        )
    path = "questions shared" if reading.shares(model) else "yes"
    return Found(path, float((together - alone).abs().max()))


if __name__ == "__main__":
    main()
