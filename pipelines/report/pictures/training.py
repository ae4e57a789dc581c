"""The policy's training, one measure a picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.report import style
from pipelines.report.pictures.picture import (
    NothingToDraw,
    Picture,
    curve,
    draw_curve,
    needs_steps,
    step_axis,
)
from pipelines.report.run import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class _Line:
    """A key of metrics/steps.jsonl, the name beside its line, and the theme's colour for it."""

    key: str
    text: str
    colour: str


@dataclass(frozen=True, slots=True)
class _Measure:
    """A picture's lines, its title and unit, and how its vertical axis is bounded.

    `floor` is the lowest value that the measure can take. `calm` is the least height of the axis
    as a share of the largest value, so that a measure that hardly moves looks calm. A measure
    that is `trivial` at every step is not drawn, nor one that is to move and is `still`.
    One of the reward model is `judged`.
    """

    lines: tuple[_Line, ...]
    title: str
    unit: str
    floor: float | None = None
    share: bool = False
    calm: float = 0.0
    trivial: float | None = None
    still: bool = False
    judged: bool = False


def _drawer(measure: _Measure) -> Callable[[Run, style.Theme], Figure]:
    def draw(run: Run, theme: style.Theme) -> Figure:
        needs_steps(run)
        curves = [(line, curve(run.steps, line.key)) for line in measure.lines]
        curves = [(line, values) for line, values in curves if values.x]
        if not curves:
            if measure.judged and run.rewarded_by:
                raise NothingToDraw(f"the policy is rewarded by {run.rewarded_by}")
            keys = " or ".join(line.key for line in measure.lines)
            raise NothingToDraw(f"no policy step has logged {keys}")
        if measure.trivial is not None and all(
            y == measure.trivial for _, values in curves for y in values.y
        ):
            raise NothingToDraw(f"it is {measure.trivial:g} throughout")
        if measure.still and all(len(set(values.y)) == 1 for _, values in curves):
            raise NothingToDraw(f"it is {curves[0][1].y[0]:g} throughout")
        figure = style.figure(theme, size=(5.6, 2.8))
        axes = figure.axes[0]
        ends = []
        for line, values in curves:
            colour: str = getattr(theme, line.colour)
            last = draw_curve(axes, values, colour)
            shown = f"{last:.1%}" if measure.share else f"{last:#.3g}"
            ends.append(style.EndLabel(values.x[-1], last, f"{line.text} {shown}".strip(), colour))
        _calm(axes, measure.calm)
        if measure.floor is not None and axes.get_ylim()[0] < measure.floor:
            axes.set_ylim(bottom=measure.floor)
        if measure.share:
            top = max(max(values.y) for _, values in curves)
            axes.set_ylim(0, max(0.05, top * 1.05))
            style.percent(axes)
        style.title(axes, theme, measure.title, measure.unit)
        step_axis(axes, theme, run.steps)
        style.label_ends(axes, ends)
        return figure

    return draw


def _calm(axes: Axes, share: float) -> None:
    """Widen the vertical axis around its middle to at least a share of its largest value."""
    low, high = axes.get_ylim()
    missing = share * abs(high) - (high - low)
    if missing > 0:
        axes.set_ylim(low - missing / 2, high + missing / 2)


def _one(key: str) -> tuple[_Line, ...]:
    return (_Line(key, "", "ink"),)


def _by_verdict(measure: str) -> tuple[_Line, ...]:
    return (
        _Line(f"{measure}_correct", "correct", "truth"),
        _Line(f"{measure}_incorrect", "incorrect", "model"),
    )


PICTURES = (
    Picture(
        "reward",
        "Reward",
        "What the policy is trained to raise: the mean over a step's outputs.",
        _drawer(_Measure(_one("reward"), "Reward", "mean over the step's outputs")),
    ),
    Picture(
        "reward_std",
        "Spread of rewards",
        "How much the outputs of one question differ in reward: what the policy learns from.",
        _drawer(
            _Measure(
                _one("reward_std"), "Spread of rewards within groups", "standard deviation", 0.0
            )
        ),
    ),
    Picture(
        "idle_groups",
        "Groups without spread",
        "The rewards that the credit rule reads are alike in such a group, so it teaches nothing.",
        _drawer(
            _Measure(
                _one("frac_skipped_groups"),
                "Groups without spread",
                "share of the step's groups",
                0.0,
                True,
            )
        ),
    ),
    Picture(
        "completion_length",
        "Length of outputs",
        "A length that grows without the accuracy is padding; one that falls is stopping early.",
        _drawer(
            _Measure(_one("completion_length"), "Length of outputs", "mean, tokens", 0.0, calm=0.3)
        ),
    ),
    Picture(
        "entropy",
        "Entropy",
        "How undecided the policy is. Near zero it samples one answer and cannot learn any more.",
        _drawer(
            _Measure(_one("entropy"), "Entropy of the policy", "mean, nats a token", floor=0.0)
        ),
    ),
    Picture(
        "truncated",
        "Truncated outputs",
        "Share of outputs that the token limit cut off.",
        _drawer(
            _Measure(
                _one("truncated"), "Truncated outputs", "share of the step's outputs", 0.0, True
            )
        ),
    ),
    Picture(
        "steps_per_output",
        "Steps an output",
        "Process rewards can be gamed by more or fewer steps: watch correct and incorrect outputs "
        "part.",
        _drawer(
            _Measure(
                _by_verdict("steps"),
                "Steps an output",
                "mean over correct and over incorrect outputs",
                floor=0.0,
                calm=0.3,
                trivial=1.0,
            )
        ),
    ),
    Picture(
        "length_by_verdict",
        "Length by verdict",
        "Wrong outputs that grow while right ones do not are padded, or never end.",
        _drawer(
            _Measure(
                _by_verdict("tokens"),
                "Length of correct and of incorrect outputs",
                "mean, tokens",
                floor=0.0,
                calm=0.3,
            )
        ),
    ),
    Picture(
        "repetition",
        "Repetition by verdict",
        "Share of an output's word trigrams that stood in it before. A reward model that loves "
        "repetition shows here first.",
        _drawer(
            _Measure(
                _by_verdict("repetition"),
                "Repetition in correct and in incorrect outputs",
                "mean share of repeated word trigrams",
                floor=0.0,
                share=True,
                trivial=0.0,
            )
        ),
    ),
    Picture(
        "disagreement",
        "Where model and verifier disagree",
        "Outputs that the reward model likes (at one half) and the verifier finds wrong, and the "
        "other way round. The first kind growing is how reward hacking begins.",
        _drawer(
            _Measure(
                (
                    _Line("liked_wrong", "liked, wrong", "model"),
                    _Line("disliked_right", "disliked, right", "truth"),
                ),
                "Reward model and verifier disagree",
                "share of the step's outputs",
                floor=0.0,
                share=True,
                judged=True,
            )
        ),
    ),
    Picture(
        "policy_pairs",
        "Order within groups",
        "Of a group's pairs of a right and a wrong output, the share that the reward model orders "
        "rightly: what GRPO learns from. At a half it is chance.",
        _drawer(
            _Measure(
                _one("pair_accuracy"),
                "Pairs of a group that the model orders rightly",
                "share, on the policy's own rollouts",
                floor=0.0,
                calm=0.3,
                judged=True,
            )
        ),
    ),
    Picture(
        "step_worth",
        "What one more step is worth",
        "The slope of the first token's advantage over the number of steps, at equal verdict. "
        "Above zero the credit rule pays for padding, below zero for leaving steps out.",
        _drawer(
            _Measure(
                _one("first_advantage_per_step"),
                "What one more step is worth",
                "advantage of the first token a step",
            )
        ),
    ),
    Picture(
        "beta",
        "KL coefficient",
        "The adaptive coefficient: it rises while the policy is further from its reference than "
        "the target.",
        _drawer(_Measure(_one("beta"), "KL coefficient", "beta", floor=0.0, still=True)),
    ),
)
