"""The memory of phases that train: parameters, bytes of each, and what is kept of texts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import Qwen2Config, Qwen3Config, T5Config

from pipelines import making, memory
from pipelines.config import Config
from pipelines.memory import Shape
from tests.pipelines import toy
from tests.pipelines.test_launch_file import FSDP, launched
from tests.pipelines.test_plan import Maker, named


@pytest.fixture
def configured(tmp_path: Path) -> Callable[..., Config]:
    data = toy.write_data(tmp_path / "data")
    return lambda *overrides: toy.config(tmp_path, data, *overrides)


def test_parameters_are_those_of_the_model(
    configured: Callable[..., Config], tiny_policy: Maker
) -> None:
    from transformers import AutoModelForCausalLM

    made = configured(*(f"policy.make.{it}" for it in ("width=48", "layers=3", "vocabulary=270")))
    tokenizer = making.make_tokenizer("bpe", ["some text to learn from"] * 9, 270)
    model = making.make_policy(tokenizer, making.ModelShape(width=48, layers=3, heads=2), 0)
    own = model.num_parameters() + (270 - len(tokenizer)) * 48
    assert memory.count_parameters(made) == own
    stored = tiny_policy(0, torch.float32)
    expected = AutoModelForCausalLM.from_pretrained(stored).num_parameters()
    assert memory.count_parameters(configured(*named(stored))) == expected


def test_the_copy_that_engines_sample_is_in_the_precision_of_training(tmp_path: Path) -> None:
    own = ("iterations=1", "engine=native")
    exact, halved, elsewhere = (
        memory.policy_bytes(launched(tmp_path, FSDP, *own, *more))
        for more in ((), ("optimize.bf16=true",), ("optimize.vllm=colocate",))
    )
    assert (exact - elsewhere, halved - elsewhere) == (4, 2)
    shape = Shape(layers=3, width=48, inner=144, keys=48)
    ours, of_vllm = (
        memory.cached_in_steps(launched(tmp_path, FSDP, *own, *more), shape)
        for more in ((), ("optimize.vllm=colocate",))
    )
    assert ours > of_vllm == 0


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0.0 B"),
        (1023, "1,023.0 B"),
        (1024, "1.0 KiB"),
        (1536 * 1024, "1.5 MiB"),
        (5 * 2**30, "5.0 GiB"),
        (3000 * 2**40, "3,000.0 TiB"),
    ],
)
def test_sizes_are_written_in_the_largest_unit_below_them(amount: float, text: str) -> None:
    assert memory.size(amount) == text


def test_what_layers_keep_of_a_token_is_what_torch_counted() -> None:
    qwen = Shape(layers=28, width=1536, inner=8960, keys=256)
    for low, checkpointing, counted in ((False, False, 5.6e6), (True, False, 3.6e6)):
        found = memory.kept_of_token(qwen, low=low, checkpointing=checkpointing)
        assert found == pytest.approx(counted, rel=0.05)
    whole = memory.kept_of_token(qwen, low=True, checkpointing=False)
    assert memory.kept_of_token(qwen, low=True, checkpointing=True) < whole / 10


def test_shapes_are_read_from_configurations(
    configured: Callable[..., Config], tmp_path: Path
) -> None:
    made = configured("policy.make.width=48", "policy.make.layers=3")
    assert memory.shape_of(made) == Shape(3, 48, 144, keys=48)
    sizes = {"num_hidden_layers": 5, "hidden_size": 32, "intermediate_size": 70}
    qwen = Qwen2Config(**sizes, num_attention_heads=4, num_key_value_heads=2)
    wide = Qwen3Config(**sizes, num_attention_heads=4, num_key_value_heads=2, head_dim=24)
    for config, keys in ((qwen, 16), (wide, 48)):
        config.save_pretrained(tmp_path / "qwen")
        assert memory.shape_of(configured(*named(tmp_path / "qwen"))) == Shape(5, 32, 70, keys)
    T5Config(d_model=8, num_layers=1).save_pretrained(tmp_path / "t5")
    for other in (tmp_path / "t5", "/no/model"):
        assert memory.shape_of(configured(*named(other))) is None


def test_what_is_kept_goes_with_the_tokens_at_once(configured: Callable[..., Config]) -> None:
    def kept(*more: str) -> list[tuple[str, float | None, str]]:
        found = memory.needed(configured(*more)) or []
        return [(it.phase, it.activations, it.of) for it in found]

    policy, judge = kept()
    halves, same = kept("optimize.micro_batch=8")
    assert same == judge
    assert policy[1] == 2 * (halves[1] or 0)
    assert (policy[2], halves[2]) == ("16 outputs of 20 tokens", "8 outputs of 20 tokens")
    assert judge[2] == "4,096 tokens"
    assert kept("reward=verifier") == [policy]
    policy_too, low = kept("reward_model.bf16=true")
    assert policy_too == policy
    assert 0.5 * (judge[1] or 0) < (low[1] or 0) < 0.8 * (judge[1] or 0)


def test_keys_and_values_of_a_step_go_with_its_outputs_up_to_the_engines_bound(
    configured: Callable[..., Config],
) -> None:
    def cached(*more: str) -> float:
        sizes = ("policy.make.width=48", "policy.make.layers=3", "max_tokens=20", "engine=native")
        step = ("optimize.prompts=4", "optimize.group_size=4")
        return (memory.needed(configured(*sizes, *step, *more)) or [])[0].cached

    row = 3 * 2 * 48 * 4 * 20
    assert cached() == cached("engine=native_graphs") == 16 * row
    assert cached("optimize.prompts=8") == 32 * row
    assert cached("optimize.bf16=true") == cached("policy.dtype=bfloat16") == 8 * row
    assert cached("launch.mode=accelerate", "launch.processes=2") == 8 * row
    bounds = {rows: f"engine_options.cache_gib={rows * row / 2**30}" for rows in (3, 6)}
    assert cached(bounds[6]) == pytest.approx(6 * row)
    assert cached(bounds[3]) == 4 * row  # no group is split
    assert cached("engine=generate") == 0


def test_the_larger_of_what_is_never_there_at_once_is_needed() -> None:
    assert memory.Needed("policy phases", 10, 5, "rows", cached=3).whole == 15
    assert memory.Needed("policy phases", 10, None, "rows", cached=3).whole == 13
    assert memory.Needed("retraining", 10, 5, "rows").whole == 15


def test_bytes_follow_the_precision_of_the_weights(configured: Callable[..., Config]) -> None:
    one = ("iterations=1",)
    assert memory.policy_bytes(configured(*one)) == 20
    assert memory.policy_bytes(configured(*one, "policy.dtype=bfloat16")) == 10
    assert memory.policy_bytes(configured(*one, "optimize.bf16=true")) == 22
    assert (
        memory.policy_bytes(configured(*one, "policy.dtype=bfloat16", "optimize.bf16=true")) == 10
    )
    judged = {
        dtype: (memory.needed(configured(*one, f"reward_model.dtype={dtype}")) or [])[0].state
        for dtype in ("float32", "bfloat16")
    }
    count = memory.count_parameters(configured(*one)) or 0
    assert judged["float32"] - judged["bfloat16"] == 2 * count
    several = ("launch.mode=accelerate", "launch.processes=2")
    assert memory.policy_bytes(configured(*one, *several)) == 24
