"""Trackers are refused before any compute where nothing could be reported to them."""

from __future__ import annotations

import pytest
from transformers.integrations import integration_utils

from pipelines import trackers
from pipelines.trackers import NoTracker


def test_an_unknown_tracker_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(NoTracker, match=r"report_to: .*'tensorbord'. Did you mean tensorboard\?"):
        trackers.check(("tensorbord",))


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_tracker_has_to_be_installed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integration_utils, f"is_{name}_available", lambda: False)
    with pytest.raises(NoTracker, match=f"report_to: {name} is not installed"):
        trackers.check((name,))
    monkeypatch.setattr(integration_utils, f"is_{name}_available", lambda: True)
    trackers.check((name,))


@pytest.mark.parametrize("names", [(), ("all",), ("none",)])
def test_names_for_all_trackers_and_none_need_none(names: tuple[str, ...]) -> None:
    trackers.check(names)
