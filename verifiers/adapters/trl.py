"""A reward function that TRL's ``GRPOTrainer`` takes as it is.

    trainer = GRPOTrainer(model=..., reward_funcs=reward, train_dataset=...)

The data set has a column ``answer`` with gold answers (GSM8K's whole solutions will do). TRL itself
is not imported here.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from verifiers.batch import verify_many
from verifiers.policy import STRICT, Policy
from verifiers.verdict import Outcome

VALUES: Final[Mapping[Outcome, float | None]] = {
    Outcome.CORRECT: 1.0,
    Outcome.INCORRECT: 0.0,
    Outcome.NO_ANSWER: 0.0,
    Outcome.UNPARSED: 0.0,
    Outcome.TIMEOUT: 0.0,
}
"""The default reward of each outcome. None leaves the row out of this reward (TRL's rule)."""

Reward = Callable[..., list[float | None]]

_log = logging.getLogger(__name__)


def make_reward(
    *,
    convention: str = "math",
    policy: Policy = STRICT,
    timeout: float = 0.8,
    column: str = "answer",
    values: Mapping[Outcome, float | None] = VALUES,
    name: str = "verifier",
) -> Reward:
    """Build a reward function.

    Args:
        convention: how completions state their answers, "math" or "gsm8k".
        policy: which differences from the gold are forgiven.
        timeout: seconds for the symbolic stage of one row.
        column: the data set's column of gold answers.
        values: the reward of each outcome; TRL wants numbers, or None for "not this row".
        name: what TRL's logs call the reward.

    Returns:
        ``reward(prompts=None, completions=..., answer=[...], **columns)``, one value a completion.
        A completion is a text, or a conversation whose last message is the answer. The function
        raises GoldError for a gold that cannot be read, and warns when a row timed out: a verdict
        that was not reached is never a zero in silence.

    Raises:
        ValueError: ``values`` lacks an outcome.
    """
    missing = [outcome.name for outcome in Outcome if outcome not in values]
    if missing:
        raise ValueError(
            f"values has no reward for {', '.join(missing)}; give one for each outcome"
        )

    def reward(
        prompts: Sequence[Any] | None = None,
        completions: Sequence[Any] = (),
        **columns: Any,
    ) -> list[float | None]:
        if column not in columns:
            raise ValueError(
                f"the data set has no column {column!r}; columns: {', '.join(sorted(columns))}. "
                "Name the column of gold answers: make_reward(column=...)"
            )
        golds = columns[column]
        if len(golds) != len(completions):
            raise ValueError(f"{len(completions)} completions but {len(golds)} in {column!r}")
        pairs = [
            (_text(completion), _gold(column, row, gold))
            for row, (completion, gold) in enumerate(zip(completions, golds, strict=True))
        ]
        verdicts = verify_many(pairs, convention=convention, policy=policy, timeout=timeout)
        late = [verdict for verdict in verdicts if verdict.outcome is Outcome.TIMEOUT]
        if late:
            _log.warning(
                "%d of %d verdicts were not reached and give the reward %s; the first: %s",
                len(late),
                len(verdicts),
                values[Outcome.TIMEOUT],
                late[0].reason,
            )
        return [values[verdict.outcome] for verdict in verdicts]

    reward.__name__ = reward.__qualname__ = name
    return reward


def reward(
    prompts: Sequence[Any] | None = None, completions: Sequence[Any] = (), **columns: Any
) -> list[float | None]:
    """The reward with all defaults: 1 for a correct answer by MATH's convention, else 0."""
    return _default(prompts, completions, **columns)


_default = make_reward()


def _gold(column: str, row: int, gold: Any) -> str:
    if isinstance(gold, str | int | float) and not isinstance(gold, bool):
        return str(gold)
    raise TypeError(f"row {row} of {column!r} is {gold!r}; a text or a number was expected")


def _text(completion: Any) -> str:
    """The text of a completion: itself, or the content of its last message."""
    if isinstance(completion, str):
        return completion
    if isinstance(completion, Sequence) and completion:
        message = completion[-1]
        content = message.get("content") if isinstance(message, Mapping) else None
        if isinstance(content, str):
            return content
        if isinstance(content, Sequence):
            parts = [part.get("text", "") for part in content if isinstance(part, Mapping)]
            return "".join(part for part in parts if isinstance(part, str))
        if isinstance(message, Mapping) and content is None:
            return ""  # a message that only calls tools states no answer
    raise TypeError(
        f"a completion is a text or a list of messages, not {type(completion).__name__}: "
        f"{str(completion)[:80]!r}"
    )
