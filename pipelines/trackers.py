"""The trackers of `report_to`: which ones transformers knows, and which are installed."""

from __future__ import annotations

from pipelines import keywords


class NoTracker(ValueError):
    """A name in `report_to` that is no tracker, or one that is not installed."""


def check(names: tuple[str, ...]) -> None:
    """Raise NoTracker for a name that transformers cannot report to on this machine."""
    if not names or names in (("all",), ("none",)):
        return
    from transformers.integrations import integration_utils as trackers

    known = trackers.INTEGRATION_TO_CALLBACK
    installed = trackers.get_available_reporting_integrations()
    for name in names:
        if name not in known:
            hint = keywords.hint(name, known)
            raise NoTracker(
                f"report_to: unknown tracker {name!r}.{hint} Known: {', '.join(sorted(known))}."
            )
        if name in installed:
            continue
        try:
            known[name]()  # the list leaves some out, and a tracker says itself what it needs
        except (ImportError, RuntimeError) as error:
            raise NoTracker(
                f"report_to: {name} is not installed ({error}); install it, or leave it out"
            ) from None
