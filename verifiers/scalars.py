"""Comparing numbers, quantities and expressions: exactly where there is a normal form."""

from __future__ import annotations

from abc import abstractmethod
from fractions import Fraction

from verifiers import sampling, units
from verifiers.comparing import Comparer, Verdict3
from verifiers.normal import Normalizer
from verifiers.polynomials import NotNormal, Undefined, Value
from verifiers.syntax import (
    Based,
    Big,
    Clock,
    Const,
    Degree,
    Div,
    Func,
    Mul,
    Neg,
    Node,
    Num,
    Opaque,
    Percent,
    Pow,
    Quantity,
    Ratio,
    Sym,
    Text,
)
from verifiers.trees import (
    has_unstated_log,
    is_scalar,
    mentions,
    variables,
    walk,
    with_natural_logs,
)
from verifiers.wordings import letters_of


class Scalars(Comparer):
    """The part of a comparison that computes."""

    @abstractmethod
    def same_word(self, c: Node, g: Node) -> Verdict3:
        """Words, and letters in a row that spell one."""

    @abstractmethod
    def same_clock(self, c: Node, g: Node) -> Verdict3:
        """Times of day."""

    @abstractmethod
    def same_ratio(self, c: Node, g: Node) -> Verdict3:
        """Ratios up to a common factor."""

    def same_quantity(self, c: Node, g: Node) -> Verdict3:
        """Values with their units, as far as units are stated and the policy asks."""
        if isinstance(c, Text) or isinstance(g, Text):
            return self.same_word(c, g)
        if isinstance(c, Opaque) or isinstance(g, Opaque):
            return False
        cv, cu = unit_of(c)
        gv, gu = unit_of(g)
        if (gu == "" and cu == "" and isinstance(gv, Num)) or (cu == "" and gu != ""):
            cv, cu = letter_unit(cv)
        if (gu and isinstance(c, Percent)) or (cu and isinstance(g, Percent)):
            return False
        if gu or cu:
            factor: Fraction | None = Fraction(1)
            if cu and gu:
                factor = units.conversion(cu, gu)
                if factor is None:
                    return False
            elif self.policy.units == "required" and (gu or units.read(cu) is not None):
                return False
            if factor != 1 and factor is not None:
                cv = Mul((cv, Num(factor)))
            # An angle in radians is written with pi; the same number of degrees is not it.
            if (cu, gu) == ("degree", "") and mentions(gv, Const("pi")):
                return self.same_scalar(Degree(cv), gv)
            if (cu, gu) == ("", "degree") and mentions(cv, Const("pi")):
                return self.same_scalar(cv, Degree(gv))
            return self.same(cv, gv)
        if (cv, gv) != (c, g):
            return self.same(cv, gv)
        if _is_residue(c) != _is_residue(g):
            # "3 mod 7" against "3": the modulus belongs to the question.
            return self.same(_without_modulus(c), _without_modulus(g))
        if isinstance(c, Percent) or isinstance(g, Percent):
            return self.same_percent(c, g)
        if isinstance(c, Clock) or isinstance(g, Clock):
            return self.same_clock(c, g)
        if isinstance(c, Ratio) or isinstance(g, Ratio):
            return self.same_ratio(c, g)
        if isinstance(g, Based):
            return isinstance(c, Based) and c.base == g.base and c.value == g.value is not None
        if isinstance(c, Based) and c.value is None:
            return False
        if isinstance(c, Big) and isinstance(g, Big):
            structural = self.same_big(c, g)
            if structural:
                return True
        return self.same_scalar(c, g)

    def same_percent(self, c: Node, g: Node) -> Verdict3:
        """Percentages, against percentages and plain numbers."""
        if isinstance(c, Percent) and isinstance(g, Percent):
            return self.same(c.value, g.value)
        mode = self.policy.percent
        hundredth = Num(Fraction(1, 100))
        if isinstance(g, Percent):
            if mode == "required":
                return False
            scaled = self.same(c, Mul((g.value, hundredth)))
            return scaled or (self.same(c, g.value) if mode == "either" else scaled)
        if not isinstance(c, Percent):
            return None
        scaled = self.same(Mul((c.value, hundredth)), g)
        # A gold such as 25, or 1, may be a percentage without its sign; 1/4 is the share itself.
        unsigned = mode == "either" and isinstance(g, Num) and abs(g.value) >= 1
        return scaled or (self.same(c.value, g) if unsigned else scaled)

    def same_big(self, c: Big, g: Big) -> Verdict3:
        """Sums, products, integrals and limits, part by part."""
        if (c.name, c.variable) != (g.name, g.variable):
            return False
        for a, b in ((c.low, g.low), (c.high, g.high), (c.body, g.body)):
            if (a is None) != (b is None):
                return False
            if a is not None and b is not None and not self.same(a, b):
                return False
        return True

    def same_scalar(self, c: Node, g: Node) -> Verdict3:
        """Scalars in either reading of a logarithm without a base."""
        verdict = self.same_values(c, g)
        if verdict is not True and (has_unstated_log(c) or has_unstated_log(g)):
            # Without a base, log is the common or the natural logarithm.
            natural = self.same_values(with_natural_logs(c), with_natural_logs(g))
            verdict = natural if natural or verdict is False else verdict
        return verdict

    def same_values(self, c: Node, g: Node) -> Verdict3:
        """Whether two scalars are equal as they are read."""
        if isinstance(c, Sym) != isinstance(g, Sym):
            name, other = (c, g) if isinstance(c, Sym) else (g, c)
            if isinstance(name, Sym) and len(name.name) > 1 and letters_of(other) == name.name:
                return True
        infinite = _infinity(c), _infinity(g)
        if any(infinite):
            return infinite[0] == infinite[1]
        if _special_constant(c) or _special_constant(g):
            return False
        if not any(isinstance(item, Big) for side in (c, g) for item in walk(side)) and (
            mentions(c, Const("oo")) or mentions(g, Const("oo"))
        ):
            return False  # arithmetic on infinities has no value
        if not (is_scalar(c) and is_scalar(g)):
            return False
        normalizer = Normalizer()
        try:
            left, right = normalizer.value(c), normalizer.value(g)
            if normalizer.equal(left, right):
                return True
            if normalizer.independent:
                return self.close(c, g, left, right)
        except Undefined:
            return False
        except NotNormal:
            pass
        verdict = sampling.agree(c, g)
        if verdict is None and (sampling.beyond_reach(c) or sampling.beyond_reach(g)):
            return False
        if verdict is False and self.close(c, g, None, None):
            return True
        return verdict

    def same_decimal(self, c: Num, g: Num) -> bool:
        """Whether one number is the other, written as a decimal the policy accepts."""
        for decimal, exact in ((c, g), (g, c)):
            if decimal.decimals is None or not self.long_enough(decimal):
                continue
            if exact.decimals is not None and exact.decimals >= decimal.decimals:
                continue
            if exact.decimals is not None and self.policy.decimals != "rounded":
                continue
            if abs(decimal.value - exact.value) <= self.tolerance(decimal):
                return True
        return False

    def long_enough(self, decimal: Num) -> bool:
        """Whether a decimal shows enough digits to stand for an exact number."""
        if self.policy.decimals == "exact":
            return False
        return decimal.significant >= (15 if self.policy.decimals == "full" else 3)

    def tolerance(self, decimal: Num) -> Fraction:
        """How far a decimal may be off."""
        unit = Fraction(1, 10 ** (decimal.decimals or 0))
        if self.policy.decimals == "rounded":
            return unit / 2
        # A double's last digits carry the error of the arithmetic that made it.
        double = abs(decimal.value) / 2**51 if decimal.significant <= 17 else Fraction(0)
        return max(unit, double)

    def close(self, c: Node, g: Node, left: Value | None, right: Value | None) -> bool:
        """Whether one side is a decimal of the other, as far as the policy accepts decimals."""
        for decimal, exact in ((c, g), (g, c)):
            if not isinstance(decimal, Num) or decimal.decimals is None:
                continue
            if not self.long_enough(decimal) or variables(exact):
                continue
            if isinstance(exact, Num):
                return self.same_decimal(decimal, exact)
            try:
                value = sampling.approximate(exact, decimal.significant + 10)
            except sampling.NoValue:
                continue
            shown = self.tolerance(decimal)
            if abs(value.imag) == 0:
                distance = abs(
                    value.real - decimal.value.numerator / sampling.real(decimal.value.denominator)
                )
                if distance <= float(shown) * 1.000001:
                    return True
        return False


def _is_residue(node: Node) -> bool:
    return isinstance(node, Func) and node.name == "pmod"


def _without_modulus(node: Node) -> Node:
    return node.args[0] if isinstance(node, Func) and node.name == "pmod" else node


def unit_of(node: Node) -> tuple[Node, str]:
    """The value and the unit of a node; the unit is empty where there is none."""
    unit = ""
    while True:
        if isinstance(node, Quantity):
            if units.read(node.unit) is not None:
                unit = f"{unit} {node.unit}".strip()
            node = node.value
        elif isinstance(node, Degree):
            node, unit = node.value, f"degree {unit}".strip()
            unit = _TEMPERATURES.get(unit.lower(), unit)
        elif isinstance(node, Neg) and isinstance(node.item, Quantity | Degree):
            inner, inner_unit = unit_of(node.item)
            return Neg(inner), f"{unit} {inner_unit}".strip()
        elif (
            isinstance(node, Mul)
            and len(node.items) == 2
            and isinstance(node.items[0], Degree)
            and node.items[1] in (Sym("C"), Sym("F"))
        ):
            unit = "celsius" if node.items[1] == Sym("C") else "fahrenheit"
            return node.items[0].value, unit
        else:
            return node, unit


_TEMPERATURES = {
    "degree celsius": "celsius",
    "degree c": "celsius",
    "degree fahrenheit": "fahrenheit",
    "degree f": "fahrenheit",
}
_LETTER_UNITS = frozenset(("m", "s", "g", "L", "h"))


def letter_unit(node: Node) -> tuple[Node, str]:
    """`5 m^2` read as a quantity: a number times one letter that is a unit."""
    if isinstance(node, Mul) and len(node.items) == 2 and isinstance(node.items[0], Num):
        unit = node.items[1]
        if isinstance(unit, Sym) and unit.name in _LETTER_UNITS:
            return node.items[0], unit.name
        if (
            isinstance(unit, Pow)
            and isinstance(unit.base, Sym)
            and unit.base.name == "m"
            and isinstance(unit.exponent, Num)
            and unit.exponent.value in (2, 3)
        ):
            return node.items[0], f"m^{unit.exponent.value}"
        if isinstance(unit, Div) and isinstance(unit.top, Sym) and unit.top.name in _LETTER_UNITS:
            bottom, power = unit.bottom, ""
            if isinstance(bottom, Pow) and bottom.exponent == Num(Fraction(2)):
                bottom, power = bottom.base, "^2"
            if isinstance(bottom, Sym) and bottom.name in _LETTER_UNITS:
                return node.items[0], f"{unit.top.name}/{bottom.name}{power}"
    return node, ""


def _infinity(node: Node) -> str:
    if node == Const("oo"):
        return "+"
    return "-" if node == Neg(Const("oo")) else ""


def _special_constant(node: Node) -> bool:
    return isinstance(node, Const) and node.name in ("empty", "R", "Z", "N", "Q", "C")
