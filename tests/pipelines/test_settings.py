"""Settings: files, overrides, shipped configurations, plans; and how work is shared."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from iterative_grpo.types import Problem
from pipelines import load_config, making, questions, run, settings
from pipelines.plan import plan
from pipelines.settings import ConfigError
from pipelines.world import LaunchError, World, current
from tests.pipelines import toy

NAMED: dict[str, Any] = {"run_dir": "r", "policy": {"model": "m"}}

SHIPPED = sorted(settings.SHIPPED.glob("*.yaml"))


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_shipped_configurations_load_and_their_plans_name_the_work(file: Path) -> None:
    config = settings.load(file)
    text = plan(config)
    for phase in ("start", "sample", "label", "retrain", "optimize", "evaluate"):
        assert phase in text
    assert f"{config.optimize.steps:,} steps" in text


def test_a_plan_counts_the_tokens_of_an_exploration_once_for_all_its_updates() -> None:
    changes = ["optimize.steps=20", "optimize.updates=3", "max_tokens=48"]
    config = settings.load(settings.SHIPPED / "arithmetic.yaml", changes)
    outputs = config.optimize.prompts * config.optimize.group_size
    assert f"at most {7 * outputs * 48:,} tokens, micro-batch" in plan(config)


def test_the_default_fits_in_fifteen_lines() -> None:
    text = (settings.SHIPPED / "arithmetic.yaml").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 15


def test_paper_has_the_papers_values() -> None:
    config = settings.load(settings.SHIPPED / "paper.yaml")
    optimize = config.optimize
    assert (optimize.group_size, optimize.prompts * optimize.group_size) == (64, 1024)
    assert (optimize.beta, optimize.learning_rate, optimize.updates) == (0.04, 1e-6, 1)
    assert config.max_tokens == 1024
    assert config.reward_model.first.learning_rate == 2e-5
    assert config.reward_model.replay.share == 0.1


def test_overrides_reach_into_sections_and_are_read_as_yaml(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("run_dir: r\npolicy: {model: m}\n", encoding="utf-8")
    config = settings.load(
        file, ["optimize.steps=3", "evaluate.tasks=[gsm8k/test, math500]", "policy.lora.rank=4"]
    )
    assert config.optimize.steps == 3
    assert config.evaluate.tasks == ("gsm8k/test", "math500")
    assert config.policy.lora is not None
    assert config.policy.lora.rank == 4


def test_a_section_that_would_drop_what_was_set_before_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("run_dir: r\npolicy: {model: m}\noptimize: {beta: 0.1}\n", encoding="utf-8")
    dropping = ["optimize.steps=3", "optimize={prompts: 2, beta: 0.2}"]
    with pytest.raises(ConfigError, match=r"would drop optimize\.steps; set optimize\.NAME=value"):
        settings.load(file, dropping)
    assert settings.load(file, dropping[1:]).optimize.beta == 0.2
    begun_anew = settings.load(file, ["optimize=null", "optimize={prompts: 2}"])
    assert begun_anew.optimize.prompts == 2
    assert begun_anew.optimize.beta == 0.04


def test_a_shipped_name_is_suggested() -> None:
    with pytest.raises(ConfigError, match=r"no such file\. Did you mean arithmetic\?"):
        settings.load(settings.locate(Path("arithmetik")))


@pytest.mark.parametrize("name", ["2026-01-31", "2026-02-31", "2026-01-31 12:00:61", "._"])
def test_what_looks_like_a_date_or_number_is_a_name(name: str, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("run_dir: r\npolicy: {model: m}\n", encoding="utf-8")
    assert settings.load(file, [f"run_dir={name}"]).run_dir == Path(name)


def test_a_path_at_home_is_the_one_that_a_shell_would_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    raw = toy.raw(Path("~/runs"), tmp_path, policy={"model": "~/model"})
    found = settings.load(raw, ["reward_model.start=~/judge"])
    assert found.run_dir == tmp_path / "runs/run"
    assert found.policy.model == str(tmp_path / "model")
    assert found.reward_model.start == str(tmp_path / "judge")


def test_a_key_may_take_the_place_of_a_merged_one(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    text = (
        "run_dir: r\npolicy: {model: m}\n"
        "label: &a {seed: 1}\nsample: &b {<<: *a, seed: 2}\noptimize: {<<: *b}\n"
    )
    file.write_text(text, encoding="utf-8")
    raw = settings._read(file)
    assert raw["sample"] == raw["optimize"] == {"seed": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "expected keys and values"),
        ("a: [", "not valid YAML"),
        ("optimize: {steps: 1}\noptimize: {beta: 1}\n", "optimize is given twice\n.*line 2"),
        ("{}", "run_dir: required"),
    ],
)
def test_files_that_are_no_configuration_are_refused(
    text: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        settings.load(file)
    with pytest.raises(ConfigError, match="no such file"):
        settings.load(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("optimize.lr", "Did you mean optimize.learning_rate?"),
        ("optimize.stesp", "Did you mean optimize.steps?"),
        ("optimize.max_token", "Did you mean max_tokens?"),
        ("optimize.lora_xy", "unknown key optimize.lora_xy. Known here"),
    ],
)
def test_hints_are_of_the_same_section_first(key: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(hint)):
        settings.load({"run_dir": "r", "policy": {"model": "m"}}, [f"{key}=1"])


def test_a_named_policy_is_not_warmed_up() -> None:
    policy = {"model": "m", "warm_start": {"steps": 1}}
    with pytest.raises(ConfigError, match=r"set policy\.warm_start=null"):
        settings.load({"run_dir": "r", "policy": policy})


def test_as_a_library_mappings_are_taken_and_slips_are_told() -> None:
    raw = {"run_dir": "r", "policy": {"model": "m"}, "optimize": {"steps": 3}}
    assert load_config(raw, ["optimize.steps=4"]).optimize.steps == 4
    assert raw["optimize"] == {"steps": 3}
    with pytest.raises(TypeError, match=r"give a list, \['run_dir=x'\]"):
        load_config("arithmetic", "run_dir=x")
    with pytest.raises(TypeError, match="run takes what load_config returns, found 'arithmetic'"):
        run("arithmetic")  # type: ignore[arg-type]


def test_all_problems_are_told_at_once() -> None:
    raw = {"run_dir": "r", "credit": "x", "splitter": "y", "policy": {"model": "m"}}
    with pytest.raises(ConfigError, match="credit rule") as caught:
        settings.load(raw)
    assert "splitter" in str(caught.value)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["engine=generate"], "sampling does not know: set engine=native"),
        (["optimize.vllm=colocate"], "sampling does not know: set engine=native"),
        (["optimize.mask_truncated=true"], "leaves out every answer without EOS"),
    ],
)
def test_stop_strings_that_training_would_ignore_are_refused(
    tmp_path: Path, more: list[str], message: str
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("run_dir: r\npolicy: {model: m, prompt: gsm8k-8shot}\n", encoding="utf-8")
    settings.load(file)
    with pytest.raises(ConfigError, match=f"gsm8k_8shot ends answers at stop strings.*{message}"):
        settings.load(file, more)
    settings.load(file, [*more, "policy.prompt=plain"])


def test_shares_are_a_partition_in_order() -> None:
    items = list(range(11))
    shares = [list(World(rank, 4).share(items)) for rank in range(4)]
    assert [item for share in shares for item in share] == items
    assert {len(share) for share in shares} == {2, 3}


def test_fewer_processes_than_asked_for_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(LaunchError, match=r"2 processes were asked for .* started 1"):
        current(2)


def test_drawing_takes_each_once_before_any_twice() -> None:
    problems = [Problem(str(i), "q", "1", "toy") for i in range(5)]
    drawn = questions.draw(problems, 12, seed=3)
    assert len(drawn) == 12
    for begin in (0, 5):
        assert {p.id for p in drawn[begin : begin + 5]} == {p.id for p in problems}
    assert questions.draw(problems, 12, seed=3) == drawn
    assert questions.draw(problems, 12, seed=4) != drawn


@pytest.mark.parametrize(
    ("mixture", "fits"),
    [
        ("{verified_share: 0.1}", False),
        ("{verified_share: 1, verifier_weight: 0.3, model_weight: 0.7}", True),
        ("{verified_share: 0, verifier_weight: 5, model_weight: 1}", True),
        ("{verified_share: 0.1, verifier_weight: 0.5, model_weight: 0.5}", False),
        ("{verified_share: 0.1, verifier_weight: 0, model_weight: 1}", True),
    ],
)
def test_a_threshold_is_refused_for_a_mixture_that_moves_it(
    mixture: str, fits: bool, tmp_path: Path
) -> None:
    data = toy.write_data(tmp_path / "data")
    overrides = ["reward=mixture", f"mixture={mixture}", "supervision=process"]
    threshold = [*overrides, "credit=first_error"]
    if fits:
        toy.config(tmp_path, data, *threshold)
    else:
        with pytest.raises(ConfigError, match="a right step is worth"):
            toy.config(tmp_path, data, *threshold)
    toy.config(tmp_path, data, *overrides)
    # With one step an output the threshold decides nothing.
    toy.config(tmp_path, data, *threshold, "supervision=outcome")


def test_words_that_yaml_reads_as_something_else_mean_what_was_written(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        "run_dir: r\npolicy: {model: m, pad_token: none}\noptimize: {vllm: off, kl_target: none}\n"
        "reward_model: {probes: null, balance: off}\ndata: {decontaminate: none}\n",
        encoding="utf-8",
    )
    config = settings.load(file, ["optimize.watch.retrain_when.gap=none"])
    assert config.optimize.vllm == "off"
    assert (config.reward_model.probes, config.reward_model.balance) == ("none", "none")
    assert (config.policy.pad_token, config.optimize.kl_target) == (None, None)
    assert config.data.decontaminate is None
    assert config.optimize.watch.retrain_when.gap is None
    # A word that is none of a setting's choices stays a mistake.
    with pytest.raises(ConfigError, match=r"optimize\.loss: Input should be"):
        settings.load(file, ["optimize.loss=off"])


def test_checkpoints_between_updates_on_one_exploration_are_refused() -> None:
    raw = {"run_dir": "r", "policy": {"model": "m"}}
    with pytest.raises(ConfigError, match=r"checkpoint_every 3 is no multiple of optimize\.upd"):
        settings.load(raw, ["optimize.updates=2", "optimize.checkpoint_every=3"])
    settings.load(raw, ["optimize.updates=2", "optimize.checkpoint_every=4"])


@pytest.mark.parametrize(
    "key",
    [
        "optimize.learning_rate",
        "optimize.beta",
        "optimize.watch.retrain_when.sure",
        "reward_model.gate.auroc",
        "reward_model.held_out",
        "mixture.model_weight",
        "evaluate.temperature",
        "data.decontaminate.similarity",
    ],
)
@pytest.mark.parametrize("value", [".inf", ".nan", "yes", "off"])
def test_numbers_are_finite_and_no_booleans(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{re.escape(key)}: Input should be"):
        settings.load(NAMED, [f"{key}={value}"])


@pytest.mark.parametrize("key", ["optimize.steps", "seed", "optimize.group_size", "evaluate.limit"])
def test_counts_are_no_booleans(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{re.escape(key)}: .*not yes or no, found True$"):
        settings.load(NAMED, [f"{key}=yes"])
    settings.load(NAMED, [f"{key}=4"])


def test_replay_leaves_fresh_rows() -> None:
    with pytest.raises(ConfigError, match=r"replay\.share: .*less than 1, found 1"):
        settings.load(NAMED, ["reward_model.replay.share=1.0"])
    settings.load(NAMED, ["reward_model.replay.share=0.99"])


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("{width: 12, heads: 4}", "width is 12, .* no even number .* give a multiple of 8"),
        ("{width: 10, heads: 4}", "width is 10, .* give a multiple of 8"),
        ("{width: 16, heads: 4, tokenizer: bpe, vocabulary: 259}", "vocabulary is 259; .* 260"),
    ],
)
def test_shapes_that_cannot_be_made_are_refused(shape: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"policy\.make\.{message}"):
        settings.load({"run_dir": "r", "max_tokens": 20}, [f"policy.make={shape}"])


def test_a_vocabulary_of_bytes_is_asked_of_bpe_alone() -> None:
    small = ("policy.make.vocabulary=100",)
    settings.load(settings.SHIPPED / "arithmetic.yaml", ("policy.make.tokenizer=words", *small))
    with pytest.raises(settings.ConfigError, match="a bpe tokenizer needs at least 260"):
        settings.load(settings.SHIPPED / "arithmetic.yaml", ("policy.make.tokenizer=bpe", *small))


def test_shapes_that_are_accepted_can_be_made() -> None:
    smallest = "{width: 16, heads: 8, tokenizer: bpe, vocabulary: 260}"
    made = settings.load({"run_dir": "r", "max_tokens": 20}, [f"policy.make={smallest}"])
    shape = made.policy.make
    assert shape is not None
    assert making.ModelShape(width=shape.width, heads=shape.heads).width == 16
    assert len(making.make_tokenizer("bpe", ["a"], shape.vocabulary)) == 260


def test_the_launchers_file_has_to_be_there(tmp_path: Path) -> None:
    file = tmp_path / "accelerate.yaml"
    with pytest.raises(ConfigError, match=r"launch\.config_file .*accelerate\.yaml is no file"):
        settings.load(NAMED, [f"launch.config_file={file}"])
    file.write_text("num_processes: 1\n", encoding="utf-8")
    settings.load(NAMED, [f"launch.config_file={file}"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("evaluate.tasks=gsm8k/test", "expected a list, found 'gsm8k/test'; write [gsm8k/test]"),
        ("report_to=tensorboard", "expected a list, found 'tensorboard'; write [tensorboard]"),
        ("evaluate.k=2", "expected a list, found 2; write [2]"),
    ],
)
def test_one_value_for_a_list_is_told_how_lists_are_written(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings.load(NAMED, [override])
    assert str(caught.value) == f"{override.partition('=')[0]}: {message}"


def test_a_sections_settings_that_do_not_fit_are_told_without_the_section() -> None:
    with pytest.raises(ConfigError) as caught:
        settings.load(NAMED, ["evaluate.k=[1,2,9]", "evaluate.samples=4"])
    assert str(caught.value).startswith("evaluate: k 9 needs as many samples")
    assert "tasks" not in str(caught.value)
