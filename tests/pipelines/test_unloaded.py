"""Models and adapters that a later phase would stop at are refused without their weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoTokenizer,
    Llama4TextConfig,
    MambaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    T5Config,
)

from pipelines import cli, memory, unloaded
from pipelines.building import lora
from pipelines.config import Config
from pipelines.datasets import DataError
from pipelines.policies import PolicyError
from pipelines.prompts import PromptTooLong
from pipelines.unloaded import UnfitModel
from reward_models.model import RewardModel
from tests.pipelines import toy

Policy = Callable[[int, torch.dtype], Path]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def configured(tmp_path: Path, data: Path) -> Callable[..., Config]:
    def configured(*overrides: str) -> Config:
        return toy.config(tmp_path, data, *overrides)

    return configured


@pytest.fixture
def policy(tiny_policy: Policy) -> Path:
    return tiny_policy(0, torch.float32)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("polciy", "Did you mean policy? Expected scratch, policy, a folder"),
        ("scrach", "Did you mean scratch?"),
        ("/no/model", "/no/model cannot be loaded: there is no such folder. Expected scratch"),
    ],
)
def test_a_start_that_is_no_model_is_refused_before_any_work(
    start: str,
    message: str,
    tmp_path: Path,
    data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import yaml

    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(toy.raw(tmp_path, data)), encoding="utf-8")
    given = ["run", str(file), "--quiet", f"reward_model.start={start}"]
    assert cli.main(given) == cli.REFUSED
    said = capsys.readouterr().err
    assert said.startswith(f"error: reward_model.start {start} cannot be loaded")
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_start_needs_weights(configured: Callable[..., Config], policy: Path) -> None:
    config = configured(f"reward_model.start={policy}")
    unloaded.check(config)
    (policy / "model.safetensors").unlink()
    with pytest.raises(UnfitModel, match="has a configuration and no weights"):
        unloaded.check(config)
    # A run that has its first reward model goes on without what that one started from.
    first = config.run_dir / "iterations" / "01" / "retrain"
    first.mkdir(parents=True)
    unloaded.check(config)
    first.rmdir()
    # Where no reward model is trained, nobody asks for one.
    unloaded.check(configured(f"reward_model.start={policy}", "reward=verifier"))


def test_a_start_has_to_take_a_head(
    configured: Callable[..., Config], policy: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    MambaConfig(hidden_size=8, num_hidden_layers=1, vocab_size=8).save_pretrained(policy)
    with pytest.raises(UnfitModel, match="makes none of a MambaConfig; name another model"):
        unloaded.check(configured(f"reward_model.start={policy}"))
    own = ("policy.make=null", "policy.warm_start=null", f"policy.model={policy}")
    with pytest.raises(UnfitModel, match=r"start policy: .* makes none of a MambaConfig"):
        unloaded.check(configured(*own, "engine=generate"))
    # Where the verifier rewards, no reward model is made of the policy.
    unloaded.check(configured(*own, "engine=generate", "reward=verifier"))


def test_a_policy_that_the_engine_cannot_sample_is_refused(
    configured: Callable[..., Config], policy: Path
) -> None:
    own = ("policy.make=null", "policy.warm_start=null", f"policy.model={policy}")
    unloaded.check(configured(*own))
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    MistralConfig(**sizes, num_key_value_heads=1, vocab_size=8, sliding_window=4).save_pretrained(
        policy
    )
    with pytest.raises(UnfitModel, match=r"sliding_window=4; use the 'generate' engine"):
        unloaded.check(configured(*own))
    unloaded.check(configured(*own, "engine=generate"))


def test_a_policy_that_trl_cannot_train_is_refused(
    configured: Callable[..., Config], policy: Path
) -> None:
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    Llama4TextConfig(**sizes, num_key_value_heads=1, vocab_size=8).save_pretrained(policy)
    own = ("policy.make=null", "policy.warm_start=null", f"policy.model={policy}")
    with pytest.raises(UnfitModel, match="TRL cannot train a Llama4ForCausalLM"):
        unloaded.check(configured(*own, "engine=generate"))


@pytest.mark.parametrize("key", ["policy.lora", "reward_model.lora"])
@pytest.mark.parametrize("named", [False, True], ids=["made", "named"])
@pytest.mark.parametrize(
    ("targets", "fits"),
    [
        ("all-linear", True),
        ("[q_proj, v_proj]", True),
        (".*mlp.up_proj", True),
        ("[foo]", False),
        ("[norm]", False),
        ("foo", False),
    ],
)
def test_lora_targets_are_modules_of_the_model(
    key: str,
    named: bool,
    targets: str,
    fits: bool,
    configured: Callable[..., Config],
    policy: Path,
) -> None:
    overrides = [f"{key}.targets={targets}"]
    if named:
        overrides += ["policy.make=null", "policy.warm_start=null", f"policy.model={policy}"]
    config = configured(*overrides)
    if fits:
        unloaded.check(config)
        return
    with pytest.raises(UnfitModel, match=rf"^{key}\.targets .* do not fit Llama") as caught:
        unloaded.check(config)
    expected = "some of down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"
    assert str(caught.value).endswith(expected)


def test_what_is_refused_is_what_the_policy_phase_would_stop_at(
    configured: Callable[..., Config], policy: Path
) -> None:
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    for targets, refused in (("foo", "foo not found"), ("[norm]", "LlamaRMSNorm")):
        with pytest.raises(ValueError, match=refused):
            get_peft_model(
                AutoModelForCausalLM.from_pretrained(policy),
                lora(configured(f"policy.lora.targets={targets}")),
            )


def test_a_judge_of_evaluations_has_to_be_one(
    configured: Callable[..., Config], policy: Path, tmp_path: Path
) -> None:
    def asked(name: Path, *more: str) -> Config:
        return configured("evaluate.samples=2", f"evaluate.reward_model={name}", *more)

    absent = "evaluate.reward_model /no/model cannot be loaded: there is no such folder"
    with pytest.raises(UnfitModel, match=absent):
        unloaded.check(asked(Path("/no/model")))
    with pytest.raises(UnfitModel, match=r"evaluate\.reward_model: .*not a reward model"):
        unloaded.check(asked(policy))
    with pytest.raises(UnfitModel, match=r"^evaluate\.reward_model: .*of convention skywork"):
        unloaded.check(asked(Path("/no/model"), "evaluate.reward_convention=skywork"))
    judge = tmp_path / "judge"
    RewardModel.from_backbone(policy).save(judge)
    unloaded.check(asked(judge))
    shutil.rmtree(judge)
    with pytest.raises(UnfitModel, match="there is no such folder"):
        unloaded.check(asked(judge))


def test_looking_at_adapters_is_silent(
    configured: Callable[..., Config], recwarn: pytest.WarningsRecorder
) -> None:
    unloaded.check(configured("policy.lora={}", "reward_model.lora={}"))
    assert not [str(each.message) for each in recwarn]


def named(model: object) -> tuple[str, ...]:
    return ("policy.make=null", "policy.warm_start=null", f"policy.model={model}")


@pytest.mark.parametrize("broken", ["gone", "of another kind", "damaged", "of nobody's"])
def test_a_policy_that_cannot_be_loaded_is_refused_until_the_run_has_a_copy(
    broken: str, configured: Callable[..., Config], policy: Path, data: Path
) -> None:
    if broken == "gone":
        shutil.rmtree(policy)
    elif broken == "of another kind":
        T5Config(d_model=8, num_layers=1, vocab_size=10).save_pretrained(policy)
    else:
        text = {"damaged": "{", "of nobody's": '{"model_type": "nobody"}'}[broken]
        (policy / "config.json").write_text(text, encoding="utf-8")
    (policy / "tokenizer.json").unlink(missing_ok=True)
    config = configured(*named(policy), "reward=verifier", "policy.prompt=chat")
    for check in (unloaded.check, unloaded.check_prompts):
        with pytest.raises(PolicyError, match=r"^policy.* cannot be loaded"):
            check(config)
    (config.run_dir / "start").mkdir(parents=True)
    unloaded.check(config)
    assert unloaded.check_prompts(config) == []


def test_nothing_is_said_of_a_model_with_code_of_its_own(
    configured: Callable[..., Config], policy: Path
) -> None:
    assert unloaded.policy_config(configured(*named(policy))) is not None
    trusted = configured(*named(policy), "policy.trust_remote_code=true")
    assert unloaded.policy_config(trusted) is None


def test_a_policy_made_on_the_spot_has_the_shape_that_is_asked_for(
    configured: Callable[..., Config],
) -> None:
    config = configured("policy.make.width=48", "policy.make.heads=4", "policy.make.layers=3")
    expected = memory.count_parameters(config)
    found = unloaded.made(unloaded.policy_config(config), "AutoModelForCausalLM")
    # The head, which a made policy shares with its embedding, is counted here.
    assert found.num_parameters() == (expected or 0) + found.lm_head.weight.numel()
    assert found.config.num_attention_heads == 4
    assert found.device.type == "meta"


def test_a_prompts_examples_are_read_where_the_data_are(
    configured: Callable[..., Config], policy: Path, data: Path, tmp_path: Path
) -> None:
    made = ("data.name=arithmetic", "data.limit=9", "evaluate.tasks=[arithmetic/test]")
    config = configured(*named(policy), *made, "policy.prompt=lm_eval_gsm8k")
    with pytest.raises(PromptTooLong, match=r"its prompt has \d{3} tokens"):
        unloaded.check_prompts(config)  # examples and all
    elsewhere = config.data.model_copy(update={"path": tmp_path})
    with pytest.raises(DataError):
        unloaded.check_prompts(config.model_copy(update={"data": elsewhere}))


def test_words_that_a_named_policys_tokenizer_does_not_know_are_told(
    configured: Callable[..., Config], policy: Path
) -> None:
    assert unloaded.check_prompts(configured(*named(policy))) == []
    tokenizer = AutoTokenizer.from_pretrained(policy)
    tokenizer.unk_token = "a"
    tokenizer.save_pretrained(policy)
    (told,) = unloaded.check_prompts(configured(*named(policy)))
    assert told == "91 of 91 prompts hold words that the tokenizer does not know"


def test_a_start_is_a_whole_checkpoint_in_either_format(
    configured: Callable[..., Config], policy: Path
) -> None:
    (policy / "model.safetensors").rename(policy / "pytorch_model.bin")
    start = configured(f"reward_model.start={policy}")
    unloaded.check(start)
    (policy / "pytorch_model.bin").unlink()
    with pytest.raises(UnfitModel, match="has a configuration and no weights"):
        unloaded.check(start)
    (policy / "model.safetensors").touch()
    unloaded.check(start)
    for file in policy.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(UnfitModel, match="cannot be loaded"):
        unloaded.check(start)


def test_a_start_from_the_hub_is_not_looked_for_among_folders(
    configured: Callable[..., Config],
    policy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    stored = tmp_path / "models--some--model"
    shutil.copytree(policy, stored / "snapshots" / commit)
    (stored / "snapshots" / commit / "model.safetensors").unlink()
    (stored / "refs").mkdir()
    (stored / "refs" / "main").write_text(commit, encoding="utf-8")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    unloaded.check(configured("reward_model.start=some/model"))
