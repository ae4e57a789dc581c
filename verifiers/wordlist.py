"""Which letters in a row are a word, and not a product of variables."""

from __future__ import annotations

_SHORT_WORDS = frozenset(
    [
        "cm",
        "mm",
        "km",
        "nm",
        "ft",
        "in",
        "kg",
        "mg",
        "lb",
        "lbs",
        "oz",
        "ml",
        "mL",
        "mph",
        "kph",
        "hr",
        "hrs",
        "sec",
        "min",
        "mi",
        "yd",
        "yds",
        "gal",
        "pt",
        "pts",
        "qt",
        "rpm",
        "am",
        "pm",
        "yes",
        "no",
        "odd",
        "one",
        "two",
        "six",
        "ten",
        "the",
        "is",
        "not",
        "red",
        "all",
        "any",
        "day",
        "mon",
        "tue",
        "wed",
        "thu",
        "fri",
        "sat",
        "sun",
        "sq",
        "cu",
        "deg",
        "rad",
        "per",
        "of",
        "pct",
        "usd",
        "USD",
        "Hz",
        "kHz",
        "MHz",
        "ohm",
        "mol",
        "atm",
        "ms",
        "cents",
        "cent",
        "km",
        "mins",
        "days",
    ]
)
"""Words of two or three letters (and a few more) that are not products of variables."""

_VOWELS = frozenset("aeiouyAEIOUY")

UNIT_WORDS = frozenset(
    (
        *("mg", "kg", "cm", "mm", "km", "nm", "ml", "mL", "ms", "mi", "ft", "lb", "oz", "pt", "qt"),
        *("hr", "yd", "min", "sec", "mol", "kHz", "Hz", "gal", "rad"),
    )
)
"""Words that are units after a number, and products of variables elsewhere."""

_THREE_LETTERS = frozenset(
    [
        "ant",
        "box",
        "cat",
        "cup",
        "dog",
        "egg",
        "jar",
        "man",
        "men",
        "pie",
        "pen",
        "red",
        "sum",
        "tie",
        "win",
    ]
)


def is_word(word: str) -> bool:
    """Whether letters in a row are a word rather than a product of variables."""
    if word in _SHORT_WORDS:
        return True
    if len(word) >= 4:
        return not _VOWELS.isdisjoint(word) and not word.isupper()
    return len(word) == 3 and word.islower() and word in _THREE_LETTERS
