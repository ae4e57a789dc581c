"""Labels that do not touch, means that are means, pictures that are the same bytes twice."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.report import style

heights = st.lists(st.floats(0, 1), min_size=1, max_size=8).map(sorted)


@given(heights)
def test_spread_keeps_order_gap_and_bounds(values: list[float]) -> None:
    places = style.spread(values, 0.1, 0.0, 1.0)
    assert len(places) == len(values)
    assert all(b - a >= 0.1 - 1e-9 for a, b in itertools.pairwise(places))
    assert places[0] >= 0
    assert places[-1] <= 1 + 1e-9


@given(heights)
def test_spread_leaves_alone_what_does_not_touch(values: list[float]) -> None:
    if all(b - a >= 0.1 for a, b in itertools.pairwise(values)):
        assert style.spread(values, 0.1, 0.0, 1.0) == pytest.approx(values)


def test_two_labels_that_touch_share_the_move() -> None:
    assert style.spread([0.50, 0.52], 0.1, 0, 1) == pytest.approx([0.46, 0.56])


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=40), st.integers(1, 7))
def test_smooth_is_the_mean_of_the_window(values: list[float], window: int) -> None:
    expected = [np.mean(values[max(0, i - window + 1) : i + 1]) for i in range(len(values))]
    assert style.smooth(values, window) == pytest.approx(expected, abs=1e-9)


def contrast(a: str, b: str) -> float:
    """WCAG 2 contrast ratio of two colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [style.LIGHT, style.DARK])
def test_every_colour_of_text_can_be_read(theme: style.Theme) -> None:
    for colour in (theme.ink, theme.faint, *theme.cycle):
        assert contrast(colour, theme.ground) >= 3.5, colour


def test_same_picture_same_bytes() -> None:
    made = [style.png(style.figure(style.LIGHT), style.LIGHT) for _ in range(2)]
    assert made[0] == made[1]
    assert made[0].startswith(b"\x89PNG")
