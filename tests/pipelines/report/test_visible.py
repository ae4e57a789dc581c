"""Nothing that a text holds may act where it is shown."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from pipelines.report.visible import visible


@given(st.text(st.characters(), max_size=200))
def test_only_seen_characters_come_out(text: str) -> None:
    shown = visible(text)
    shown.encode("utf-8")  # lone surrogates would raise
    assert all(c in "\n\t" or not unicodedata.category(c).startswith("C") for c in shown)


def test_ordinary_text_stays_and_hostile_text_is_spelt_out() -> None:
    assert visible("2·3 = 6 €\n\\boxed{6} 答") == "2·3 = 6 €\n\\boxed{6} 答"
    assert visible("a\x1b[31m\u202eb\ud800\x00") == "a\\x1b[31m\\u202eb\\ud800\\x00"


def test_long_text_is_cut_and_says_so() -> None:
    assert visible("x" * 12, limit=10) == "xxxxxxxxxx [... 2 more characters]"
