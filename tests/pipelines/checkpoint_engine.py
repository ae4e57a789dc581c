"""An engine that loads finished checkpoints itself, as servers do, put beside the others."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from iterative_grpo import engines

NAME = "from_checkpoints"

_SOURCE = """
from pathlib import Path

from transformers import AutoModelForCausalLM

from iterative_grpo.engines import native

READS_CHECKPOINTS = True
OPENED, CLOSED = [], []


class Engine(native.Engine):
    def close(self):
        CLOSED.append(self.path)


def load(path, tokenizer, *, dtype, trust_remote_code):
    if "broken" in str(path):
        raise ImportError("the server is not installed here")
    assert (dtype, trust_remote_code) == ("float32", False)
    engine = Engine(AutoModelForCausalLM.from_pretrained(path), tokenizer)
    engine.path = Path(path)
    OPENED.append(engine.path)
    return engine
"""


@contextmanager
def added(folder: Path, name: str = NAME, source: str = _SOURCE) -> Iterator[ModuleType]:
    """Add the engine, from a file in a new folder; what it opened and closed is in its module.

    Or another one by its name and source.
    """
    folder.mkdir()
    (folder / f"{name}.py").write_text(source, encoding="utf-8")
    engines.__path__.append(str(folder))
    importlib.invalidate_caches()
    try:
        yield importlib.import_module(f"iterative_grpo.engines.{name}")
    finally:
        engines.__path__.remove(str(folder))
        sys.modules.pop(f"iterative_grpo.engines.{name}", None)
