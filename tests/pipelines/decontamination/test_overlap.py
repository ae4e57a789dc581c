"""Kinds of pairs by example, and the search against comparing all pairs."""

from __future__ import annotations

import random

import pytest

from pipelines.decontamination.overlap import PIECE, Index, Match
from reward_models.questions import question_digest

MUG = "Ida buys 12 blue mugs for 3 dollars each and sells 5 of them. How many mugs does she keep?"


def strongest(train: str, *asked: str, similarity: float = 0.8, words: int = 13) -> Match | None:
    return Index(asked, similarity, words).strongest(train)


@pytest.mark.parametrize(
    ("train", "kind"),
    [
        (MUG, "exact"),
        (MUG.upper().replace(" ", "  ").replace(".", " .\n"), "exact"),
        (MUG.replace("blue", "bIue").replace("I", "l"), "near"),
        (MUG.replace("keep?", "keep now?"), "near"),
        (MUG.replace("12", "17"), "template"),
        (MUG.replace("12", "3").replace(" 3 ", " 12 "), "template"),
        ("Once more. " + MUG.replace("How many mugs does she keep?", "What now?" * 4), "ngram"),
        ("A train leaves at noon and arrives 3 hours later. When does it arrive?", None),
        ("", None),
    ],
)
def test_kinds(train: str, kind: str | None) -> None:
    found = strongest(train, "Something else is asked here.", MUG)
    assert (found and found.kind) == kind
    assert found is None or found.other == 1


@pytest.mark.parametrize(
    ("train", "asked"),
    [
        ("Is 1,250 times 3 odd or even?", "Is 1250 times 3 odd or even?"),
        ("Find x. 3x = 9", "Find x: 3x=9"),
    ],
)
def test_exact_is_what_the_reward_model_takes_for_one_question(train: str, asked: str) -> None:
    assert strongest(train, asked) == Match("exact", 0, 1.0)
    assert question_digest(train) == question_digest(asked)


def test_a_number_reads_the_same_with_thousands_separators() -> None:
    train = MUG.replace("12", "1,250")
    found = strongest(train, train.replace("1,250", "1250").replace("keep?", "keep now?"))
    assert found is not None
    assert found.kind == "near"


@pytest.mark.parametrize(
    ("one", "other"), [("(2,3)", "(23)"), ("1.5", "15"), ("(2,34)", "(23,4)"), ("1,50", "150")]
)
def test_a_comma_or_point_makes_other_numbers(one: str, other: str) -> None:
    frame = "A long question about the point {} on a line that has been drawn before: where is it?"
    found = strongest(frame.format(one), frame.format(other))
    assert found is not None
    assert found.kind == "template"


def test_the_stronger_kind_wins_over_the_greater_similarity() -> None:
    near, template = MUG.replace("keep?", "keep now?"), MUG.replace("12", "17")
    found = strongest(MUG, template, near)
    assert found is not None
    assert (found.kind, found.other) == ("near", 1)
    assert found.similarity < 1.0


def test_questions_shorter_than_the_run_of_words_share_none() -> None:
    assert strongest("One two three.", "Zero, one two three.", similarity=0.99) is None
    found = strongest("One two three.", "Zero, one two three.", similarity=0.99, words=3)
    assert found == Match("ngram", 0, 1.0)


def test_the_share_of_common_runs_is_that_of_the_shorter_question() -> None:
    asked = "a b c d e f g h"  # seven runs of two words
    train = "a b c d z z1 z2 z3 z4 z5 z6 z7 z8"
    assert strongest(train, asked, words=2) == Match("ngram", 0, 3 / 7)


def pieces(text: str) -> set[str]:
    flat = "".join(text.casefold().split())
    return {flat[i : i + PIECE] for i in range(len(flat) - PIECE + 1)}


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9, 1.0])
def test_finds_what_comparing_all_pairs_finds(threshold: float) -> None:
    draw = random.Random(f"overlap/{threshold}")
    words = [f"{a}{b}{c}" for a in "bdk" for b in "aeiou" for c in ("rn", "st", "mble")]
    first = [" ".join(draw.choices(words, k=draw.randint(5, 14))) for _ in range(60)]
    second = []
    for text in first * 2:
        changed = text.split()
        for _ in range(draw.randint(0, 3)):
            changed[draw.randrange(len(changed))] = draw.choice(words)
        second.append(" ".join(changed))
    index = Index(second, threshold, words=1_000)
    matched = 0
    for text in first:
        own = pieces(text)
        best = max(len(own & pieces(o)) / len(own | pieces(o)) for o in second)
        found = index.strongest(text)
        if best >= threshold:
            matched += 1
            assert found is not None
            assert found.similarity == pytest.approx(best)
            other = pieces(second[found.other])
            assert len(own & other) / len(own | other) == pytest.approx(best)
        else:
            assert found is None
    assert matched > 10


def test_a_question_that_is_the_beginning_of_another_is_found_at_the_very_threshold() -> None:
    """All that is rare in the longer one stands in it alone: just one shared piece is looked up."""
    found = strongest("abcdefghijklmn", "abcdefghi", similarity=0.5)
    assert found == Match("near", 0, 0.5)


def test_of_equal_matches_the_first_is_named() -> None:
    found = strongest(MUG, "Something else.", MUG, MUG)
    assert found == Match("exact", 1, 1.0)
    twins = [MUG.replace("keep?", f"keep {word}?") for word in ("nob", "noa", "noc")]
    found = strongest(MUG, *twins)
    assert found is not None
    assert (found.kind, found.other) == ("near", 0)


def test_digits_of_any_width_are_the_same_numbers() -> None:
    wide = MUG.replace("12", "\uff11\uff12").replace("keep?", "keep now?")
    found = strongest(wide, MUG)
    assert found is not None
    assert found.kind == "near"
