"""Names in the configuration to the parts they name. `supervision` is read here, and only here."""

from __future__ import annotations

from typing import cast

from iterative_grpo import plugins
from iterative_grpo.normalize import Normalizer
from iterative_grpo.protocols import CreditRule, Splitter
from pipelines.config import Config


def splitter(config: Config) -> Splitter:
    """Return what cuts a solution into steps."""
    found = plugins.find("iterative_grpo.splitters", splitter_name(config), "splitter")
    return cast(Splitter, found.Splitter())


def splitter_name(config: Config) -> str:
    """Return the splitter's name: under outcome supervision the whole text is one step."""
    return {"outcome": "whole", "process": config.splitter}[config.supervision]


def cuts_steps(config: Config) -> bool:
    """Whether solutions are cut into steps at all."""
    return splitter_name(config) != "whole"


def continues_prefixes(config: Config) -> bool:
    """Whether labels need the policy to continue prefixes: steps, and a labeler that samples."""
    return cuts_steps(config) and config.label.labeler not in ("exact", "verdict")


def credit_rule(config: Config) -> CreditRule:
    """Return the configured credit rule."""
    rules = plugins.find("iterative_grpo.advantages", config.credit, "credit rule")
    return cast(CreditRule, rules.Rule())


def normalizer(config: Config) -> Normalizer:
    """Return the group normalisation of the policy phase."""
    return Normalizer(scale=config.optimize.scale, std_floor=config.optimize.std_floor)
