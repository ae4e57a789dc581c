"""Commands, configuration, phases, data sets and reports: Algorithm 1 as software.

from pipelines import load_config, run
run(load_config("arithmetic", ["run_dir=runs/mine", "supervision=process"]))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.config import Config


def load_config(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Config:
    """Return the checked configuration of a file, of a shipped one by its name, or of a mapping.

    `overrides` are those of the command: `["run_dir=runs/mine", "supervision=process"]`.
    """
    from pipelines import settings

    if isinstance(overrides, str):
        raise TypeError(f"overrides is the text {overrides!r}; give a list, [{overrides!r}]")
    if isinstance(source, Mapping):
        return settings.load(source, overrides)
    return settings.load(settings.locate(Path(source)), overrides)


def run(config: Config, *, quiet: bool = False) -> Path:
    """Run Algorithm 1, or go on with a run; return the final policy's folder."""
    from pipelines import running
    from pipelines.config import Config as Checked

    if not isinstance(config, Checked):
        raise TypeError(f"run takes what load_config returns, found {config!r}")
    return running.run(config, quiet=quiet)
