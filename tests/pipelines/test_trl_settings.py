"""What `optimize.trl` may add to TRL's settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import settings, trl_settings
from pipelines.trl_settings import UnknownField


def configured(*overrides: str) -> settings.Config:
    return settings.load(settings.SHIPPED / "arithmetic.yaml", overrides)


def test_other_fields_reach_trl(tmp_path: Path) -> None:
    config = configured("optimize.trl.adam_beta2=0.95", "optimize.beta=0.02")
    trl_settings.check(config)
    made = trl_settings.arguments(config, 7, 3, tmp_path)
    assert (made.adam_beta2, made.beta, made.seed) == (0.95, 0.02, 7)
    assert made.run_name == "arithmetic-03"


def test_a_field_that_a_setting_decides_is_refused() -> None:
    with pytest.raises(UnknownField, match=r"optimize\.trl\.beta: decided by .* 0\.04"):
        trl_settings.check(configured("optimize.trl.beta=0.1"))


def test_an_unknown_field_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnknownField, match=r"no such field. Did you mean adam_beta2\?"):
        trl_settings.check(configured("optimize.trl.adam_betta2=0.9"))
