"""The wire between the pool and its workers: one JSON value a frame, its length in front.

JSON and not pickle: what a worker sends back was computed from hostile text, and reading a pickle
runs code. A frame is four bytes of length (big endian) and that many bytes of ASCII JSON.
"""

import json
import os
import struct

MAX_FRAME_BYTES = 16 * 1024 * 1024
"""The longest frame either side reads or writes; a longer reply becomes an error in the worker."""

_LENGTH = struct.Struct(">I")


class FrameError(ValueError):
    """A value that does not fit a frame, or bytes that are none."""


def encode(value: object, limit: int = MAX_FRAME_BYTES) -> bytes:
    """Turn plain data into one frame.

    Raises:
        FrameError: the value is not plain data (None, bool, int, float, str, list, dict with text
            keys), is nested too deeply, holds an integer too long to print, or exceeds ``limit``.
    """
    try:
        body = json.dumps(value, separators=(",", ":")).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise FrameError(f"not plain data that JSON can carry: {error}") from error
    if len(body) > limit:
        raise FrameError(f"{len(body)} bytes where at most {limit} are sent")
    return _LENGTH.pack(len(body)) + body


def write(descriptor: int, frame: bytes) -> None:
    """Write a whole frame. Raises OSError when the other side is gone."""
    view = memoryview(frame)
    while view:
        view = view[os.write(descriptor, view) :]


def read(descriptor: int) -> object:
    """Read one frame and return its value.

    Raises:
        EOFError: the other side closed the pipe, between frames or inside one.
        FrameError: the bytes are no frame.
    """
    (length,) = _LENGTH.unpack(_read_exactly(descriptor, _LENGTH.size))
    if length > MAX_FRAME_BYTES:
        raise FrameError(f"a frame of {length} bytes where at most {MAX_FRAME_BYTES} are read")
    try:
        return json.loads(_read_exactly(descriptor, length))
    except (ValueError, RecursionError) as error:
        raise FrameError(f"not JSON: {error}") from error


def _read_exactly(descriptor: int, count: int) -> bytes:
    parts: list[bytes] = []
    while count:
        part = os.read(descriptor, min(count, 1 << 20))
        if not part:
            raise EOFError("the pipe was closed")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
