"""Commands, configuration, phases, data sets and reports: Algorithm 1 as software.

from pipelines import load_config, run
run(load_config("arithmetic", ["run_dir=runs/mine", "supervision=process"]))
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.config import Config


def load_config(source: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Return the checked configuration of a file, or of a shipped one by its name."""
    from pipelines import settings

    return settings.load(settings.locate(Path(source)), overrides)


def run(config: Config, *, quiet: bool = False) -> Path:
    """Run Algorithm 1, or go on with a run; return the final policy's folder."""
    from pipelines import running

    return running.run(config, quiet=quiet)
