"""Reward sources, one file each: completions in, step rewards out.

A source is given a splitter from outside and never asks whether it cuts steps or wholes. One that
needs no reward model of the run's own says who judges, in `JUDGED_BY`: such a run trains none.
"""

from __future__ import annotations

from iterative_grpo import plugins


def judged_by(name: str) -> str | None:
    """Return who gives a source's rewards where the run trains no reward model.

    None where it trains one, and for a name that no source has: others refuse that.
    """
    try:
        source = plugins.find(__name__, name, "reward")
    except (plugins.UnknownName, plugins.BrokenPlugin):
        return None
    found: str | None = getattr(source, "JUDGED_BY", None)
    return found
