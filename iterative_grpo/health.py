"""The figures that show a policy gaming its reward, before accuracy shows it.

Padding with steps, collapse to one step, empty outputs, repetition, saturated groups, and a reward
model that is believed against the verifier: each has a figure here. A figure that the rollouts do
not define is left out. docs/run_directory.md says how to read them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from iterative_grpo.normalize import deviation, pool
from iterative_grpo.rollouts import Rollout
from iterative_grpo.types import Finish

POSITIONS = 8
"""Step positions and step counts that have a figure of their own; the last one takes the rest."""

GRAM = 3
LIKED = 0.5
"""A score of one half and more says "right"."""

Figures = dict[str, float]


def health(rollouts: Sequence[Rollout], group_size: int) -> Figures:
    """Return the figures of one generation: consecutive groups of `group_size` rollouts."""
    groups = [rollouts[i : i + group_size] for i in range(0, len(rollouts), group_size)]
    repeated = [repetition(rollout.text) for rollout in rollouts]
    return {
        **shape(rollouts),
        "repetition": _mean(repeated),
        **advantage(rollouts),
        "reward_std": _mean(deviation(pool([r.rewards.values for r in group])) for group in groups),
        # Which of the rewards have to differ depends on the credit rule.
        "frac_skipped_groups": _share(
            not any(value for r in group for value in r.advantages) for group in groups
        ),
        **components(rollouts),
        **by_verdict(rollouts, repeated),
        **belief(groups),
    }


def shape(rollouts: Sequence[Rollout]) -> Figures:
    """Return shares of truncated, empty and one-step outputs, and mean steps."""
    return {
        "truncated": _share(r.finish is Finish.LENGTH for r in rollouts),
        "empty": _share(not r.text.strip() for r in rollouts),
        "one_step": _share(len(r.advantages) == 1 for r in rollouts),
        "steps_per_output": _mean(len(r.advantages) for r in rollouts),
    }


def repetition(text: str) -> float:
    """Return the share of a text's word trigrams that stood in it before: 1 - distinct / all.

    The measure "seq-rep" of arXiv:1908.04319; 0 for a text of fewer than four words.
    """
    words = text.split()
    grams = list(zip(*(words[i:] for i in range(GRAM)), strict=False))
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def advantage(rollouts: Sequence[Rollout]) -> Figures:
    """Return the size of advantages by step position, and what the first token's depends on.

    `first_advantage/n`: the mean of outputs of n steps. `first_advantage_per_step`: its slope, what
    one more step is worth to the rule among outputs of one verdict; compared over all outputs, a
    rule that is only right would look as if it disliked steps where wrong outputs are longer.
    """
    squares: dict[int, list[float]] = defaultdict(list)
    firsts: dict[int, list[float]] = defaultdict(list)
    for rollout in rollouts:
        for position, value in enumerate(rollout.advantages, start=1):
            squares[min(position, POSITIONS)].append(value * value)
        firsts[min(len(rollout.advantages), POSITIONS)].append(rollout.advantages[0])
    everything = [square for found in squares.values() for square in found]
    figures = {"advantage_rms": math.sqrt(_mean(everything))}
    for position, found in sorted(squares.items()):
        figures[f"advantage_rms/{position}"] = math.sqrt(_mean(found))
    for steps, found in sorted(firsts.items()):
        figures[f"first_advantage/{steps}"] = _mean(found)
    slope = _slope(
        [
            [(float(len(r.advantages)), r.advantages[0]) for r in rollouts if r.correct is verdict]
            for verdict in (True, False, None)
        ]
    )
    return figures if slope is None else {**figures, "first_advantage_per_step": slope}


def components(rollouts: Sequence[Rollout]) -> Figures:
    """Return the mean of each part of the reward over the outputs that have it.

    `share/NAME` says how many have it, where a mixture does not ask for it everywhere.
    """
    figures: Figures = {}
    for name in sorted({name for r in rollouts for name in r.rewards.components}):
        having = [r.rewards.components[name] for r in rollouts if name in r.rewards.components]
        figures[f"reward/{name}"] = _mean(map(_mean, having))
        if len(having) < len(rollouts):
            figures[f"share/{name}"] = len(having) / len(rollouts)
    return figures


def by_verdict(rollouts: Sequence[Rollout], repeated: Sequence[float]) -> Figures:
    """Return the verifier's accuracy, and steps, tokens and repetition by its verdict."""
    places = {verdict: [i for i, r in enumerate(rollouts) if r.correct is verdict]
              for verdict in (True, False)}  # fmt: skip
    right, judged = len(places[True]), sum(map(len, places.values()))
    if not judged:
        return {}
    figures = {"verifier_accuracy": right / judged}
    measures = {
        "steps": [len(r.advantages) for r in rollouts],
        "tokens": [r.tokens for r in rollouts],
        "repetition": repeated,
    }
    for name, verdict in (("correct", True), ("incorrect", False)):
        for measure, values in measures.items():
            if places[verdict]:
                figures[f"{measure}_{name}"] = _mean(values[i] for i in places[verdict])
    return figures


def belief(groups: Sequence[Sequence[Rollout]]) -> Figures:
    """Return what the reward model says of whole outputs, against the verdicts on the same ones.

    `score`: its mean. `gap`: score minus the share of right ones (`Rollout.right`: an output that
    the limit cut off is not, since its score is the lowest whatever the model says).
    `pair_accuracy`: the share of the pairs of a right and a wrong output of one group that it
    orders rightly, ties half. `liked_wrong`, `disliked_right`: shares of outputs on which the two
    disagree.
    """
    judged = [[(r.score, r.right) for r in group if r.right is not None] for group in groups]
    known = [[(s, right) for s, right in group if s is not None] for group in judged]
    flat = [pair for group in known for pair in group]
    if not flat:
        return {}
    score, accuracy = _mean(s for s, _ in flat), _share(right for _, right in flat)
    figures = {
        "score": score,
        "gap": score - accuracy,
        "liked_wrong": _share(s >= LIKED and not right for s, right in flat),
        "disliked_right": _share(s < LIKED and right for s, right in flat),
    }
    ordered = [
        1.0 if above > below else 0.5 if above == below else 0.0
        for group in known
        for above in (s for s, right in group if right)
        for below in (s for s, right in group if not right)
    ]
    return {**figures, "pair_accuracy": _mean(ordered)} if ordered else figures


def _slope(classes: Sequence[Sequence[tuple[float, float]]]) -> float | None:
    """Return the least-squares slope of y on x with an intercept for each class."""
    common = spread = 0.0
    for points in classes:
        mean_x, mean_y = _mean(x for x, _ in points), _mean(y for _, y in points)
        common += math.fsum((x - mean_x) * (y - mean_y) for x, y in points)
        spread += math.fsum((x - mean_x) ** 2 for x, _ in points)
    return common / spread if spread > 0 else None


def _share(flags: Iterable[bool]) -> float:
    return _mean(1.0 if flag else 0.0 for flag in flags)


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return math.fsum(listed) / len(listed) if listed else 0.0
