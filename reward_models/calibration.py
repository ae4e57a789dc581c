"""Calibration after training: a monotone map from scores to frequencies, fitted on held-out rows.

- "temperature" (Guo et al., arXiv:1706.04599): p' = sigmoid(logit(p) / T + b), T > 0. The offset b
  is a departure: a base rate that has moved between iterations shows as an offset.
- "isotonic": the non-decreasing step function nearest to the labels (pool adjacent violators),
  interpolated linearly; needs more rows, and makes ties.

A map that does not fall changes no order but by ties: pair accuracy and AUROC stay.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reward_models.diagnostics import Array, check_rows, flatten
from reward_models.examples import OneClass

VERSION = 1
_EDGE = 1e-6
Rows = Sequence[Sequence[float]]


class BrokenCalibration(ValueError):
    """A file that is no calibration, or one of a later format."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """A piecewise linear map of probabilities through the knots (x, y), constant beyond them."""

    kind: str
    x: tuple[float, ...]
    y: tuple[float, ...]

    def apply(self, scores: Rows) -> list[tuple[float, ...]]:
        """Return the calibrated scores."""
        return [tuple(np.interp(row, self.x, self.y).tolist()) for row in scores]

    def write(self, path: Path) -> None:
        """Write the map as JSON."""
        row = {"version": VERSION, "kind": self.kind, "x": self.x, "y": self.y}
        path.write_text(json.dumps(row) + "\n", encoding="ascii")


def read_calibration(path: Path) -> Calibration:
    """Read what `Calibration.write` wrote; BrokenCalibration if it is no such file."""
    try:
        row = json.loads(path.read_text(encoding="ascii"))
        if row["version"] > VERSION:
            raise ValueError(f"written in format {row['version']}, this program reads {VERSION}")
        return Calibration(row["kind"], tuple(row["x"]), tuple(row["y"]))
    except (ValueError, KeyError, TypeError) as error:
        raise BrokenCalibration(
            f"{path}: not a calibration ({error}); restore it, or remove it to use plain scores"
        ) from error


def fit(kind: str, scores: Rows, labels: Rows, problem_ids: Sequence[str]) -> Calibration:
    """Fit a map on rows that the model was not trained on. OneClass if all labels are alike."""
    if kind not in _FITS:
        raise ValueError(f"unknown calibration {kind!r}; known: {', '.join(_FITS)}")
    check_rows(scores, labels, problem_ids)
    flat_scores, flat_labels = flatten(scores), flatten(labels)
    if not 0 < flat_labels.mean() < 1:
        raise OneClass(
            f"all {len(flat_labels)} labels are {flat_labels[0]:g}; calibration needs right and "
            "wrong ones: hold out more problems"
        )
    x, y = _FITS[kind](flat_scores, flat_labels)
    return Calibration(kind, tuple(x.tolist()), tuple(y.tolist()))


def _temperature(scores: Array, labels: Array) -> tuple[Array, Array]:
    """Logistic regression of labels on logits; soft labels count as weighted right and wrong."""
    from sklearn.linear_model import LogisticRegression

    logits = _logit(scores)
    model = LogisticRegression(C=1e6)
    model.fit(
        np.concatenate([logits, logits])[:, None],
        np.repeat([1, 0], len(labels)),
        sample_weight=np.concatenate([labels, 1 - labels]),
    )
    slope, intercept = float(model.coef_[0, 0]), float(model.intercept_[0])
    if slope <= 0:
        # It would turn the order: such a model is no judge, calibration leaves it flat at the mean.
        slope, intercept = 0.0, float(_logit(labels.mean()))
    grid = np.concatenate([[0.0], _sigmoid(np.linspace(-9, 9, 361)), [1.0]])
    return grid, _sigmoid(slope * _logit(grid) + intercept)


def _isotonic(scores: Array, labels: Array) -> tuple[Array, Array]:
    from sklearn.isotonic import IsotonicRegression

    model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores, labels)
    return np.asarray(model.X_thresholds_), np.asarray(model.y_thresholds_)


def _sigmoid(logits: Array) -> Array:
    """1 / (1 + e^-z), without overflow: few rows that separate make slopes of hundreds."""
    values: Array = np.exp(-np.logaddexp(0, -logits))
    return values


def _logit(scores: Array) -> Array:
    clipped = np.clip(scores, _EDGE, 1 - _EDGE)
    logits: Array = np.log(clipped / (1 - clipped))
    return logits


_FITS: Mapping[str, Callable[[Array, Array], tuple[Array, Array]]] = {
    "temperature": _temperature,
    "isotonic": _isotonic,
}
