r"""GSM8K's own rule and nothing else: the first `#### n`, n of digits, full stops and commas.

Source: `grade_school_math/dataset.py` of github.com/openai/grade-school-math; it is also what
lm-eval's `strict-match` reads. A completion that states its answer otherwise has none under this
rule: for comparing figures with those of others, not for rewards.
"""

from __future__ import annotations

import re

from verifiers.extraction import NOTHING, Extracted

_ANSWER = re.compile(r"#### (-?[0-9.,]+)")


def extract(text: str) -> Extracted:
    """The answer that a GSM8K solution states in the form of the data set's own."""
    found = _ANSWER.search(text)
    return NOTHING if found is None else Extracted(found[1], "marker")
