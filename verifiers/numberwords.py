"""Whole numbers spelled in words: "twenty-five", "one hundred and four", "two million"."""

from __future__ import annotations

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_UNITS = {word: number for number, word in enumerate(_SMALL.split())}
_UNITS |= {word: 10 * number for number, word in enumerate(_TENS.split(), start=2)}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}


def whole_number(words: list[str]) -> int | None:
    """The number that lower-case words spell, None where they spell none.

    Scales fall from left to right, and within each group hundreds, tens and ones do.
    """
    if not words or len(words) > 20 or words[0] == "and" or words[-1] == "and":
        return None
    total = group = 0
    ceiling, room = 10**15, 1_000
    for word in words:
        if word == "and":
            continue
        if word in _UNITS:
            value = _UNITS[word]
            # After a ten comes a digit, after a hundred anything below it.
            if value >= room or (value == 0 and len(words) > 1):
                return None
            group += value
            room = 10 if value >= 20 else 1
        elif word == "hundred":
            if not 1 <= group <= 9:
                return None
            group, room = group * 100, 100
        elif word in _SCALES:
            scale = _SCALES[word]
            if group == 0 or scale >= ceiling:
                return None
            total += group * scale
            ceiling, group, room = scale, 0, 1_000
        else:
            return None
    return total + group
