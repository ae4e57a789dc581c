"""Properties: what is equal by construction is equal, in any notation; what differs is not."""

from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from verifiers import STRICT, verify
from verifiers.equality import compare_cheap

integers = st.integers(-(10**12), 10**12)
small = st.integers(-40, 40)
fractions = st.builds(Fraction, st.integers(-999, 999), st.integers(1, 999))


def latex(number: Fraction) -> str:
    if number.denominator == 1:
        return str(number.numerator)
    sign = "-" if number < 0 else ""
    return f"{sign}\\frac{{{abs(number.numerator)}}}{{{number.denominator}}}"


def same(candidate: str, gold: str) -> bool | None:
    return compare_cheap(candidate, gold, STRICT)


@given(integers)
@example(1)
@example(-1)
@example(0)
def test_an_integer_in_other_spellings(n: int) -> None:
    gold = str(n)
    for spelled in (f"{n:,}", f"{n}.0", f"({n})", f"\\text{{{n}}}", f"x = {n}", f"{n}\\%"):
        assert same(spelled, gold) is True
    assert same(f"{n:,}".replace(",", "{,}"), gold) is True
    assert same(f"{n:,}".replace(",", "\\,"), gold) is True


@given(integers, integers)
def test_integers_are_equal_only_to_themselves(m: int, n: int) -> None:
    assert same(str(m), str(n)) is (m == n)
    assert same(f"{m},{n}", str(n)) is not True


@given(fractions, st.integers(2, 50))
def test_a_fraction_in_other_spellings(q: Fraction, k: int) -> None:
    gold = latex(q)
    sign = "-" if q < 0 else ""
    top, bottom = abs(q.numerator), q.denominator
    spellings = [
        f"{q.numerator}/{q.denominator}",
        f"\\dfrac{{{q.numerator * k}}}{{{q.denominator * k}}}",
        f"{sign}{top * k}/{bottom * k}",
    ]
    if top > bottom > 1:
        spellings.append(f"{sign}{top // bottom}\\frac{{{top % bottom}}}{{{bottom}}}")
        if top % bottom:
            spellings.append(f"{sign}{top // bottom} {top % bottom}/{bottom}")
    for spelled in spellings:
        assert same(spelled, gold) is True, spelled


@given(fractions, fractions)
def test_fractions_are_equal_only_to_themselves(p: Fraction, q: Fraction) -> None:
    assert same(latex(p), latex(q)) is (p == q)


@given(st.integers(1, 400), st.integers(1, 60))
def test_a_root_and_its_simplest_form(radicand: int, factor: int) -> None:
    gold = f"{factor}\\sqrt{{{radicand}}}"
    assert same(f"\\sqrt{{{radicand * factor**2}}}", gold) is True
    assert same(f"{factor} \\cdot {radicand}^{{1/2}}", gold) is True
    assert same(f"\\sqrt{{{radicand * factor**2 + 1}}}", gold) is False


@given(st.lists(small, min_size=1, max_size=4), st.lists(small, min_size=1, max_size=4))
def test_products_of_polynomials_are_their_expansions(a: list[int], b: list[int]) -> None:
    def written(coefficients: list[int]) -> str:
        return " + ".join(f"({c})x^{{{i}}}" for i, c in enumerate(coefficients))

    product = [0] * (len(a) + len(b) - 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            product[i + j] += x * y
    assert same(f"({written(a)})({written(b)})", written(product)) is True
    product[0] += 1
    assert same(f"({written(a)})({written(b)})", written(product)) is False


@given(st.lists(fractions, min_size=2, max_size=5, unique=True), st.randoms())
def test_order_counts_in_tuples_and_not_in_sets(items: list[Fraction], random: object) -> None:
    shuffled = items[1:] + items[:1]
    gold, other = (", ".join(map(latex, order)) for order in (items, shuffled))
    assert same(other, gold) is True
    assert same(f"\\{{{other}\\}}", f"\\{{{gold}\\}}") is True
    assert same(f"({other})", f"({gold})") is False
    assert same(f"\\{{{gold}\\}}", f"({gold})") is False
    assert same(other.rpartition(", ")[0], gold) is False


@given(fractions, fractions, st.booleans(), st.booleans())
def test_an_interval_and_its_inequality(
    a: Fraction, b: Fraction, left_open: bool, right_open: bool
) -> None:
    if a == b:
        return
    low, high = latex(min(a, b)), latex(max(a, b))
    gold = f"{'[('[left_open]}{low}, {high}{'])'[right_open]}"
    signs = ("<" if left_open else "\\le", "<" if right_open else "\\le")
    assert same(f"{low} {signs[0]} x {signs[1]} {high}", gold) is True
    other = ("\\le" if left_open else "<", signs[1])
    assert same(f"{low} {other[0]} x {other[1]} {high}", gold) is False


@given(st.integers(0, 10**6), st.integers(2, 10), st.integers(2, 10))
def test_digits_in_a_base(n: int, base: int, other: int) -> None:
    digits = ""
    rest = n
    while rest or not digits:
        rest, digit = divmod(rest, base)
        digits = str(digit) + digits
    assert same(f"{digits}_{{{base}}}", str(n)) is True
    if base != other:
        # In base ten the gold is a plain number, which has the same single digit in any base.
        alike = base == 10 and len(digits) == 1 and n < other
        assert same(f"{digits}_{{{other}}}", f"{digits}_{{{base}}}") is alike


@given(st.integers(1, 120), st.integers(1, 120))
def test_tiny_and_huge_powers_are_exact(m: int, n: int) -> None:
    assert same(f"2^{{-{m}}}", f"\\frac{{1}}{{2^{{{n}}}}}") is (m == n)
    assert same(f"10^{{{m}}}+1", f"10^{{{m}}}") is False


@settings(max_examples=60)
@given(fractions)
def test_the_box_changes_nothing(q: Fraction) -> None:
    gold = latex(q)
    assert verify(f"So the answer is $\\boxed{{{gold}}}$.", gold).correct
    assert not verify(f"First \\boxed{{{gold}}}, no: \\boxed{{{latex(q + 1)}}}.", gold).correct


@pytest.mark.parametrize("depth", [30, 100, 1_000, 20_000])
@pytest.mark.parametrize(
    "piece", ["(", "{", "\\{", "[", "|", "\\sqrt{", "\\frac{", "-", "\\sqrt", "2^", "!", "1/"]
)
def test_deep_nesting_ends_in_a_verdict(piece: str, depth: int) -> None:
    for text in (piece * depth, piece * depth + "1", f"\\boxed{{{piece * depth}1"):
        assert not verify(text, "2").correct
