"""Frames over a pipe: whole values, or an error that says why there is none."""

import os
import struct
import threading
from collections.abc import Iterator

import pytest

from verifiers import frames
from verifiers.frames import FrameError


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for end in (reading, writing):
        try:
            os.close(end)
        except OSError:
            continue  # closed by the test


def test_a_frame_longer_than_the_pipe_holds_arrives_whole(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    value = ["a" * 3_000_000, {"b": [None, 1.5, "ü\ud800"]}]
    writer = threading.Thread(target=frames.write, args=(writing, frames.encode(value)))
    writer.start()
    assert frames.read(reading) == value
    writer.join()


@pytest.mark.parametrize("sent", [b"", b"\x00\x00", struct.pack(">I", 10) + b"[1,"])
def test_a_pipe_closed_early_is_its_end(pipe: tuple[int, int], sent: bytes) -> None:
    reading, writing = pipe
    os.write(writing, sent)
    os.close(writing)
    with pytest.raises(EOFError):
        frames.read(reading)


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (struct.pack(">I", 2**31), "2147483648 bytes"),
        (struct.pack(">I", 3) + b"[1,", "not JSON"),
        (struct.pack(">I", 50_000) + b"[" * 50_000, "not JSON"),
    ],
)
def test_bytes_that_are_no_frame_are_told(pipe: tuple[int, int], sent: bytes, why: str) -> None:
    reading, writing = pipe
    os.write(writing, sent)
    with pytest.raises(FrameError, match=why):
        frames.read(reading)


def test_what_no_frame_can_carry_is_refused() -> None:
    nested: list[object] = []
    for _ in range(100_000):
        nested = [nested]
    for value in (object(), {1, 2}, nested):
        with pytest.raises(FrameError, match="not plain data"):
            frames.encode(value)
    assert len(frames.encode("a" * 8, limit=10)) == 14
    with pytest.raises(FrameError, match="11 bytes where at most 10"):
        frames.encode("a" * 9, limit=10)
