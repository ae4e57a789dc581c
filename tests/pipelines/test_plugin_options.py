"""Options of splitters, credit rules, labelers and reward sources: typed, checked, recorded."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines import building, plugin_options
from pipelines.config import Config
from pipelines.keywords import UnfitValue, UnknownField
from pipelines.phases import label, optimize
from pipelines.settings import ConfigError
from tests.pipelines import toy


def configured(tmp_path: Path, *overrides: str) -> Config:
    data = tmp_path / "data"
    if not data.exists():
        toy.write_data(data)
    return toy.config(tmp_path, data, *overrides)


def build(parts: Any, *, price: float = 0.0, words: tuple[str, ...] = ()) -> None:
    """A source's `build`."""


def test_options_are_those_with_a_default_as_they_are_annotated() -> None:
    found = plugin_options.arguments("reward_options", {"price": "1e-2"}, build, "reward mine")
    assert found == {"price": 0.01}
    with pytest.raises(UnknownField, match=r"reward_options.prize: .*Did you mean price\? Its opt"):
        plugin_options.arguments("reward_options", {"prize": 1}, build, "reward mine")
    with pytest.raises(UnknownField, match="parts"):
        plugin_options.arguments("reward_options", {"parts": 1}, build, "reward mine")
    with pytest.raises(UnfitValue, match="price: expected float, found 'dear'"):
        plugin_options.arguments("reward_options", {"price": "dear"}, build, "reward mine")


def test_they_reach_what_they_are_for(tmp_path: Path) -> None:
    config = configured(
        tmp_path, "supervision=process", "splitter=step_k", "splitter_options.word=Schritt",
        "credit=first_error", "credit_options.threshold=0.25",
    )  # fmt: skip
    assert building.splitter(config).split("A\nSchritt 1: b") == (2, 14)
    assert vars_of(building.credit_rule(config)) == {"threshold": 0.25}
    # Whole solutions are cut by nothing, so that the splitter's options are not for their cut.
    outcome = configured(tmp_path, "splitter=step_k", "splitter_options.word=Schritt")
    assert building.splitter(outcome).split("A\nSchritt 1: b") == (14,)
    uncertain = ("reward=uncertain", "reward_model.heads=4", "reward_options.action=mask")
    assert building.reward_source(configured(tmp_path, *uncertain)).keywords == {"action": "mask"}


def vars_of(rule: Any) -> dict[str, Any]:
    return {name: getattr(rule, name) for name in rule.__slots__}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("splitter_options.word=x", "splitter lines has no such option.*Its options: none"),
        ("credit_options.treshold=1", "credit rule sum has no such option"),
        ("label.labeler_options.a=1", "label.labeler_options.a: labeler exact has no such option"),
        ("reward_options.a=1", "reward_options.a: reward model has no such option"),
    ],
)
def test_what_nothing_takes_is_refused(override: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        configured(tmp_path, override)


def test_a_value_that_its_plug_in_refuses_is_told_as_its(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"splitter separator: ValueError: .*not empty"):
        configured(tmp_path, "splitter=separator", 'splitter_options.separator=""')
    with pytest.raises(ConfigError, match="action: expected"):
        configured(
            tmp_path, "reward=uncertain", "reward_model.heads=4", "reward_options.action=drop"
        )


def test_phases_depend_on_them_and_older_records_without_any_stay_equal(tmp_path: Path) -> None:
    plain = configured(tmp_path, "splitter=step_k")
    other = configured(tmp_path, "splitter=step_k", "splitter_options.word=Schritt")
    for phase in (label, optimize):
        assert phase.settings(plain) != phase.settings(other)
        assert phase.settings(plain)["splitter_options"] is None
    assert "labeler_options" not in label.settings(plain)["label"]


def test_a_plug_in_that_does_not_work_is_refused_before_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from iterative_grpo.advantages import sum as rule
    from iterative_grpo.splitters import lines

    def broken(self: Any, *given: Any) -> Any:
        return None

    monkeypatch.setattr(lines, "Splitter", lambda: SimpleNamespace(split=lambda text: (1, 2)))
    with pytest.raises(ConfigError, match=r"splitter lines: .*the last end of a text of 11 char"):
        configured(tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(rule.Rule, "credit", broken)
    with pytest.raises(ConfigError, match="credit rule sum: TypeError"):
        configured(tmp_path)


def test_a_problem_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from iterative_grpo.splitters import lines
    from pipelines.prompts import plain

    monkeypatch.setattr(plain, "STOP", "Q:")
    monkeypatch.delattr(lines, "Splitter")
    with pytest.raises(ConfigError) as caught:
        configured(tmp_path, "policy.prompt=plain", "credit=summ")
    told = str(caught.value).splitlines()
    assert len(told) == len(set(told)) == 3
    for said in ("has no Splitter", "STOP in", "unknown credit rule 'summ'"):
        assert sum(said in line for line in told) == 1
