"""How pictures look: one theme on light and one on dark ground, direct labels, nothing else.

The colours are told apart by people with any colour vision (Okabe and Ito, "Color Universal
Design", 2008); the dark theme's are lighter shades of the same hues.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours by what they mean, so that a measure looks the same in every picture."""

    ground: str
    ink: str
    faint: str
    grid: str
    truth: str
    """The verifier, and what it finds true."""
    model: str
    """The reward model, and what it believes."""
    third: str
    fourth: str

    @property
    def cycle(self) -> tuple[str, ...]:
        """The colours of things that are alike, such as evaluation tasks."""
        return (self.truth, self.model, self.third, self.fourth, self.ink)


LIGHT = Theme(
    "#ffffff", "#1f2328", "#6a737d", "#e4e7eb", "#0072b2", "#d55e00", "#00896a", "#b0568a"
)
DARK = Theme("#15181c", "#e6e9ec", "#98a2ad", "#2c3239", "#5cb3e8", "#f2914a", "#3cc4a0", "#dd8fbc")

DPI = 200


@dataclass(frozen=True, slots=True)
class EndLabel:
    """A line's name, written beside its last point."""

    x: float
    y: float
    text: str
    colour: str


def figure(theme: Theme, panels: int = 1, size: tuple[float, float] = (5.6, 3.4)) -> Figure:
    """Return an empty figure of `panels` axes side by side that share their vertical axis.

    Made without pyplot: no global state, no window, no backend to choose.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=size, dpi=DPI, facecolor=theme.ground, layout="constrained")
    FigureCanvasAgg(made)
    for axes in made.subplots(1, panels, sharey=True, squeeze=False)[0]:
        plain(axes, theme)
    return made


def plain(axes: Axes, theme: Theme) -> None:
    """Take away the frame; keep faint horizontal lines to read values by."""
    axes.set_facecolor(theme.ground)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(theme.faint)
    axes.tick_params(colors=theme.faint, labelsize=8.5, length=0)
    axes.tick_params(axis="x", length=3)
    axes.grid(axis="y", color=theme.grid, linewidth=0.8)
    axes.set_axisbelow(True)


def title(axes: Axes, theme: Theme, text: str, below: str = "") -> None:
    """Write what is shown, and under it in which unit."""
    axes.set_title(text, loc="left", fontsize=10.5, color=theme.ink, pad=20 if below else 8)
    if below:
        axes.annotate(
            below,
            (0, 1),
            (0, 7),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=8.5,
            color=theme.faint,
        )


def label_ends(axes: Axes, labels: Sequence[EndLabel], lines: int = 1) -> None:
    """Write names of `lines` lines right of curves' ends, moved apart where they would touch."""
    low, high = axes.get_ylim()
    right = axes.get_xlim()[1]
    # In points, before the layout is fitted: titles will take about a tenth of it.
    height = axes.bbox.height * 72 / DPI * 0.9
    gap = (high - low) * (10.5 * lines + 3) / height
    ordered = sorted(labels, key=lambda label: label.y)
    places = spread([label.y for label in ordered], gap, low, high)
    for label, place in zip(ordered, places, strict=True):
        axes.annotate(
            label.text,
            (right, place),
            (6, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=label.colour,
            annotation_clip=False,
        )


def spread(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move ascending values apart to at least `gap`, each as little as needed, within bounds.

    Touching neighbours form a block around the mean of what they want, as in isotonic regression
    (pool adjacent violators). Bounds give way where there is no room.
    """
    blocks: list[list[float]] = []

    def start(block: Sequence[float]) -> float:
        middle = sum(block) / len(block)
        room = gap * (len(block) - 1)
        return min(max(middle - room / 2, low), max(high - room, low))

    for value in values:
        blocks.append([value])
        while len(blocks) > 1 and start(blocks[-2]) + gap * len(blocks[-2]) > start(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    return [start(block) + gap * i for block in blocks for i in range(len(block))]


def percent(axes: Axes) -> None:
    """Write the vertical axis in percent."""
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")


def smooth(values: Sequence[float], window: int) -> list[float]:
    """Return the mean of the `window` values up to and with each one (fewer at the start)."""
    means, total = [], 0.0
    for i, value in enumerate(values):
        total += value - (values[i - window] if i >= window else 0.0)
        means.append(total / min(i + 1, window))
    return means


def png(made: Figure, theme: Theme) -> bytes:
    """Return a figure's bytes, without the date and version that would make them differ."""
    buffer = io.BytesIO()
    made.savefig(buffer, format="png", facecolor=theme.ground, dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()
