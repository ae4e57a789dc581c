"""Hostile text: pieces of LaTeX, numbers and prose in every order, and plain noise."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import strategies as st

MACROS = (
    "\\frac \\dfrac{ \\sqrt \\sqrt[ \\boxed{ \\fbox{ \\text{ \\mathrm{ \\left( \\right) \\left[ "
    "\\right] \\{ \\} \\cdot \\times \\pi \\infty \\in \\cup \\pm \\leq \\le \\neq \\approx \\sum "
    "\\int \\lim \\log_ \\sin \\binom{ \\overline{ \\begin{pmatrix} \\end{pmatrix} \\\\ & \\$ \\% "
    "^\\circ \\mod \\pmod \\begin{align*} \\end{align*} \\quad \\, {,} \\! 1,000 0.5 .5 1/2 1e9 "
    "12:30 pm 50\\% x= x y_1 f(x) (1,2) \\frac{1}{2} \\frac12 2\\frac13 10^{10} 2^{100} "
    "9^{9^{9^9}} <think> </think> <|im_end|> #### <<1+1=2>> $5 5! cm miles/hour and or of "
    "answer is: (A) {1,2} \\emptyset 3,4 i e"
)
PIECES = (
    *"0123456789+-*/^_=<>()[]{}|,.;:!?%$&#~'\"\\ \n\t",
    *"\u221e\u03c0\u00bd\u00b2\u2212\u00d7\u0660\uff11\u221a\u00b0\u20ac\ud800\u0410\u200b\x00",
    *MACROS.split(" "),
    "The final answer is ",
    "A: ",
    "Question: ",
    "answer: ",
    " dollars",
)

PIECEWISE = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)
REPEATED = st.builds(
    lambda piece, times, rest: piece * times + rest,
    st.sampled_from(PIECES),
    st.integers(50, 400),
    PIECEWISE,
)
NESTED = st.builds(
    lambda opening, closing, depth, inner: opening * depth + inner + closing * depth,
    st.sampled_from(["(", "{", "[", "\\frac{", "\\sqrt{", "\\boxed{", "-", "x^{", "|", "\\left("]),
    st.sampled_from([")", "}", "]", "", "}{2}", "\\right)"]),
    st.integers(1, 200),
    PIECEWISE,
)
HOSTILE = st.one_of(PIECEWISE, REPEATED, NESTED, st.text(max_size=200))


@contextmanager
def soon(text: str, seconds: float = 3.0) -> Iterator[None]:
    """Fail when the block takes more processor time; generous, since what hangs takes hours."""
    start = time.process_time()
    yield
    taken = time.process_time() - start
    assert taken < seconds, f"{taken:.1f} s for {text!r}"
