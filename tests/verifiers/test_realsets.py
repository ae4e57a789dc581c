"""Sets of reals: no point of a long one is forgotten."""

import pytest

from verifiers import STRICT
from verifiers.equality import compare_cheap
from verifiers.parser import parse
from verifiers.realsets import NotReal, real_set


def points(count: int) -> str:
    return f"\\{{{','.join(map(str, range(count)))}\\}}"


def test_a_set_is_built_of_all_its_points_or_not_at_all() -> None:
    assert len(real_set(parse(points(100))).cuts) == 100
    with pytest.raises(NotReal):
        real_set(parse(points(101)))


@pytest.mark.parametrize("count", [100, 102])
def test_sets_that_differ_after_many_points_are_not_equal(count: int) -> None:
    candidate, gold = (f"{points(n)}\\cup(200,300)" for n in (count, 101))
    assert compare_cheap(candidate, gold, STRICT) is not True
