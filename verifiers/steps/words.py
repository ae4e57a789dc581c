"""Words beside numbers: which are units, which end a sum, which change a number's value."""

from collections.abc import Sequence

from verifiers.steps.tokens import Kind, Token, word_set

MAX_PHRASE = 6
"""How many words after a number may stand before the next sign ("miles per hour of driving")."""

OPERATORS = {"times": "*", "plus": "+", "minus": "-", "x": "*", "X": "*"}

# After one of these the number before it is no longer its digits.
VALUE_CHANGING = word_set(
    "mod modulo base choose squared cubed factorial divided over percent hundred thousand million "
    "billion trillion dozen half halves third thirds quarter quarters fourths fifths hundredths "
    "tenths score am pm AM PM th st nd rd degrees-celsius"
)
# A sum cannot go on across one of these.
ENDING = word_set(
    "and or so then is are was were which that because since if when while but as to gives give "
    "equals equal makes make means leaves left-over with where thus hence therefore for"
)
# The number after one of these names something: "Day 1", "Step 2".
LABELS = word_set(
    "day days week weeks month months year years step steps part case option question problem "
    "number no chapter page grade level round game line figure equation example"
)
_ARTICLES = frozenset({"a", "an"})
_LINKING = word_set("a an per of in on from each every the at by")
_SHORT_UNITS = word_set(
    "kg mg cm mm km ft lb lbs oz mi yd in hr hrs sec min mph kph ml cl dl gb mb kw cc qt pt"
)


def is_variable(word: Token, *, after_number: bool, latex: bool) -> bool:
    """Whether a word that stands in a sum is a variable (or a product of them) and no unit."""
    text = word.text
    if len(text) == 1:
        return True
    if text.lower() in _SHORT_UNITS:
        return False
    if len(text) == 2 and text.lower() not in _LINKING | ENDING:
        return True
    return text.isupper() or (latex and after_number and not word.spaced)


def phrase_length(tokens: Sequence[Token], at: int) -> int:
    """How many words from ``at`` on belong to the number before them."""
    length = 0
    while length < MAX_PHRASE and at + length < len(tokens):
        token = tokens[at + length]
        if token.kind is not Kind.WORD or token.text.lower() in ENDING | VALUE_CHANGING:
            break
        # "3 x 4": the letter is a sign; "5 a day" is none.
        if len(token.text) == 1 and token.text not in "aA":
            break
        length += 1
    return length


def units_of(words: Sequence[str]) -> frozenset[str]:
    """The words that may be a phrase's unit, singular: "red apples per day" is red or apples."""
    named: list[str] = []
    for word in words[1:] if words and words[0] in _ARTICLES else words:
        if word.lower() in _LINKING:
            break
        named.append(_singular(word.lower()))
    return frozenset(named)


def _singular(word: str) -> str:
    for ending, shorter in (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch")):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            return word[: -len(ending)] + shorter
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > 2 else word


def doubtful_start(tokens: Sequence[Token], at: int) -> str | None:
    """Why the number at this place, the first of a sum, may not be all of its operand."""
    if at < 1:
        return None
    before, number = tokens[at - 1], tokens[at]
    if before.kind is Kind.WORD and before.text.lower() in LABELS:
        return "the first number may be a name"
    if before.text == "of" and any(
        token.kind is Kind.NUMBER or token.text in VALUE_CHANGING
        for token in tokens[max(0, at - 5) : at - 1]
    ):
        return "a share or a pack of it"
    if at < 2 or tokens[at - 2].kind is not Kind.NUMBER:
        return None
    if before.text == "and" and at + 1 < len(tokens) and tokens[at + 1].text == "/":
        return "a number spelt with 'and'"
    if before.kind is Kind.COMMA and (not number.spaced or len(number.text) == 3):
        return "a number with a comma in it"
    return None
