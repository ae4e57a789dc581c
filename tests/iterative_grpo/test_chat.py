"""Templates that write the date."""

from __future__ import annotations

from iterative_grpo.chat import written
from tests.iterative_grpo.engines import tiny


def test_a_template_that_writes_the_date_writes_one_date() -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = (
        "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }} {% endif %}"
        "{{ messages[0].content }}"
        "{% if add_generation_prompt %} assistant:{% endif %}"
    )
    turns = [{"role": "user", "content": "2+2?"}]
    assert written(tokenizer, turns) == "26 Jul 2024 2+2?"
    assert written(tokenizer, turns, add_generation_prompt=True) == "26 Jul 2024 2+2? assistant:"
