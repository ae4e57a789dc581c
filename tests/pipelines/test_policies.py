"""What a policy must be before any compute is spent on it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from iterative_grpo.engines import generate, native
from pipelines import policies
from pipelines.config import PolicySettings
from pipelines.phases.optimize import check_step, live_engine
from pipelines.policies import PolicyError
from reward_models.model import RewardModel, UntrainedBackbone
from tests.pipelines import checkpoint_engine, toy

Maker = Callable[[int, torch.dtype], Path]


def rewritten(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    file = folder / "model.safetensors"
    weights = load_file(file)
    change(weights)
    save_file(weights, file, metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_whole_policy_is_loaded_in_its_precision(tiny_policy: Maker, dtype: torch.dtype) -> None:
    name = str(dtype).removeprefix("torch.")
    model, tokenizer = policies.load(tiny_policy(0, dtype), PolicySettings(dtype=name))
    assert model.dtype == dtype
    assert not model.training
    assert tokenizer.pad_token_id is not None


def test_missing_weights_are_refused_and_not_drawn(tiny_policy: Maker) -> None:
    part = "model.layers.1.mlp.up_proj.weight"
    broken = rewritten(tiny_policy(0, torch.float32), lambda weights: weights.pop(part))
    with pytest.raises(PolicyError, match=r"1 of the policy's weights .*layers\.1\.mlp\.up_proj"):
        policies.load(broken, PolicySettings())
    with pytest.raises(UntrainedBackbone, match=r"1 weights are missing .*up_proj"):
        RewardModel.from_backbone(broken)


def test_weights_of_another_shape_are_refused(tiny_policy: Maker) -> None:
    def cut(weights: dict[str, torch.Tensor]) -> None:
        weights["model.norm.weight"] = weights["model.norm.weight"][:-1].clone()

    with pytest.raises(PolicyError, match=r"model\.norm\.weight"):
        policies.load(rewritten(tiny_policy(0, torch.float32), cut), PolicySettings())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused(tiny_policy: Maker, value: float) -> None:
    def spoil(weights: dict[str, torch.Tensor]) -> None:
        weights["model.layers.0.mlp.up_proj.weight"][3, 4] = value

    with pytest.raises(PolicyError, match=r"1 weights are not finite .*up_proj.*learning_rate"):
        policies.load(rewritten(tiny_policy(0, torch.float32), spoil), PolicySettings())


def test_tokens_without_an_embedding_are_refused(tiny_policy: Maker) -> None:
    folder = tiny_policy(0, torch.float32)
    model, tokenizer = policies.load(folder, PolicySettings())
    rows = model.get_input_embeddings().weight.shape[0]
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    policies.save(model, tokenizer, folder)
    policies.load(folder, PolicySettings())  # one that the model is never given
    tokenizer.add_special_tokens({"pad_token": "<new>"})
    policies.save(model, tokenizer, folder)
    with pytest.raises(PolicyError, match=rf"tokens up to id {rows + 1}, .*embeddings of {rows};"):
        policies.load(folder, PolicySettings())


def test_an_adapter_is_no_policy(tiny_policy: Maker, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    model, tokenizer = policies.load(tiny_policy(), PolicySettings())
    adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj"]))
    policies.save(adapted, tokenizer, tmp_path / "adapter")
    with pytest.raises(PolicyError, match=r"is an adapter of .*; merge it"):
        policies.load(tmp_path / "adapter", PolicySettings())


def test_a_reward_model_is_no_policy(tiny_policy: Maker, tmp_path: Path) -> None:
    policy = tiny_policy(0, torch.float32)
    RewardModel.from_backbone(policy).save(tmp_path / "judge")
    with pytest.raises(PolicyError, match=r"judge is no policy, but a LlamaForTokenClass"):
        policies.load(tmp_path / "judge", PolicySettings())


@pytest.mark.parametrize("name", ["loss", "grad_norm"])
def test_a_step_that_diverged_ends_the_phase(name: str) -> None:
    row = {"iteration": 2, "step": 5, "loss": 0.1, "grad_norm": 1.0}
    check_step(row)
    with pytest.raises(PolicyError, match=rf"step 5 of iteration 2: {name} is not finite"):
        check_step({**row, name: float("nan")})
    with pytest.raises(PolicyError, match="loss and grad_norm are not finite"):
        check_step({**row, "loss": float("inf"), "grad_norm": float("nan")})


def test_a_policy_trained_in_mixed_precision_is_sampled_in_it(
    tiny_policy: Maker, tmp_path: Path
) -> None:
    data = toy.write_data(tmp_path / "data")
    path = tiny_policy(0, torch.float32)
    for more, dtype in (((), torch.float32), (("optimize.bf16=true",), torch.bfloat16)):
        config = toy.config(tmp_path, data, *more)
        with policies.sampled_in(config, path) as sampler:
            assert sampler.model is not None
            assert sampler.model.dtype == dtype
            assert sampler.context == 128
        assert policies.load(path, config.policy)[0].dtype == torch.float32


def test_options_reach_the_engine_of_checkpoints_and_of_live_policies(
    tiny_policy: Maker, tmp_path: Path
) -> None:
    data = toy.write_data(tmp_path / "data")
    given = "engine_options={cache_gib: 16, share_branches: false}"
    config = toy.config(tmp_path, data, given)
    with policies.sampled_in(config, tiny_policy(0, torch.float32)) as sampler:
        sampled = sampler.engine
    in_steps = live_engine(config)
    assert in_steps is not None
    for engine in (sampled, policies.live_loader(config)(None, None), in_steps(None, None)):
        assert isinstance(engine, native.Engine)
        assert (engine.cache_gib, engine.share_branches, engine.fuse_layers) == (16, False, True)


def test_a_gpu_that_only_samples_gives_a_share_of_its_memory(
    tiny_policy: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[torch.device] = []

    def properties(device: torch.device) -> SimpleNamespace:
        sizes.append(device)
        return SimpleNamespace(total_memory=10 * 2**30)

    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)
    weights = [torch.empty(2**28, device="meta"), torch.empty(2**29, 2, device="meta").half()]
    model = SimpleNamespace(device=torch.device("cuda", 1), parameters=lambda: weights)
    assert policies.cache_gib(model) == pytest.approx(policies.CACHE_SHARE * (10 - 1 - 2))
    weights *= 4
    assert policies.cache_gib(model) == 1.0
    assert sizes == [model.device] * 2


def test_the_share_of_a_gpu_is_for_engines_that_take_one_and_were_given_none(
    tiny_policy: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class There:
        """A model that says it is on a GPU."""

        device = torch.device("cuda")

        def __init__(self, model: Any) -> None:
            self.config = model.config

    data = toy.write_data(tmp_path / "data")
    path = tiny_policy(0, torch.float32)
    model, tokenizer = policies.load(path, toy.config(tmp_path, data).policy)
    monkeypatch.setattr(policies, "cache_gib", lambda _: 3.5)
    given = "engine_options.cache_gib=16"
    for found, more, expected in (
        (model, (), native.CACHE_GIB),
        (There(model), (), 3.5),
        (There(model), (given,), 16),
        (There(model), ("engine=generate",), None),
    ):
        monkeypatch.setattr(policies, "load", lambda *_, found=found: (found, tokenizer))
        with policies.sampled_in(toy.config(tmp_path, data, *more), path) as sampler:
            assert getattr(sampler.engine, "cache_gib", None) == expected


def test_options_reach_an_engine_that_reads_checkpoints_itself(
    tiny_policy: Maker, tmp_path: Path
) -> None:
    source = """
READS_CHECKPOINTS = True


class Engine:
    def __init__(self, *given):
        self.given = given

    def generate(self, prompts, sampling):
        return [self.given]

    def close(self):
        pass


def load(path, tokenizer, *, dtype, trust_remote_code, share: float = 0.5):
    return Engine(dtype, share)
"""
    data = toy.write_data(tmp_path / "data")
    with checkpoint_engine.added(tmp_path / "engines", "server", source):
        config = toy.config(tmp_path, data, "engine=server", "engine_options.share=1")
        with policies.sampled_in(config, tiny_policy(0, torch.float32)) as sampler:
            assert sampler.engine.generate([], []) == [("float32", 1.0)]


def test_options_of_an_engine_of_checkpoints_are_not_for_live_policies(tmp_path: Path) -> None:
    data = toy.write_data(tmp_path / "data")
    config = toy.config(tmp_path, data, "engine=vllm", "engine_options.max_model_len=64")
    assert live_engine(config) is None
    served = config.model_copy(
        update={
            "engine": "native",
            "engine_options": {},
            "optimize": config.optimize.model_copy(update={"vllm": "server"}),
        }
    )
    assert live_engine(served) is None
    live = policies.live_loader(config)(None, None)
    assert isinstance(live, generate.Engine)
    assert live.batch_tokens == generate.BATCH_TOKENS


def test_prompts_are_padded_on_the_left(tiny_policy: Maker) -> None:
    folder = tiny_policy(0, torch.float32)
    _, tokenizer = policies.load(folder, PolicySettings())
    tokenizer.padding_side = "right"
    tokenizer.save_pretrained(folder)
    assert policies.load(folder, PolicySettings())[1].padding_side == "left"
    assert policies.load_tokenizer(folder, PolicySettings()).padding_side == "left"


def test_a_folder_is_known_by_what_its_files_hold_and_are_called(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    (tmp_path / "config.json").write_bytes(b"{}")
    file.write_bytes(b"weights")
    first = policies.identity(tmp_path)
    assert policies.identity(tmp_path) == first
    before = file.stat()
    file.write_bytes(b"WEIGHTS")  # as many bytes, at another time
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    second = policies.identity(tmp_path)
    file.rename(tmp_path / "other.safetensors")
    third = policies.identity(tmp_path)
    assert len({first, second, third}) == 3
    before = file.with_name("other.safetensors").stat()
    (tmp_path / "other.safetensors").write_bytes(b"more weights")  # at the same time
    os.utime(tmp_path / "other.safetensors", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert policies.identity(tmp_path) not in (first, second, third)
    fourth = policies.identity(tmp_path)
    (tmp_path / "runs").mkdir()
    assert policies.identity(tmp_path) == fourth


def test_an_end_token_without_an_embedding_is_refused(tiny_policy: Maker) -> None:
    folder = tiny_policy(0, torch.float32)
    model, tokenizer = policies.load(folder, PolicySettings())
    tokenizer.add_special_tokens({"eos_token": "<new>"})
    policies.save(model, tokenizer, folder)
    with pytest.raises(PolicyError, match="save the model after"):
        policies.load(folder, PolicySettings())


def test_a_released_model_is_known_by_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    stored = tmp_path / "models--some--model"
    for file, text in ((f"snapshots/{commit}/config.json", "{}"), ("refs/main", commit)):
        (stored / file).parent.mkdir(parents=True)
        (stored / file).write_text(text, encoding="utf-8")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert policies.identity("some/model") == commit
    assert policies.identity("other/model") == "other/model"


def test_large_weights_are_numbers_though_their_sum_would_be_none(tiny_policy: Maker) -> None:
    def enlarge(weights: dict[str, torch.Tensor]) -> None:
        weights["model.norm.weight"][:] = 3e38

    folder = rewritten(tiny_policy(0, torch.float32), enlarge)
    model, _ = policies.load(folder, PolicySettings())
    assert model.model.norm.weight.max().item() == pytest.approx(3e38)


def test_weights_that_were_cut_off_are_told(tiny_policy: Maker) -> None:
    folder = tiny_policy(0, torch.float32)
    file = folder / "model.safetensors"
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(PolicyError, match=r"policy\.model .* cannot be loaded"):
        policies.load(folder, PolicySettings())


def test_a_policy_gets_to_the_place_that_is_asked_for(
    tiny_policy: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In shards no device has room for the whole: it is loaded beside the GPU."""
    folder = tiny_policy(0, torch.float32)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    model, _ = policies.load(folder, PolicySettings(), at="cpu")
    assert model.device.type == "cpu"


OWN_CODE = """
from transformers import LlamaConfig, LlamaForCausalLM


class OwnConfig(LlamaConfig):
    model_type = "own"


class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""


def test_code_of_a_models_own_is_run_where_it_is_trusted(
    tiny_policy: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "own"))
    folder = tiny_policy(0, torch.float32)
    (folder / "own.py").write_text(OWN_CODE, encoding="utf-8")
    file = folder / "config.json"
    names = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    config = json.loads(file.read_text(encoding="utf-8")) | {"auto_map": names}
    file.write_text(json.dumps(config | {"model_type": "own"}), encoding="utf-8")
    with pytest.raises(PolicyError, match="cannot be loaded"):
        policies.load(folder, PolicySettings())
    model, _ = policies.load(folder, PolicySettings(trust_remote_code=True))
    assert type(model).__name__ == "OwnModel"


LATE = """
READS_CHECKPOINTS = True
STARTED, CLOSED = [], []
FAILS_WITH = []


class Engine:
    def generate(self, prompts, sampling):
        return []

    def close(self):
        CLOSED.append(self)


def load(path, tokenizer, *, dtype, trust_remote_code):
    STARTED.append((dtype, trust_remote_code))
    for kind in FAILS_WITH:
        raise kind("no such card")
    return Engine()
"""


def test_an_engine_of_checkpoints_starts_once_as_the_policy_is_to_be_read(
    tiny_policy: Maker, tmp_path: Path
) -> None:
    folder = tiny_policy(0, torch.float32)
    with checkpoint_engine.added(tmp_path / "engines", "late", LATE) as module:
        for settings in (
            PolicySettings(dtype="bfloat16"),
            PolicySettings(trust_remote_code=True),
        ):
            with policies.sampled(folder, settings, "late") as sampler:
                assert sampler.context == 128
                assert not module.STARTED
                sampler.engine.generate([], [])
                sampler.engine.generate([], [])
            assert module.STARTED.pop() == (settings.dtype, settings.trust_remote_code)
            assert not module.STARTED
            assert len(module.CLOSED) == 1
            module.CLOSED.clear()
        with policies.sampled(folder, PolicySettings(), "late"):
            pass
        assert not module.STARTED


@pytest.mark.parametrize("kind", [OSError, ValueError, ImportError, RuntimeError])
def test_an_engine_of_checkpoints_that_does_not_start_is_told(
    kind: type[Exception], tiny_policy: Maker, tmp_path: Path
) -> None:
    folder = tiny_policy(0, torch.float32)
    with checkpoint_engine.added(tmp_path / "engines", "late", LATE) as module:
        module.FAILS_WITH.append(kind)
        sampled = policies.sampled(folder, PolicySettings(), "late")
        told = pytest.raises(PolicyError, match="with engine late: no such card")
        with sampled as sampler, told:
            sampler.engine.generate([], [])
        (folder / "config.json").write_text('{"model_type": "none"}', encoding="utf-8")
        broken = policies.sampled(folder, PolicySettings(), "late")
        with pytest.raises(PolicyError, match="configuration cannot be loaded"), broken:
            pass


def test_words_without_an_embedding_are_refused(tiny_policy: Maker) -> None:
    folder = tiny_policy(0, torch.float32)
    model, tokenizer = policies.load(folder, PolicySettings())
    model.resize_token_embeddings(tokenizer.vocab_size - 1)
    policies.save(model, tokenizer, folder)
    with pytest.raises(PolicyError, match=rf"tokens up to id {tokenizer.vocab_size - 1},"):
        policies.load(folder, PolicySettings())


def test_a_reason_is_a_line_that_fits_what_was_named(tmp_path: Path) -> None:
    hub = OSError("\nsome/model is no repository.\nIf it is private, log in.")
    assert policies.reason("some/model", hub) == "some/model is no repository"
    for name in ("/no/model", "./no", "~no"):
        assert policies.reason(name, hub) == "there is no such folder"
    (tmp_path / "iterations").mkdir()
    found = {of: policies.reason(str(tmp_path), hub, *of) for of in ((), ("retrain/model",))}
    assert found[()] == f"it is a run's folder; look in {tmp_path}/iterations/NN/optimize/policy"
    assert found["retrain/model",].endswith("/iterations/NN/retrain/model")
    (tmp_path / "iterations").rmdir()
    (tmp_path / "model").mkdir()
    assert policies.reason(str(tmp_path), hub) == "it has no config.json"
    told = policies.reason(str(tmp_path), hub, "retrain/model")
    assert told == f"it is a phase's folder; look in {tmp_path / 'model'}"
    (tmp_path / "model").rmdir()
    assert policies.reason(str(tmp_path), hub) == "it has no config.json"
    (tmp_path / "config.json").touch()
    assert policies.reason(str(tmp_path), hub) == "some/model is no repository"
