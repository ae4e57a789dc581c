"""Rows of a batch as an engine samples them, and as records."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from iterative_grpo.engines._requests import per_prompt
from iterative_grpo.protocols import Samplings
from iterative_grpo.trl_seam.rows import EngineRows, records_of_trl
from iterative_grpo.types import Completion, Finish, Problem, Prompt, Sampling

A, B = (5, 6), (7,)


class Counting:
    """Answers with the number of the group and the sample; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[int, ...], int]] = []
        self.names: list[str] = []

    def generate(self, prompts: Sequence[Prompt], sampling: Samplings) -> list[list[Completion]]:
        self.names += [prompt.problem_id for prompt in prompts]
        sizes = [own.group_size for own in per_prompt(prompts, sampling)]
        self.asked += zip((prompt.token_ids for prompt in prompts), sizes, strict=True)
        return [
            [
                Completion(prompt.problem_id, n, f"{group}.{n}", (group, n), Finish.STOP, (-1.0,))
                for n in range(size)
            ]
            for group, (prompt, size) in enumerate(zip(prompts, sizes, strict=True))
        ]


@pytest.mark.parametrize(
    ("rows", "groups"),
    [
        ([A, A, B, B], [(A, 2), (B, 2)]),
        ([A, A, A, A], [(A, 2), (A, 2)]),  # the same question twice in a batch: two groups
        ([A, B, B, A], [(A, 1), (B, 2), (A, 1)]),  # groups that a border of processes has cut
    ],
)
def test_equal_neighbours_are_sampled_as_one_group(
    rows: list[tuple[int, ...]], groups: list[tuple[tuple[int, ...], int]]
) -> None:
    engine = Counting()
    found = EngineRows(engine).sample(rows, Sampling(group_size=2, max_tokens=4))
    assert engine.asked == groups
    assert len(set(engine.names)) == len(groups)
    assert [ids.tolist() for ids in found] == [
        [group, n] for group, (_, size) in enumerate(groups) for n in range(size)
    ]


def test_trl_is_told_the_engine_s_texts_and_has_its_tokenizer_back() -> None:
    rows = EngineRows(Counting())
    rows.sample([A, A, B, B], Sampling(group_size=2, max_tokens=4))
    tokenizer = object()
    trainer = SimpleNamespace(processing_class=tokenizer)
    with rows.decoded(trainer):
        texts = trainer.processing_class.batch_decode([], skip_special_tokens=True)
    assert texts == ["0.0", "0.1", "1.0", "1.1"]
    with pytest.raises(AttributeError), rows.decoded(trainer):
        trainer.processing_class.apply_chat_template([])
    assert trainer.processing_class is tokenizer


def test_records_are_of_the_rows_problems() -> None:
    rows = EngineRows(Counting())
    rows.sample([A, A, B, B], Sampling(group_size=2, max_tokens=4))
    problems = [Problem(name, "", "", "toy") for name in "aabb"]
    assert rows.records(problems, 2) == [
        Completion(problem.id, n % 2, f"{n // 2}.{n % 2}", (n // 2, n % 2), Finish.STOP)
        for n, problem in enumerate(problems)
    ]


def test_rows_of_trl_end_at_an_eos_alone() -> None:
    problems = [Problem("a", "", "", "toy")] * 3
    found = records_of_trl(problems, ["1", "2", "3"], [[4, 2], [2, 4], [4, 9]], [2, 9], 2)
    assert found == [
        Completion("a", 0, "1", (4, 2), Finish.STOP),
        Completion("a", 1, "2", (2, 4), Finish.LENGTH),
        Completion("a", 0, "3", (4, 9), Finish.STOP),
    ]
