from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from iterative_grpo.engines._prefixes import plan

PROMPTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6).map(tuple), min_size=1)


@given(PROMPTS)
def test_stems_are_exactly_the_prompts_no_other_prompt_extends(
    prompts: list[tuple[int, ...]],
) -> None:
    found = plan(prompts)
    distinct = set(prompts)
    maximal = {p for p in distinct if not any(q != p and q[: len(p)] == p for q in distinct)}
    assert len(found.stems) == len(maximal)
    assert set(found.stems) == maximal
    for prompt, stem in zip(prompts, found.stem_of, strict=True):
        assert found.stems[stem][: len(prompt)] == prompt
    lengths = [len(stem) for stem in found.stems]
    assert lengths == sorted(lengths)
