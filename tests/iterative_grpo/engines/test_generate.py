"""What only the reference engine promises: calls of `generate` within a budget of tokens."""

from __future__ import annotations

from typing import Any

import pytest

from iterative_grpo.engines import generate
from iterative_grpo.types import Sampling
from tests.iterative_grpo.engines import tiny

Sizes = dict[int, tuple[int, Sampling]]

MANY: Sizes = {0: (4, Sampling(3, 6)), 1: (8, Sampling(2, 6)), 2: (4, Sampling(1, 2))}
LONG_FIRST: Sizes = {0: (20, Sampling(1, 5)), 1: (2, Sampling(3, 5))}
LATE_LIMIT: Sizes = {0: (10, Sampling(1, 2)), 1: (3, Sampling(1, 9))}


@pytest.mark.parametrize(
    ("sizes", "tokens", "context", "expected"),
    [
        (MANY, 30, None, [[2, 0, 0], [0, 1], [1]]),
        (MANY, 29, None, [[2, 0], [0, 0], [1, 1]]),
        (MANY, 1, None, [[2], [0], [0], [0], [1], [1]]),
        (LONG_FIRST, 30, None, [[0], [1, 1, 1]]),
        (LATE_LIMIT, 99, 19, [[0, 1]]),
        (LATE_LIMIT, 99, 18, [[0], [1]]),
    ],
)
def test_rows_are_called_together_within_the_budget_and_the_context(
    sizes: Sizes, tokens: int, context: int | None, expected: list[list[int]]
) -> None:
    assert list(generate._batches(sizes, tokens, context)) == expected


def test_an_engine_keeps_to_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model("llama")
    rows: list[int] = []
    sample = model.generate

    def counted(**options: Any) -> Any:
        rows.append(len(options["input_ids"]))
        return sample(**options)

    monkeypatch.setattr(model, "generate", counted)
    for tokens in (20, 40):
        engine = generate.load(model, tiny.NoEos(), batch_tokens=tokens)
        engine.generate(tiny.prompts(4, 4), Sampling(2, 6))
    assert rows == [2, 2, 4]


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_tokens is 0, must be at least 1"):
        generate.load(tiny.model("llama"), tiny.NoEos(), batch_tokens=0)
