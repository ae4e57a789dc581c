"""What the first phase refuses, so that no later one ends a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines import run
from pipelines.prompts import PromptTooLong
from tests.pipelines import toy


def test_a_question_that_is_too_long_is_told_before_it_is_drawn(tmp_path: Path) -> None:
    data = toy.write_data(tmp_path / "data")
    with (data / "gsm8k" / "train.jsonl").open("a", encoding="utf-8") as rows:
        rows.write(json.dumps({"question": "long " * 2000, "answer": "1\n#### 1"}) + "\n")
    untrained = {"make": {"tokenizer": "bpe", "vocabulary": 280, "width": 32, "layers": 1}}
    config = toy.config(tmp_path, data, "reward=verifier", policy=untrained)
    with pytest.raises(PromptTooLong, match="gsm8k/train/96: its prompt has"):
        run(config, quiet=True)
    assert not (tmp_path / "run" / "start").exists()
