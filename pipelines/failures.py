"""What an error means to who gave the command: one line and an exit code, or a defect to trace."""

from __future__ import annotations

import errno
import json
from pathlib import Path

from pipelines.artifacts import write_json

FAILED, REFUSED = 1, 2

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

TOLD_OF_NO_ROOM = ("o space left", "uota exceeded", "ile too large", "unexpected pos")
"""What safetensors and torch say of a file that could not be written to its end."""

TOLD_OF_NO_MEMORY = ("out of memory", "can't allocate memory", "STATUS_ALLOC_FAILED")
"""What torch says where a GPU or the processor has no memory left."""

OURS = ("iterative_grpo", "reward_models", "verifiers", "pipelines")


class PhaseFailed(RuntimeError):
    """A phase failed in processes of its own; `code` is the exit code that its error asks for."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


def exit_code(error: Exception) -> int | None:
    """Return the exit code of an error that is a message to its user, None for a defect."""
    if isinstance(error, PhaseFailed):
        return error.code
    if isinstance(error, OSError) or _io_failed(error) or _out_of_memory(error):
        return FAILED
    return REFUSED if type(error).__module__.partition(".")[0] in OURS else None


def message(error: Exception) -> str:
    """Return what the user is told."""
    text = str(error)
    if _out_of_memory(error):
        return (
            f"{text.splitlines()[0] if text else 'no memory left'}\n"
            "What needs less, also for a run that has begun: where the policy trains, "
            "optimize.gradient_checkpointing=true or a smaller optimize.micro_batch (but with loss "
            "bnpo); where it is sampled, a smaller engine_options.cache_gib; shards over several "
            "GPUs (launch.config_file). For a new run: reward_model.lora, policy.lora. The same "
            "command goes on"
        )
    full = isinstance(error, OSError) and error.errno in NO_ROOM
    if full or (_io_failed(error) and any(sign in text for sign in TOLD_OF_NO_ROOM)):
        return f"{text}: no room to write a file; make some, and the same command goes on"
    return text


def _out_of_memory(error: Exception) -> bool:
    """Whether memory ran out: torch's errors have no base that is loaded without it."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(sign in text for sign in TOLD_OF_NO_MEMORY)


def _io_failed(error: Exception) -> bool:
    """Whether a file could not be written: on a full disk, torch and safetensors have their own."""
    text = str(error)
    if type(error) is RuntimeError:
        return "inline_container.cc" in text
    return type(error).__name__ == "SafetensorError" and "I/O" in text


def leave(folder: Path, rank: int, error: Exception, code: int) -> None:
    """Leave a worker's error in `folder` for the command that started it."""
    write_json(folder / f"failed.{rank}.json", {"message": message(error), "code": code})


def left(folder: Path) -> PhaseFailed | None:
    """Return the error that a worker has left first: those of others may only follow from it."""
    files = sorted(folder.glob("failed.*.json"), key=lambda file: file.stat().st_mtime_ns)
    if not files:
        return None
    told = json.loads(files[0].read_text(encoding="utf-8"))
    return PhaseFailed(told["message"], told["code"])
