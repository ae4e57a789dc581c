"""A run in somebody's process: neither disturbs the other."""

from __future__ import annotations

import gc
import logging
import random
import signal
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.utils import logging as chatter

from pipelines import caller, run
from pipelines.artifacts import read_manifest
from tests.pipelines import toy

SMALL = (
    "iterations=1",
    "reward=verifier",
    "policy.warm_start.steps=4",
    "optimize.steps=1",
    "optimize.prompts=2",
)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_a_destructor_is_not_lost(number: signal.Signals) -> None:
    class Interrupted:
        def __init__(self) -> None:
            self.itself = self  # only the collector finds it

        def __del__(self) -> None:
            signal.raise_signal(number)

    def collect() -> None:
        with caller.heeding_sigterm():
            caller.keep_imports()

    # A process in the background may have been told to ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    caller.keep_imports.cache_clear()
    Interrupted()
    try:
        with pytest.raises(KeyboardInterrupt) as raised:
            collect()
        assert isinstance(raised.value, caller.Terminated) == (number is signal.SIGTERM)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGINT, before)
        gc.unfreeze()
    # Elsewhere than in the main thread, nobody may set a handler.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(caller.keep_imports).result()
    gc.unfreeze()
    caller.keep_imports.cache_clear()


@pytest.fixture
def settings_of_a_caller(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # it would decide instead of the run
    verbosity, threads = chatter.get_verbosity(), torch.get_num_threads()
    chatter.set_verbosity(logging.CRITICAL)
    chatter.enable_progress_bar()
    torch.set_num_threads(3)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_grad_enabled(False)
    yield
    torch.set_grad_enabled(True)
    torch.set_default_device(None)
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(threads)
    chatter.disable_progress_bar()
    chatter.set_verbosity(verbosity)


def state() -> list[object]:
    return [
        random.getstate(),
        str(np.random.get_state()),
        torch.get_rng_state().tolist(),
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        chatter.get_verbosity(),
        chatter.is_progress_bar_enabled(),
        logging.getLogger("accelerate").level,
        gc.get_freeze_count(),
    ]


def fingerprint(policy: Path) -> object:
    return read_manifest(policy.parent)["fingerprint"]


class Node:
    """What only the garbage collector takes away."""

    def __init__(self) -> None:
        self.itself = self


@pytest.mark.slow
def test_a_run_is_the_same_in_any_process_and_leaves_it_as_it_was(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    data = toy.write_data(tmp_path / "data")
    plain = run(toy.config(tmp_path / "plain", data, *SMALL), quiet=True)
    request.getfixturevalue("settings_of_a_caller")
    theirs = Node()
    gone = weakref.ref(theirs)
    before = state()
    policy = run(toy.config(tmp_path / "theirs", data, *SMALL), quiet=True)
    assert state() == before
    assert fingerprint(policy) == fingerprint(plain)
    del theirs
    gc.collect()
    assert gone() is None
