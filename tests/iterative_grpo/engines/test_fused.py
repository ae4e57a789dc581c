"""Fused decoding steps against the models' own layers, and the models that are left alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)
from trl.trainer.utils import add_fused_lm_head

from iterative_grpo.engines import _fused, native
from iterative_grpo.types import Sampling
from tests.iterative_grpo.engines import tiny
from tests.iterative_grpo.engines.test_native import assert_plain_logps

SHAPE = {
    "vocab_size": tiny.VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": tiny.CONTEXT,
    "initializer_range": 0.25,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 100.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 24,
}
CONFIGS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**SHAPE),
    "llama with biases": LlamaConfig(**SHAPE, attention_bias=True, mlp_bias=True),
    "llama 3's rotations": LlamaConfig(**SHAPE, rope_parameters=LLAMA3),
    "tied": LlamaConfig(**SHAPE, tie_word_embeddings=True),
    "wide heads": LlamaConfig(**SHAPE, head_dim=12),
    "coarse norms": LlamaConfig(**SHAPE, rms_norm_eps=0.5),
    "mistral": MistralConfig(**SHAPE, sliding_window=None),
    "qwen2": Qwen2Config(**SHAPE),
    "qwen3": Qwen3Config(**SHAPE, head_dim=16),
}
SAMPLING = Sampling(4, 40, temperature=1.0, seed=2)


def made(config: PreTrainedConfig, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:  # gains and biases, which start as ones and zeros
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return model.to(dtype)


@pytest.mark.parametrize("name", CONFIGS)
def test_fused_steps_sample_what_the_layers_do(name: str) -> None:
    model = made(CONFIGS[name])
    assert _fused.supports(model)
    prompts = tiny.prompts(3, 9, 9, 17)
    fused, own = (
        native.load(model, tiny.NoEos(), fuse_layers=fuse).generate(prompts, SAMPLING)
        for fuse in (True, False)
    )
    for prompt, group, others in zip(prompts, fused, own, strict=True):
        for completion, other in zip(group, others, strict=True):
            assert completion.token_ids == other.token_ids
            assert_plain_logps(model, prompt, completion)


def test_a_model_of_float64_is_sampled_alike() -> None:
    model = made(CONFIGS["qwen2"], torch.float64)
    prompts = tiny.prompts(5, 11)
    fused, own = (
        native.load(model, tiny.NoEos(), fuse_layers=fuse).generate(prompts, SAMPLING)
        for fuse in (True, False)
    )
    # The layers' norms and what is reported are float32.
    logps = [[c.logps for group in groups for c in group] for groups in (fused, own)]
    torch.testing.assert_close(torch.tensor(logps[0]), torch.tensor(logps[1]), atol=1e-5, rtol=0)


def test_bfloat16_is_as_near_to_float32_as_the_layers_are() -> None:
    model = made(CONFIGS["llama"])
    prompts = tiny.prompts(5, 11, 20)

    def distance(fuse: bool) -> float:
        engine = native.load(model, tiny.NoEos(), dtype="bfloat16", fuse_layers=fuse)
        gaps = []
        for prompt, group in zip(prompts, engine.generate(prompts, SAMPLING), strict=True):
            for completion in group:
                exact = tiny.plain_logps(model, prompt, completion.token_ids)
                chosen = exact.gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]
                gaps.append((chosen - torch.tensor(completion.logps)).abs().mean())
        return float(torch.stack(gaps).mean())

    assert distance(fuse=True) < 1.5 * distance(fuse=False)


def test_the_models_weights_are_read_anew_and_left_alone() -> None:
    model = made(CONFIGS["llama"])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    engine = native.load(model, tiny.NoEos())
    (prompt,) = tiny.prompts(6)
    engine.generate([prompt], SAMPLING)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    ((completion, *_),) = engine.generate([prompt], SAMPLING)
    assert_plain_logps(model, prompt, completion)


def hooked(model: Any) -> None:
    model.model.layers[1].mlp.register_forward_hook(lambda module, args, output: output * 1.01)


def adapted(model: Any) -> None:
    class Adapted(nn.Linear):
        """As an adapter's layer: more than the product with its weight."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * 1.01

    mlp = model.model.layers[0].mlp
    mlp.down_proj = Adapted(mlp.down_proj.in_features, mlp.down_proj.out_features, bias=False)


def exchanged(model: Any) -> None:
    class Doubled(nn.Module):
        """Another part in the place of one."""

        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x) * 2

    model.model.layers[1].mlp = Doubled(model.model.layers[1].mlp)


def exchanged_norm(model: Any) -> None:
    norm = model.model.layers[0].input_layernorm
    model.model.layers[0].input_layernorm = nn.RMSNorm(norm.weight.shape[0], eps=0.5)


def wrapped(model: Any) -> None:
    forward = model.model.norm.forward
    model.model.norm.forward = lambda x: forward(x) * 1.01


def wrapped_whole(model: Any) -> None:
    forward = model.forward

    def other(*args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        output.logits = output.logits * 1.01
        return output

    model.forward = other


@pytest.mark.parametrize(
    "change", [hooked, adapted, exchanged, exchanged_norm, wrapped, wrapped_whole]
)
def test_what_was_changed_runs_its_own_layers(change: Callable[[Any], None]) -> None:
    model = made(CONFIGS["llama"])
    change(model)
    assert not _fused.supports(model)
    (prompt,) = tiny.prompts(6)
    ((completion, *_),) = native.load(model, tiny.NoEos()).generate([prompt], SAMPLING)
    assert_plain_logps(model, prompt, completion)


def doubled(_: nn.Module, args: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
    assert output.shape == (*args[0].shape, SHAPE["hidden_size"])
    return output * 2


def test_hooks_of_embeddings_run_with_fused_layers() -> None:
    model = made(CONFIGS["llama"])
    model.gradient_checkpointing_enable()
    assert model.model.embed_tokens._forward_hooks
    assert _fused.supports(model)
    (prompt,) = tiny.prompts(6)
    ((plain, *_),) = native.load(model, tiny.NoEos()).generate([prompt], SAMPLING)
    model.gradient_checkpointing_disable()
    assert_plain_logps(model, prompt, plain)
    model.model.embed_tokens.register_forward_hook(doubled)
    assert _fused.supports(model)
    ((other, *_),) = native.load(model, tiny.NoEos()).generate([prompt], SAMPLING)
    assert_plain_logps(model, prompt, other)
    assert other.logps != plain.logps


def test_the_forward_that_trl_gives_a_policy_is_known() -> None:
    model = made(CONFIGS["llama"])
    add_fused_lm_head(model)
    assert "forward" in vars(model)
    assert _fused.supports(model)
    with torch.autocast("cpu", torch.bfloat16):
        assert not _fused.supports(model)
    # As accelerate wraps it for mixed precision.
    model.forward = torch.autocast("cpu", torch.bfloat16)(model.forward)
    assert not _fused.supports(model)


def test_other_models_run_their_own_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(LlamaForCausalLM):
        """A user's class may compute anything."""

    assert not _fused.supports(Own(CONFIGS["llama"]))
    assert not _fused.supports(tiny.model("gpt2"))
    assert not _fused.supports(made(LlamaConfig(**SHAPE, hidden_act="gelu")))
    mixed = made(CONFIGS["llama"])
    mixed.model.norm.to(torch.bfloat16)
    assert not _fused.supports(mixed)
    model = made(CONFIGS["llama"])
    joined = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")
    copied = sum(w.nbytes for name, w in model.named_parameters() if name.split(".")[-2] in joined)
    for allowed in (copied, copied - 1):
        monkeypatch.setattr(_fused, "_JOINED_BYTES", {"cpu": allowed})
        assert _fused.supports(model) == (allowed == copied)
