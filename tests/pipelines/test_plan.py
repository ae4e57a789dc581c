"""The plan of a run: its phases with their work, and what memory and disk they take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from transformers import T5Config

from pipelines import cli, memory, plan
from pipelines.config import Config
from tests.pipelines import toy
from tests.pipelines.test_launch_file import FSDP, launched

Maker = Callable[[int, torch.dtype], Path]


@pytest.fixture
def configured(tmp_path: Path) -> Callable[..., Config]:
    data = toy.write_data(tmp_path / "data")
    return lambda *overrides: toy.config(tmp_path, data, *overrides)


def named(model: object) -> tuple[str, ...]:
    return ("policy.make=null", "policy.warm_start=null", f"policy.model={model}")


WHOLE = """\
run_dir       {folder}/run
policy        made on the spot
data          gsm8k from {folder}/data
compared      with gsm8k/test, gsm8k/train: exact drop, near report, template report, ngram drop
supervision   process, steps by step_k
reward        model, credit delta, engine generate

iteration  phase     work
0          start     make a policy, at most 1,200 supervised steps
0          evaluate  gsm8k/test, gsm8k/train
1          sample    40 questions x 25 = 1,000 completions, at most 20,000 tokens
1          label     1,000 solutions by monte_carlo, 6 continuations of each step
1          retrain   about 700 rows (0% history), 3 epochs
1          optimize  7 steps of 8 x 4 = 32 outputs, at most 2,560 tokens, {rest}
1          evaluate  gsm8k/test, gsm8k/train
2-3        sample    24 questions x 25 = 600 completions, at most 12,000 tokens
2-3        label     600 solutions by monte_carlo, 6 continuations of each step
2-3        retrain   about 525 rows (20% history), 2 epochs
2-3        optimize  7 steps of 8 x 4 = 32 outputs, at most 2,560 tokens, {rest}
2-3        evaluate  gsm8k/test, gsm8k/train
"""


def test_a_plan_has_the_work_of_every_phase(
    configured: Callable[..., Config], tmp_path: Path
) -> None:
    config = configured(
        "iterations=3",
        "policy.warm_start.steps=1200",
        "data.decontaminate={near: report, ngram: drop}",
        "evaluate.tasks=[gsm8k/test, gsm8k/train]",
        "supervision=process",
        "splitter=step_k",
        "credit=delta",
        "engine=generate",
        "label={labeler: monte_carlo, continuations: 6}",
        "sample.first_problems=40",
        "sample.group_size=25",
        "reward_model.first.epochs=3",
        "reward_model.again.epochs=2",
        "reward_model.replay.share=0.2",
        "optimize.steps=7",
        "optimize.updates=2",
        "optimize.prompts=8",
        "optimize.micro_batch=8",
    )
    phases, _, _ = plan.plan(config).partition("\nparameters")
    assert phases == WHOLE.format(folder=tmp_path, rest="micro-batch 8, 1 process(es)")


def rows(config: Config, phase: str) -> list[tuple[str, str]]:
    """Return the iterations and the work of a phase's rows."""
    found = [line.split(maxsplit=2) for line in plan.plan(config).splitlines() if line]
    return [(row[0], row[2]) for row in found if row[1] == phase]


@pytest.mark.parametrize(("count", "shown"), [(1, ["1"]), (2, ["1", "2"]), (5, ["1", "2-5"])])
def test_equal_iterations_are_one(
    count: int, shown: list[str], configured: Callable[..., Config]
) -> None:
    found = rows(configured(f"iterations={count}"), "optimize")
    assert [iteration for iteration, _ in found] == shown


def test_a_frozen_reward_model_is_trained_once(configured: Callable[..., Config]) -> None:
    first, later = rows(configured("reward_model.retrain=false"), "retrain")
    assert first == ("1", "about 67 rows (0% history), 1 epochs")
    assert later == ("2", "frozen: measured only")


def test_the_plan_says_where_policy_and_questions_come_from(
    configured: Callable[..., Config],
) -> None:
    assert rows(configured("policy.warm_start=null"), "start") == [("0", "make a policy")]
    # Nothing but the plan of a named model's work can be said without its configuration.
    config = configured(*named("/no/model"), "data.decontaminate=null", "data.path=null")
    text = plan.plan(config)
    assert "policy        /no/model\n" in text
    assert "data          gsm8k from the hub, or made\n" in text
    assert "compared      with no evaluation set (data.decontaminate is off)\n" in text
    assert rows(config, "start") == [("0", "copy the named model")]
    unknown = "unknown: no configuration of such a model is on this machine"
    assert text.endswith(unknown)
    assert plan.plan(configured(*named("/no/model"), "reward=verifier")).endswith(unknown)
    judged = ("reward=published", "published={model: /no/judge, convention: qwen_prm}")
    assert plan.plan(configured(*judged)).endswith(unknown)


def test_a_model_of_another_kind_is_planned_with_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong with it, the checks behind the plan say."""
    T5Config(d_model=8, num_layers=1, vocab_size=10).save_pretrained(tmp_path / "t5")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{", encoding="utf-8")
    for model in ("t5", "broken"):
        policy = ("policy=null", f"policy.model={tmp_path / model}", f"run_dir={tmp_path / 'run'}")
        assert cli.main(["run", "arithmetic", "--dry-run", *policy]) == cli.REFUSED
        printed = capsys.readouterr()
        assert "memory and disk: unknown" in printed.out
        assert f"policy.model {tmp_path / model} cannot be loaded" in printed.err


def figures(config: Config) -> dict[str, str]:
    """Return the plan's last lines by their names."""
    return {line.split()[0]: line.split(maxsplit=1)[1] for line in plan.needs(config)}


@pytest.mark.parametrize(
    ("more", "policy", "judge", "checkpoints"),
    [
        # Weights, gradients and AdamW's moments; the reference; from iteration 2 on the initial
        # policy. Beside it the reward model, of the policy's size.
        ((), 16 + 4 + 4 + 4, 16, 5),
        (("iterations=1",), 16 + 4 + 4, 16, 3),
        (("optimize.kl_initial_outputs=0",), 16 + 4 + 4, 16, 5),
        (("optimize.beta=0",), 16 + 4 + 4, 16, 5),
        # Without a reference the initial policy is one more model from iteration 1 on.
        (("iterations=1", "optimize.beta=0"), 16 + 4 + 4, 16, 3),
        (("policy.lora={}",), 4 + 4 + 4, 16, 5),
        (("reward_model.lora={}",), 16 + 4 + 4 + 4, 4, 5),
        (("reward=verifier",), 16 + 4 + 4, None, 3),
    ],
    ids=str,
)
def test_memory_and_disk_are_counted_in_bytes_of_a_parameter(
    more: tuple[str, ...],
    policy: int,
    judge: int | None,
    checkpoints: int,
    configured: Callable[..., Config],
) -> None:
    config = configured(*more)
    count = memory.count_parameters(config)
    assert count is not None
    found = figures(config)
    assert found["parameters"] == f"{count:,}"
    retraining = "" if judge is None else f" and {memory.size(judge * count)} in retraining"
    assert found["memory"].startswith(f"about {memory.size(policy * count)} in policy phases")
    assert found["memory"].partition("policy phases")[2].startswith(f"{retraining}: weights")
    stored = f"about {memory.size(4 * count * checkpoints)} for {checkpoints} checkpoints"
    assert found["disk"].startswith(stored)


def test_words_may_be_fewer_than_the_vocabulary(configured: Callable[..., Config]) -> None:
    assert "at most" not in figures(configured())["parameters"]
    assert figures(configured("policy.make.tokenizer=words"))["parameters"].endswith(" at most")


def test_processes_that_hold_a_model_each_are_told(
    configured: Callable[..., Config], tiny_policy: Maker, tmp_path: Path
) -> None:
    config = configured("launch.mode=accelerate", "launch.processes=2")
    assert " in each process: weights" in figures(config)["memory"]
    assert " in each process" not in figures(configured())["memory"]

    # In shards the reward model is whole when it is loaded, and when it is put together again.
    own = f"policy.model={tiny_policy(0, torch.float32)}"
    sharded = launched(tmp_path, yaml.safe_dump({**FSDP, "num_processes": 4}), own)
    launch = sharded.launch.model_copy(update={"processes": 4})
    sharded = sharded.model_copy(update={"launch": launch})
    count = memory.count_parameters(sharded)
    assert count is not None
    assert f"and {memory.size((16 / 4 + 4) * count)} in retraining" in figures(sharded)["memory"]
