"""A policy and data of the tests' own making, and the command on them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import making
from tests.pipelines import toy


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = making.make_tokenizer("bpe", ["1+2=3\n#### 3"], 270)
    shape = making.ModelShape(width=32, layers=2, heads=2, context=256)
    making.make_policy(tokenizer, shape, seed=0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write_data(tmp_path_factory.mktemp("data"))
