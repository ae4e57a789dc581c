"""What a run sets in the process that calls it, and puts back when it ends.

A command's process ends with it; in a notebook or a script the work goes on.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import random
import signal
import threading
from collections.abc import Iterator
from functools import cache


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Compute as a process of our own would, and leave the caller's as it was found.

    Phases seed all generators, set threads and silence libraries. Under a default precision or
    device of the caller's, equal settings would give another policy, and without gradients none.
    """
    import numpy as np
    import torch
    from transformers.utils import logging as chatter

    # A GPU that nobody has used yet is not woken up for its generator.
    used = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    accelerate = logging.getLogger("accelerate")
    bars = chatter.is_progress_bar_enabled()
    device = torch.get_default_device()
    with contextlib.ExitStack() as after:
        after.enter_context(torch.random.fork_rng(devices=used))
        after.callback(random.setstate, random.getstate())
        after.callback(np.random.set_state, np.random.get_state())
        after.callback(torch.set_num_threads, torch.get_num_threads())
        after.callback(torch.set_default_dtype, torch.get_default_dtype())
        after.callback(chatter.set_verbosity, chatter.get_verbosity())
        after.callback(chatter.enable_progress_bar if bars else chatter.disable_progress_bar)
        after.callback(accelerate.setLevel, accelerate.level)
        after.callback(_let_go_of_imports)
        after.enter_context(torch.inference_mode(False))  # and so with gradients
        torch.set_default_dtype(torch.float32)
        if device.type != "cpu":
            after.callback(torch.set_default_device, device)
            torch.set_default_device(None)
        yield


@cache
def keep_imports() -> None:
    """Tell the garbage collector, once a run, that what was imported stays.

    The trainer collects when it ends, and what torch, transformers and TRL hold takes a third of a
    second to walk.
    """
    with interrupts_later():
        gc.collect()
    gc.freeze()


@contextlib.contextmanager
def interrupts_later() -> Iterator[None]:
    """Let signals wait for the end: in a destructor that collecting runs, Ctrl-C would be lost."""
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in _handled()}
    for number in before:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


class Terminated(KeyboardInterrupt):
    """SIGTERM, as schedulers send it to a job whose time is over: it ends a command as Ctrl-C."""


@contextlib.contextmanager
def heeding_sigterm() -> Iterator[None]:
    """Raise Terminated inside at SIGTERM, where the process has no answer of its own to it."""
    if signal.SIGTERM not in _handled() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end(*_: object) -> None:
    raise Terminated


def _handled() -> list[signal.Signals]:
    """Return which signals can be given another handler here, and theirs back."""
    # Only the main thread may set handlers, and one that is not Python's could not be put back.
    if threading.current_thread() is not threading.main_thread():
        return []
    return [it for it in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(it) is not None]


def _let_go_of_imports() -> None:
    # What the caller held then was kept with them, and would never be collected.
    if keep_imports.cache_info().currsize:
        gc.unfreeze()
        keep_imports.cache_clear()
