"""What `engine_options` may set, and that a run goes on with others."""

from __future__ import annotations

from pathlib import Path

import pytest

from iterative_grpo import plugins
from pipelines import cli, engine_options, preflight, run
from pipelines.artifacts import read_manifest
from pipelines.keywords import UnfitValue, UnknownField
from pipelines.progress import Progress
from pipelines.runs import Phase
from tests.pipelines import checkpoint_engine, toy
from tests.pipelines.test_running import write_config

NOTING = """
from iterative_grpo.engines import native

SEEN = []


def load(model, tokenizer, *, cache_gib: float = 1.0):
    SEEN.append(cache_gib)
    return native.load(model, tokenizer, cache_gib=cache_gib)
"""


@pytest.mark.parametrize(
    ("engine", "names"),
    [
        ("native", ["cache_gib", "share_prefixes", "fuse_layers", "share_branches"]),
        ("native_graphs", ["cache_gib", "share_prefixes", "fuse_layers", "share_branches"]),
        ("generate", ["batch_tokens"]),
        ("vllm", ["max_model_len", "gpu_memory_utilization"]),
    ],
)
def test_options_are_the_keywords_of_load_that_nothing_else_decides(
    engine: str, names: list[str]
) -> None:
    assert list(engine_options.taken(plugins.find("iterative_grpo.engines", engine).load)) == names


def test_values_are_of_the_types_that_load_takes() -> None:
    given = {"cache_gib": "1e1", "share_prefixes": False}
    assert engine_options.arguments("native", given) == {"cache_gib": 10.0, "share_prefixes": False}
    assert engine_options.arguments("vllm", {"max_model_len": None}) == {"max_model_len": None}


UNKNOWN = [
    (
        "native",
        "cache_gb",
        r"engine native has no such option\. Did you mean cache_gib\? .*branches",
    ),
    ("vllm", "cache_gib", r"engine vllm .* options: max_model_len, gpu_memory_utilization$"),
    ("native", "dtype", "decided by policy.dtype and optimize.bf16; set it there"),
    ("native", "graphs", "decided by engine \\(native_graphs\\)"),
    ("vllm", "trust_remote_code", "decided by policy.trust_remote_code"),
    ("native", "model", "engine native has no such option"),
    ("native", "tokenizer", "engine native has no such option"),
]


@pytest.mark.parametrize(("engine", "name", "message"), UNKNOWN)
def test_other_names_are_refused(engine: str, name: str, message: str) -> None:
    with pytest.raises(UnknownField, match=rf"^engine_options\.{name}: {message}"):
        engine_options.arguments(engine, {name: 1})


UNFIT: list[tuple[str, dict[str, object], str]] = [
    ("native", {"cache_gib": "much"}, r"\.cache_gib: expected float, found 'much'"),
    ("native", {"cache_gib": True}, r"\.cache_gib: expected float, found True"),
    ("native", {"fuse_layers": 1}, r"\.fuse_layers: expected bool, found 1"),
    ("vllm", {"max_model_len": 1.5}, r"\.max_model_len: expected int \| None, found 1\.5"),
    ("native", {"cache_gib": 0}, " with engine native: cache_gib is 0.*above 0"),
    ("native_graphs", {"cache_gib": float("inf")}, " with engine native_graphs: .*finite"),
    ("generate", {"batch_tokens": 0}, " with engine generate: batch_tokens is 0.*at least 1"),
    ("vllm", {"max_model_len": 0}, " with engine vllm: max_model_len is 0"),
    ("vllm", {"gpu_memory_utilization": 1.5}, " with engine vllm: .* is 1.5.*at most 1"),
]


@pytest.mark.parametrize(("engine", "given", "message"), UNFIT)
def test_other_values_are_refused(engine: str, given: dict[str, object], message: str) -> None:
    with pytest.raises(UnfitValue, match=rf"^engine_options{message}"):
        engine_options.arguments(engine, given)


@pytest.mark.parametrize("override", ["cache_gb=1", "cache_gib=0", "cache_gib=much"])
def test_a_run_is_refused_before_any_work(
    override: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path, toy.write_data(tmp_path / "data"), "bad")
    assert cli.main(["run", str(config), f"engine_options.{override}"]) == cli.REFUSED
    assert "engine_options" in capsys.readouterr().err
    assert not (tmp_path / "bad").exists()


@pytest.mark.parametrize("phase", ["start", "sample", "label", "retrain", "optimize", "evaluate"])
def test_no_phase_depends_on_them(phase: str, tmp_path: Path) -> None:
    data = toy.write_data(tmp_path / "data")
    plain = toy.config(tmp_path, data)
    other = toy.config(tmp_path, data, "engine_options={cache_gib: 1, share_branches: false}")
    preflight.check(other, Progress(quiet=True))
    described: Phase = plugins.find("pipelines.phases", phase).PHASE
    assert described.settings(plain) == described.settings(other)


@pytest.mark.slow
def test_they_reach_every_engine_of_a_run_which_goes_on_with_others(tmp_path: Path) -> None:
    data = toy.write_data(tmp_path / "data")
    more = "engine=noting", "supervision=process", "label.labeler=monte_carlo"
    with checkpoint_engine.added(tmp_path / "engines", "noting", NOTING) as module:
        first = "iterations=1", "engine_options.cache_gib=3"
        run(toy.config(tmp_path, data, *more, *first), quiet=True)
        # The warm start's validation, both evaluations, samples, labels, policy steps.
        assert module.SEEN == [3.0] * 6
        made = tmp_path / "run/iterations/01/optimize"
        before = read_manifest(made)["fingerprint"]
        run(toy.config(tmp_path, data, *more, "engine_options.cache_gib=1e-5"), quiet=True)
        assert module.SEEN[6:] == [1e-5] * 4
    assert read_manifest(made)["fingerprint"] == before
    assert (tmp_path / "run/iterations/02/evaluate/manifest.json").exists()
