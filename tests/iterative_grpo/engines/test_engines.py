"""What comes back from an engine is what was asked for, or refused."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from iterative_grpo.engines import OddGroups, sampled_groups
from iterative_grpo.protocols import Samplings
from iterative_grpo.types import Completion, Finish, Prompt, Sampling

PROMPTS = [Prompt("a", (1,)), Prompt("b", (2,))]


class Returning:
    """Returns groups of these problems, whatever it is asked for."""

    def __init__(self, *groups: str) -> None:
        self.groups = groups

    def generate(self, prompts: Sequence[Prompt], sampling: Samplings) -> list[list[Completion]]:
        return [
            [Completion(problem, i, "", (), Finish.STOP) for i, problem in enumerate(group)]
            for group in self.groups
        ]


def test_groups_of_the_prompts_in_order_pass() -> None:
    one_for_all = sampled_groups(Returning("aa", "bb"), PROMPTS, Sampling(2, 4))
    assert [[it.problem_id for it in group] for group in one_for_all] == [["a", "a"], ["b", "b"]]
    assert sampled_groups(Returning("a", "bb"), PROMPTS, [Sampling(1, 4), Sampling(2, 4)])
    assert sampled_groups(Returning(), [], Sampling(2, 4)) == []


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        (("bb", "aa"), "group 0 is of 2 completions of b, asked for was 2 completions of a"),
        (("aa", "b"), "group 1 is of 1 completions of b, asked for was 2 completions of b"),
        (("aa",), "returned 1; group 1 is of nothing"),
        (("aa", "bb", "aa"), "returned 3; group 2 is of 2 completions of a, asked for was nothing"),
        (("aa", ""), "0 completions of no prompt"),
    ],
)
def test_others_are_refused(groups: tuple[str, ...], said: str) -> None:
    with pytest.raises(OddGroups, match=said):
        sampled_groups(Returning(*groups), PROMPTS, Sampling(2, 4))
