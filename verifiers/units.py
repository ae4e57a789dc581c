"""Units of answers: what they measure, and in how many of the base unit."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from fractions import Fraction

_LENGTH = {
    "mm millimeter millimetre": "1/1000",
    "cm centimeter centimetre": "1/100",
    "dm decimeter decimetre": "1/10",
    "m meter metre": "1",
    "km kilometer kilometre": "1000",
    "nm nanometer nanometre": "1/1000000000",
    "in inch inches ''": "127/5000",
    "ft foot feet '": "381/1250",
    "yd yard yds": "1143/1250",
    "mi mile": "201168/125",
}
_TIME = {
    "ms millisecond": "1/1000",
    "s sec second secs": "1",
    "min minute mins": "60",
    "h hr hour hrs": "3600",
    "day": "86400",
    "week wk": "604800",
}
_MONTHS = {"month mo": "1", "year yr yrs": "12", "decade": "120", "century centuries": "1200"}
_MASS = {
    "mg milligram": "1/1000",
    "g gram": "1",
    "kg kilogram kilo": "1000",
    "oz ounce": "45359237/1600000",
    "lb lbs pound": "45359237/100000",
    "ton": "45359237/50",
    "tonne": "1000000",
}
_VOLUME = {"ml mL milliliter millilitre": "1/1000", "l L liter litre": "1"}
_US_VOLUME = {"cup": "1", "pint pt": "2", "quart qt": "4", "gallon gal": "16"}
_MONEY = {
    "cent cents penny pennies": "1",
    "nickel": "5",
    "dime": "10",
    "quarter": "25",
    "dollar usd buck": "100",
}
_ANGLE = {"degree deg": "1"}
_OTHERS = [
    "euro",
    "yen",
    "yuan",
    "rupee",
    "peso",
    "franc",
    "celsius",
    "fahrenheit",
    "kelvin",
    "newton",
    "joule",
    "watt",
    "volt",
    "ampere",
    "ohm",
    "pascal",
    "hertz",
    "mole",
    "radian",
    "person",
    "bit",
    "byte",
    "calorie",
    "mph",
    "kph",
    "rpm",
    "unit",
]

_TABLE: dict[str, tuple[str, Fraction]] = {}
for _dimension, _group in (
    ("length", _LENGTH),
    ("time", _TIME),
    ("months", _MONTHS),
    ("mass", _MASS),
    ("volume", _VOLUME),
    ("cups", _US_VOLUME),
    ("money", _MONEY),
    ("angle", _ANGLE),
):
    for _names, _factor in _group.items():
        for _name in _names.split():
            _TABLE[_name] = (_dimension, Fraction(_factor))
for _name in _OTHERS:
    _TABLE[_name] = (_name, Fraction(1))

_NEUTRAL = frozenset(("total", "each", "left", "altogether", "exactly"))
_POWER_WORDS = {"square": 2, "sq": 2, "squared": 2, "cubic": 3, "cu": 3, "cubed": 3}
_IN_TOTAL = re.compile(r"\bin (?:total|all)\b")
_SPLIT = re.compile(r"[\s*]+|(?=/)")


@dataclass(frozen=True, slots=True)
class Unit:
    """Dimensions with powers, and the size in base units; `words` alone where it is unknown."""

    dimensions: tuple[tuple[str, int], ...] | None
    factor: Fraction
    words: frozenset[str]


@functools.lru_cache(maxsize=2048)
def read(text: str) -> Unit | None:
    """The unit that `text` names; None for words that name none, such as "units"."""
    text = _IN_TOTAL.sub(" ", text.replace("-", " ").replace(".", "")).strip()
    for short, long in (("mph", "mi/h"), ("kph", "km/h"), ("km/hr", "km/h")):
        text = text.replace(short, long)
    parts = [part for part in _SPLIT.split(text[:200]) if part]
    dimensions: dict[str, int] = {}
    factor = Fraction(1)
    names: set[str] = set()
    known = True
    sign, pending = 1, 0
    last: tuple[str, Fraction, int] | None = None
    for part in parts:
        if part.startswith("/"):
            sign, part = -1, part[1:]
        lower = part.lower()
        if lower in ("per", "a", "an", "of", "the") or not lower:
            sign = -1 if lower in ("per", "a", "an") else sign
            continue
        if lower in _NEUTRAL:
            continue
        if lower in ("squared", "cubed"):
            if last is not None:
                # The unit's own powers once more, or twice: it counted once before this word.
                dimension, size, power = last
                more = power * (_POWER_WORDS[lower] - 1)
                dimensions[dimension] += more
                factor *= size**more
            continue
        if lower in _POWER_WORDS:
            pending = _POWER_WORDS[lower]
            continue
        name, _, exponent = part.partition("^")
        power = int(exponent) if exponent.isdigit() and len(exponent) < 3 else 1
        power = (pending or power) * sign
        pending = 0
        entry = _lookup(name)
        names.add(_singular(name.lower()))
        if entry is None:
            known = False
            continue
        if entry[0] in dimensions and dimensions[entry[0]] == power == 1:
            continue  # "$5 dollars" names its unit twice
        dimensions[entry[0]] = dimensions.get(entry[0], 0) + power
        factor *= entry[1] ** power
        last = (*entry, power)
    if not names:
        return None
    return Unit(tuple(sorted(dimensions.items())) if known else None, factor, frozenset(names))


def _lookup(name: str) -> tuple[str, Fraction] | None:
    for spelling in (name, name.lower(), _singular(name.lower())):
        if spelling in _TABLE:
            return _TABLE[spelling]
    return None


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "xes", "sses")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > 2 else word


def conversion(candidate: str, gold: str) -> Fraction | None:
    """What the candidate's number is multiplied by to be in the gold's unit.

    None where the two measure different things. Words that are no known unit (students, apples)
    agree where they share one. A "unit" is one of any length, or of anything else.
    """
    left, right = read(candidate), read(gold)
    if left is None or right is None:
        return Fraction(1)
    for generic, other in ((left, right), (right, left)):
        if generic.words == {"unit"} and generic.dimensions is not None:
            power = generic.dimensions[0][1]
            named = other.dimensions or ()
            lengths = [p for name, p in named if name in ("length", "unit")]
            return Fraction(1) if (lengths or [1]) == [power] else None
    if left.dimensions is not None and right.dimensions is not None:
        return left.factor / right.factor if left.dimensions == right.dimensions else None
    return Fraction(1) if left.words & right.words else None
