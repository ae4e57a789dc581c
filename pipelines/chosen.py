"""The plug-ins that a configuration names, and what their files must have."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from iterative_grpo import plugins
from pipelines import datasets, prompts

if TYPE_CHECKING:
    from pipelines.config import Config

DATA = ("VERIFIER", "PROMPT", "read")
SPLITTER = ("Splitter",)

HOOKS = {
    "iterative_grpo.advantages": ("SHARES_ONLY",),
    "iterative_grpo.engines": ("READS_CHECKPOINTS", "check_options", "check_model", "lacking"),
    "pipelines.datasets": (
        "MADE",
        "check_steps",
        "demonstration",
        "faulty_demonstration",
        "identity",
    ),
    "pipelines.prompts": ("with_data",),
    "reward_models.labels": ("CONTINUES",),
    "reward_models.sources": ("JUDGED_BY",),
}
"""What files of a package may have besides: a run would not miss what is misspelt there."""

NEAR = 0.85
"""How alike, of 1, two names are of which one is taken for a misspelt other."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A plug-in by the name that the configuration gives it."""

    package: str
    name: str
    kind: str
    needs: tuple[str, ...] = ()

    def find(self) -> ModuleType:
        """Return its module; UnknownName or BrokenPlugin if there is none to use."""
        found = plugins.find(self.package, self.name, self.kind, self.needs)
        public = [name for name in vars(found) if not name.startswith("_")]
        for hook in (it for it in HOOKS.get(self.package, ()) if it not in public):
            for near in difflib.get_close_matches(hook, public, n=1, cutoff=NEAR):
                raise plugins.BrokenPlugin(
                    f"{self.kind} {self.name}: {found.__file__} has {near}, which nothing reads. "
                    f"Did you mean {hook}? If not, begin its name with _"
                )
        return found


def chosen(config: Config) -> Iterator[Choice]:
    """Yield what the configuration names, found or not."""
    published = "reward_models.published"
    for package, name, kind, needs in (
        ("pipelines.datasets", config.data.name, "data set", DATA),
        ("reward_models.sources", config.reward, "reward", ("build",)),
        ("reward_models.labels", config.label.labeler, "labeler", ("build",)),
        ("iterative_grpo.splitters", config.splitter, "splitter", SPLITTER),
        ("iterative_grpo.advantages", config.credit, "credit rule", ("Rule",)),
        ("iterative_grpo.engines", config.engine, "engine", ("load",)),
        ("verifiers.conventions", config.verifier, "verifier", ("extract",)),
        ("pipelines.prompts", config.policy.prompt, "prompt", prompts.NEEDS),
        ("iterative_grpo.splitters", config.evaluate.splitter, "splitter", SPLITTER),
        (published, config.published.convention, "reward convention", ()),
        (published, config.evaluate.reward_convention, "reward convention", ()),
        *(
            ("pipelines.datasets", datasets.parted(task)[0], "evaluation task", DATA)
            for task in config.evaluate.tasks
        ),
    ):
        if name is not None:
            yield Choice(package, name, kind, needs)


def fingerprints(config: Config) -> dict[str, str]:
    """Return the sha256 of each chosen plug-in's file, by kind and name."""
    return {
        f"{choice.kind} {choice.name}": hashlib.sha256(Path(file).read_bytes()).hexdigest()
        for choice in chosen(config)
        if (file := choice.find().__file__) is not None
    }
