"""The report's pictures, one idea a file; each is drawn from what a run has written so far."""

from __future__ import annotations

from pipelines.report.pictures import (
    accuracy,
    distance,
    duration,
    gaming,
    judge,
    reliability,
    training,
    trust,
)
from pipelines.report.pictures.picture import NothingToDraw, Picture

__all__ = ["ALL", "NothingToDraw", "Picture"]

ALL: tuple[Picture, ...] = (
    accuracy.PICTURE,
    trust.PICTURE,
    gaming.PICTURE,
    distance.PICTURE,
    *training.PICTURES,
    *judge.PICTURES,
    reliability.PICTURE,
    duration.PICTURE,
)
"""In the order of the report."""
