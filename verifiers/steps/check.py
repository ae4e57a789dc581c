r"""Checking the arithmetic of a worked solution, equality by equality, exactly.

    >>> [step.outcome.name for step in check_steps("16 - 3 - 4 = 9 eggs, 9 * 2 = $<<9*2=18>>18")]
    ['RIGHT', 'RIGHT', 'RIGHT']

Checked are equalities between sums of numbers, in plain text and LaTeX: + - * / ^, brackets,
fractions, mixed numbers, roots, pi, factorials, binomials, percent and currency signs, thousands
separators, unit words, GSM8K's `<<a=b>>` marks and chains `a = b = c` (one verdict a link). Values
are exact (``verifiers.steps.arithmetic``). WRONG is said only of two values that were computed and
differ; a variable, an unknown command, a change of unit or a doubtful reading makes a link
UNCHECKED.

Rounding: a side that is one decimal number is right when it is the other side's exact value rounded
at its last digit (a tie either way): `10 / 3 = 3.33` is right, `10 / 3 = 3.34` and, since an
integer shows no rounding, `10 / 3 = 3` are wrong. `Rounding` chooses otherwise. Where a number has
the 15 digits or more that a double-precision calculator prints, a relative difference of 1e-12 is
no mistake: `6 * .10 = 0.6000000000000001`.
"""

import itertools
from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction

from verifiers.steps import arithmetic
from verifiers.steps.arithmetic import Number, OutOfReach
from verifiers.steps.chains import find_chains, is_latex
from verifiers.steps.expressions import Side, Unreadable, read_side
from verifiers.steps.records import Chain, Rounding, Run, StepOutcome, StepVerdict
from verifiers.steps.tokens import Kind


def check_steps(text: str, *, rounding: Rounding = Rounding.DECIMALS) -> list[StepVerdict]:
    """Check every equality of a solution.

    Returns:
        One verdict a link (`a = b`), ordered by where it ends; a link spans both its sides. Links
        that are no arithmetic are there as UNCHECKED.
    """
    chains, marks = find_chains(text, latex=is_latex(text))
    steps = [step for chain in chains for step in _check_chain(chain, rounding)]
    for mark in marks:
        inner, _ = find_chains(text, mark.start + 2, mark.end - 2)
        steps += [step for chain in inner for step in _check_chain(chain, rounding)]
    return sorted(steps, key=lambda step: (step.end, step.start))


def check_spans(
    text: str, ends: Sequence[int], *, rounding: Rounding = Rounding.DECIMALS
) -> list[StepVerdict]:
    """Judge the steps of a solution that is cut at given character offsets.

    Args:
        text: the whole solution.
        ends: strictly increasing offsets in 1..len(text), one a step; text after the last is not
            judged.
        rounding: see ``Rounding``.

    Returns:
        One verdict a step: WRONG when an equality that ends in it is wrong, else RIGHT when one is
        right, else UNCHECKED.

    Raises:
        ValueError: the ends are not strictly increasing or lie outside the text.
    """
    bounds = [0, *ends]
    for before, after in itertools.pairwise(bounds):
        if not before < after <= len(text):
            raise ValueError(
                f"step end {after} after {before} in a text of {len(text)} characters: ends must "
                "increase strictly and lie inside the text"
            )
    inside: list[list[StepVerdict]] = [[] for _ in ends]
    for step in check_steps(text, rounding=rounding):
        # An equality belongs to the step in which it is complete.
        if (index := bisect_left(ends, step.end)) < len(ends):
            inside[index].append(step)
    return [
        _summary(start, end, steps)
        for (start, end), steps in zip(itertools.pairwise(bounds), inside, strict=True)
    ]


def _summary(start: int, end: int, steps: list[StepVerdict]) -> StepVerdict:
    for outcome in (StepOutcome.WRONG, StepOutcome.RIGHT):
        decisive = [step for step in steps if step.outcome is outcome]
        if decisive:
            return StepVerdict(start, end, outcome, "; ".join(s.detail for s in decisive))
    detail = "; ".join(step.detail for step in steps) or "no equality"
    return StepVerdict(start, end, StepOutcome.UNCHECKED, detail)


def _check_chain(chain: Chain, rounding: Rounding) -> list[StepVerdict]:
    sides = [_read(run) for run in chain.sides]
    steps = []
    for index, relation in enumerate(chain.relations):
        left_run, right_run = chain.sides[index : index + 2]
        left, right = sides[index], sides[index + 1]
        start = left_run.start if left_run.tokens else right_run.start
        if isinstance(left, str) or isinstance(right, str):
            reason = left if isinstance(left, str) else str(right)
            outcome, detail = StepOutcome.UNCHECKED, reason
        else:
            rule = Rounding.INTEGERS if relation is Kind.APPROXIMATES else rounding
            outcome, detail = _compare(left, right, rule)
            if outcome is StepOutcome.WRONG and right_run.tokens[-1].kind is Kind.BANG:
                plain = _read(_without_last(right_run))
                if not isinstance(plain, str):
                    outcome, _ = _compare(left, plain, rule)
            if outcome is StepOutcome.WRONG:
                doubt = (
                    _doubt(left_run, left, right_run, right, first=index == 0)
                    if relation is Kind.EQUALS
                    else "only said to be approximate"
                )
                if doubt is not None:
                    outcome, detail = StepOutcome.UNCHECKED, f"{detail}, but {doubt}"
        steps.append(StepVerdict(start, max(right_run.end, start), outcome, detail))
    return steps


def _read(run: Run) -> Side | str:
    """The side's value, or why it has none."""
    while run.tokens:
        try:
            return read_side(list(run.tokens))
        except (Unreadable, OutOfReach) as error:
            if run.tokens[-1].kind is not Kind.BANG:
                return str(error)
            run = _without_last(run)
    return "no arithmetic on one side"


def _without_last(run: Run) -> Run:
    """The run without its last token, and without all but a few of many exclamation marks."""
    kept = len(run.tokens) - 1
    while kept > _FACTORIALS and all(
        token.kind is Kind.BANG for token in run.tokens[kept - _FACTORIALS - 1 : kept]
    ):
        kept -= 1
    return Run(run.tokens[:kept], run.start, run.tokens[kept].start, run.doubt, run.after_word)


_FACTORIALS = 3
"""Of so many in a row none is within reach, but those of 0, 1 and 2, which are read at once."""


def _compare(left: Side, right: Side, rounding: Rounding) -> tuple[StepOutcome, str]:
    for index in range(max(len(left.values), len(right.values))):
        first = left.values[index % len(left.values)]
        second = right.values[index % len(right.values)]
        if first == second:
            return StepOutcome.RIGHT, f"both are {show(first)}"
        if rounding is not Rounding.EXACT and _is_double_noise(left, first, right, second):
            return StepOutcome.RIGHT, f"{show(first)}, to the digits of a double"
        scale = Fraction(1, 100) if index == 0 else Fraction(1)
        for value, literal in ((first, right), (second, left)):
            shown = literal.values[index % len(literal.values)]
            if _rounded(value, shown, literal, scale, rounding):
                return StepOutcome.RIGHT, f"{show(value)}, rounded"
    return StepOutcome.WRONG, f"{show(left.values[0])} is not {show(right.values[0])}"


def _is_double_noise(left: Side, first: Number, right: Side, second: Number) -> bool:
    """Whether two values differ by what double-precision arithmetic leaves behind."""
    if not (left.double or right.double):
        return False
    one, other = arithmetic.as_fraction(first), arithmetic.as_fraction(second)
    return one is not None and other is not None and abs(one - other) <= abs(one) / 10**12


def _rounded(
    value: Number, shown: Number, literal: Side, scale: Fraction, rounding: Rounding
) -> bool:
    """Whether ``shown``, a literal with so many decimals, is ``value`` rounded."""
    if literal.decimals is None or rounding is Rounding.EXACT:
        return False
    if literal.decimals == 0 and rounding is not Rounding.INTEGERS:
        return False
    unit = Fraction(1, 10**literal.decimals) * (scale if literal.percent else 1)
    claimed = arithmetic.as_fraction(shown)
    exact = arithmetic.as_fraction(value)
    if claimed is None:
        return False
    if exact is None:
        if literal.decimals > 30:
            return False
        exact = arithmetic.approximate(value)
    distance = abs(exact - claimed)
    if rounding is Rounding.TRUNCATED and abs(claimed) <= abs(exact):
        return distance < unit
    return distance <= unit / 2


def _doubt(left_run: Run, left: Side, right_run: Run, right: Side, *, first: bool) -> str | None:
    """Why two unequal values may still be no mistake."""
    doubt = left_run.doubt or right_run.doubt or left.doubt or right.doubt
    if doubt is not None:
        return doubt
    leading = next((token for token in right_run.tokens if token.kind is Kind.NUMBER), None)
    if leading is not None and not right.literal:
        runs_on = arithmetic.rational(Fraction(leading.text)) in left.values
        if runs_on and len(right_run.tokens) > 1:
            return "the sum may run on: a = b and then b + c"
    if right_run.tokens[-1].kind is Kind.BANG:
        return "an exclamation mark may end the sentence"
    if ("degree" in left.units) != ("degree" in right.units):
        return "degrees may be converted"
    if _is_pattern(left_run) and _is_pattern(right_run):
        return "both sides may be names such as 3-4-5"
    if first and left.literal and right.literal:
        return "nothing is computed"
    if first and left.literal and left_run.after_word:
        return "the number may name what stands before it"
    for one, other in ((left, right), (right, left)):
        # "5 hours = 5 * 60" and "50 cents * 4 = $2" change the unit; "16 - 7 = 9 eggs" names it.
        converts = bool(other.units) or one is left
        if one.literal and one.units and not one.units & other.units and converts:
            return "the units may differ"
    return None


def _is_pattern(run: Run) -> bool:
    joined = [token for token in run.tokens if token.kind is not Kind.NUMBER]
    return len(joined) > 0 and all(t.text == "-" and not t.spaced for t in joined)


def show(number: Number) -> str:
    """A number as short text: `7/2`, `2*sqrt(3)`."""
    parts = []
    for (radicand, power), factor in number.items():
        long = max(factor.numerator.bit_length(), factor.denominator.bit_length()) > 200
        text = "a long number" if long else str(factor)
        if radicand != 1:
            text += f"*sqrt({radicand})"
        if power:
            text += "*pi" if power == 1 else f"*pi^{power}"
        parts.append(text)
    return " + ".join(parts) or "0"
