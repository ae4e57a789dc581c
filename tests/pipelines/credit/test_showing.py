"""Tables and pictures: what they show is what was computed, and hostile text stays text."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import pytest
from matplotlib.patches import Rectangle

from iterative_grpo.types import StepRewards
from pipelines.credit import excerpt, picture, terminal
from pipelines.credit.comparison import Comparison, Solution, compare
from pipelines.report import style
from pipelines.report.run import read
from tests.pipelines.credit.synthetic import HOSTILE, write_run


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return compare(read(write_run(tmp_path_factory.mktemp("credit") / "run")), 1)


@pytest.fixture(scope="module")
def hostile(found: Comparison) -> Solution:
    (solution,) = [s for s in found.solutions if s.rollout.text == HOSTILE]
    return solution


def test_bars_are_as_long_as_the_advantages(found: Comparison, hostile: Solution) -> None:
    figure = picture.draw(hostile, found.rules, style.LIGHT)
    rewards, *columns = [
        [bar.get_width() for bar in axes.patches if isinstance(bar, Rectangle)]
        for axes in figure.axes
    ]
    assert rewards == list(hostile.rollout.rewards.values)
    for rule, lengths in zip(found.rules, columns, strict=True):
        assert lengths == pytest.approx(hostile.advantages[rule])
    limits = {axes.get_xlim() for axes in figure.axes[1:]}
    assert len(limits) == 1, "bars of different rules compare only on one scale"


def test_a_picture_of_hostile_text_is_drawn(found: Comparison, hostile: Solution) -> None:
    made = picture.png(hostile, found.rules)
    assert made.startswith(b"\x89PNG")
    assert made == picture.png(hostile, found.rules)


def test_the_table_has_every_number(found: Comparison) -> None:
    (solution,) = found.solutions[:1]
    lines = terminal.text(found, limit=1).splitlines()
    assert lines[0] == excerpt.heading(solution)
    first = next(line for line in lines if line.startswith(" 1 "))
    for rule in found.rules:
        assert f"{solution.advantages[rule][0]:+z.2f}" in first
    assert any(line.startswith("sum*") for line in lines)


def test_each_step_is_shown_with_its_own_text_and_reward(hostile: Solution) -> None:
    rewards = StepRewards((6, 12, 15), (0.25, 0.5, 1.0))
    rollout = replace(hostile.rollout, text="1+1=2\n2+2=4\nend", rewards=rewards)
    shown = excerpt.steps(replace(hostile, rollout=rollout), 20)
    assert [(it.number, it.text, it.reward) for it in shown] == [
        (1, "1+1=2", 0.25), (2, "2+2=4", 0.5), (3, "end", 1.0),
    ]  # fmt: skip


def test_the_heading_says_what_the_verifier_said(hostile: Solution) -> None:
    for correct, said in ((True, ": correct,"), (False, ": incorrect,"), (None, "not verified")):
        rollout = replace(hostile.rollout, correct=correct)
        assert said in excerpt.heading(replace(hostile, rollout=rollout))


def test_the_limit_is_kept(found: Comparison) -> None:
    def shown(limit: int) -> int:
        return terminal.text(found, limit).count("policy step")

    assert [shown(0), shown(3), shown(99)] == [0, 3, len(found.solutions)]


def test_the_terminal_gets_no_control_characters(found: Comparison) -> None:
    text = terminal.text(found, limit=99)
    assert "\\u202e\\x1b[31m[b]$" in text
    assert {c for c in text if unicodedata.category(c) in ("Cc", "Cf")} <= {"\n"}


def test_fits_a_terminal_of_eighty_columns(found: Comparison) -> None:
    assert max(len(line) for line in terminal.text(found, 4, width=80).splitlines()) <= 80


def test_long_texts_and_many_steps_are_cut() -> None:
    assert excerpt.cut("a b\n\tc", 10) == "a b c"
    assert excerpt.cut("x" * 10**6, 10) == "x" * 9 + "…"
    assert excerpt.cut("\x00" * 9, 8) == "\\x00\\x0…"


def test_many_steps_are_left_out_and_counted(hostile: Solution) -> None:
    count = excerpt.MOST + 7
    rewards = StepRewards(tuple(range(1, count + 1)), (0.5,) * count)
    rollout = replace(hostile.rollout, text="y" * count, rewards=rewards)
    long = replace(hostile, rollout=rollout, advantages={"sum": (0.1,) * count})
    assert len(excerpt.steps(long, 20)) == excerpt.MOST
    assert excerpt.left_out(long) == "7 more steps"
    assert len(picture.draw(long, ["sum"], style.LIGHT).axes[1].patches) == excerpt.MOST
    assert excerpt.left_out(hostile) == ""
