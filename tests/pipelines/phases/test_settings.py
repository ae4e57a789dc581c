"""The settings that each phase depends on: another value makes a finished phase another one's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipelines.config import Config
from pipelines.phases import evaluate, label, optimize, retrain, sample, start
from tests.pipelines import toy
from tests.pipelines.test_building import labeler

PHASES = [module.PHASE for module in (start, sample, label, retrain, optimize, evaluate)]

PLAIN = ("supervision=process", "label.labeler=monte_carlo", "evaluate.samples=2")

DEPENDENT = [
    ("policy.warm_start.steps=5", "start"),
    ("policy.prompt=deepseek_math_cot", "start sample optimize evaluate"),
    ("policy.lora={rank: 2, alpha: 4}", "optimize"),
    ("data.limit=50", "start sample optimize"),
    ("verifier=math", "start sample label optimize evaluate"),
    ("engine=generate", "sample optimize evaluate"),
    ("optimize.bf16=true", "sample label optimize evaluate"),
    ("max_tokens=19", "sample optimize evaluate"),
    ("sample.problems=20", "sample"),
    ("sample.temperature=0.7", "sample"),
    ("label.continuations=2", "label"),
    ("label.labeler=exact", "label"),
    ("supervision=outcome", "label optimize"),
    ("splitter=sentences", "label optimize"),
    ("reward_model.held_out=0.3", "label retrain"),
    ("reward_model.validation=0.2", "label retrain"),
    ("reward_model.replay.share=0.2", "retrain"),
    ("reward_model.gate.auroc=0.1", "retrain"),
    ("reward_model.dtype=bfloat16", "optimize"),
    ("reward_model.bf16=true", "retrain"),
    ("credit=min", "optimize"),
    ("reward=verifier", "optimize"),
    ("mixture.model_weight=0.5", "optimize"),
    ("optimize.learning_rate=1e-4", "optimize"),
    ("optimize.trl.adam_beta2=0.95", "optimize"),
    ("evaluate.limit=3", "evaluate"),
    ("evaluate.max_tokens=7", "evaluate"),
    ("evaluate.temperature=0.5", "evaluate"),
    # What makes no other result.
    ("iterations=7", ""),
    ("optimize.checkpoint_every=7", ""),
    ("optimize.micro_batch=8", ""),
    ("optimize.gradient_checkpointing=true", ""),
    ("engine_options.cache_gib=16", ""),
    ("run_dir=elsewhere", ""),
    ("data.decontaminate.words=9", ""),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write_data(tmp_path_factory.mktemp("data"))


def changed(one: Config, other: Config) -> str:
    """Return the names of the phases that the second configuration makes differently."""
    stored = ([json.dumps(phase.settings(each)) for phase in PHASES] for each in (one, other))
    pairs = zip(PHASES, *stored, strict=True)
    return " ".join(phase.name for phase, before, now in pairs if before != now)


@pytest.mark.parametrize(("override", "phases"), DEPENDENT)
def test_phases_depend_on_what_changes_their_result_and_on_nothing_else(
    override: str, phases: str, tmp_path: Path, data: Path
) -> None:
    plain = toy.config(tmp_path, data, *PLAIN)
    assert changed(plain, toy.config(tmp_path, data, *PLAIN, override)) == phases


def test_options_of_plug_ins_change_the_policy(tmp_path: Path, data: Path) -> None:
    for chosen, option in (
        (("credit=first_error",), "credit_options.threshold=0.4"),
        (("reward=uncertain", "reward_model.heads=4"), "reward_options.limit=0.1"),
    ):
        plain = toy.config(tmp_path, data, *PLAIN, *chosen)
        assert changed(plain, toy.config(tmp_path, data, *PLAIN, *chosen, option)) == "optimize"


def test_options_of_a_labeler_change_the_labels(tmp_path: Path, data: Path) -> None:
    source = "def build(tools, *, limit: int = 1):\n    return tools\n"
    with labeler(tmp_path / "labels", source):
        chosen = ("supervision=process", "label.labeler=own")
        plain = toy.config(tmp_path, data, *chosen)
        more = toy.config(tmp_path, data, *chosen, "label.labeler_options.limit=2")
        assert changed(plain, more) == "label"


def test_a_published_reward_model_is_known_by_its_files(tmp_path: Path, data: Path) -> None:
    for name in ("one", "same", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(name[-1:].encode())
    (tmp_path / "same" / "model.safetensors").write_bytes(b"e")
    chosen = ("reward=published", "published.convention=qwen_prm")
    one, same, other = (
        toy.config(tmp_path, data, *chosen, f"published.model={tmp_path / name}")
        for name in ("one", "same", "other")
    )
    assert changed(one, same) == ""
    assert changed(one, other) == "optimize"


def test_the_questions_count_and_not_where_they_lie(tmp_path: Path, data: Path) -> None:
    plain = toy.config(tmp_path, data, *PLAIN)
    moved = tmp_path / "moved"
    shutil.copytree(data, moved)
    assert changed(plain, toy.config(tmp_path, moved, *PLAIN)) == ""
    for split, phases in (("train", "start sample optimize"), ("test", "evaluate")):
        other = tmp_path / split
        shutil.copytree(data, other)
        with (other / "gsm8k" / f"{split}.jsonl").open("a", encoding="utf-8") as rows:
            rows.write(json.dumps({"question": "And now?", "answer": "#### 2"}) + "\n")
        assert changed(plain, toy.config(tmp_path, other, *PLAIN)) == phases


def test_a_named_policy_does_not_depend_on_the_questions(tmp_path: Path, data: Path) -> None:
    named = (*PLAIN, "policy=null", "policy.model=some/model")
    plain = toy.config(tmp_path, data, *named)
    limited = toy.config(tmp_path, data, *named, "data.limit=50")
    assert changed(plain, limited) == "sample optimize"


@pytest.mark.parametrize("more", ["optimize.loss=bnpo", "optimize.trl.top_entropy_quantile=0.2"])
def test_some_losses_depend_on_their_micro_batches(more: str, tmp_path: Path, data: Path) -> None:
    plain = toy.config(tmp_path, data, more)
    halves = toy.config(tmp_path, data, more, "optimize.micro_batch=8")
    assert changed(plain, halves) == "optimize"
