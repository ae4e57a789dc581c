"""Errors in this process and in workers: which exit code, one line or a traceback."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from pipelines import cli, failures, launching
from pipelines.artifacts import ArtifactError
from pipelines.failures import PhaseFailed
from pipelines.progress import Progress
from pipelines.runs import Job
from tests.pipelines import toy


class SafetensorError(Exception):
    """Named as safetensors' own, which has no useful base."""


CODES = [
    (ArtifactError("changed"), cli.REFUSED),
    (PhaseFailed("killed"), cli.FAILED),
    (PhaseFailed("changed", cli.REFUSED), cli.REFUSED),
    (FileNotFoundError("gone"), cli.FAILED),
    (ValueError("a defect"), None),
    (KeyError("a defect"), None),
]


@pytest.mark.parametrize(("error", "code"), CODES)
def test_exit_codes(error: Exception, code: int | None) -> None:
    assert failures.exit_code(error) == code


def test_a_full_disk_is_a_failure_and_no_defect() -> None:
    SafetensorError.__module__ = "safetensors"
    assert failures.exit_code(SafetensorError("I/O error: no space left")) == cli.FAILED
    assert failures.exit_code(SafetensorError("invalid header")) is None
    written = "[enforce fail at inline_container.cc:672] . unexpected pos 5120 vs 5012"
    assert failures.exit_code(RuntimeError(written)) == cli.FAILED
    quota = SafetensorError("I/O error: Disk quota exceeded (os error 122)")
    for full in (RuntimeError(written), OSError(errno.ENOSPC, "No space left on device"), quota):
        assert failures.message(full).endswith("make some, and the same command goes on")
    assert failures.message(OSError(errno.EACCES, "Permission denied")).endswith("denied")
    assert failures.exit_code(RuntimeError("a defect")) is None


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried\nby other processes"), "CUDA out of"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), "CUDA error: CUBLAS"),
        (MemoryError(), "no memory left"),
    ],
)
def test_of_a_full_memory_it_is_told_what_needs_less(error: Exception, told: str) -> None:
    assert failures.exit_code(error) == cli.FAILED
    first, advice = failures.message(error).split("\n")
    assert first.startswith(told)
    assert "optimize.micro_batch" in advice
    assert "engine_options.cache_gib" in advice


def test_a_processor_without_memory_is_told_alike() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**62, dtype=torch.int8)
    assert failures.exit_code(caught.value) == cli.FAILED


def test_the_error_that_was_left_first_is_told(tmp_path: Path) -> None:
    assert failures.left(tmp_path) is None
    failures.leave(tmp_path, 1, ArtifactError("the cause"), failures.REFUSED)
    failures.leave(tmp_path, 0, ConnectionError("its peer has gone"), failures.FAILED)
    told = failures.left(tmp_path)
    assert told is not None
    assert (str(told), told.code) == ("the cause", failures.REFUSED)


IN_WORKERS = [
    ("nosuch", cli.REFUSED, "phase nosuch of iteration 1: unknown phase 'nosuch'"),
    ("label", cli.FAILED, "phase label of iteration 1: .*samples.jsonl"),
    ("evaluate", cli.FAILED, "phase evaluate of iteration 1 failed; its message stands above"),
]


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize(("phase", "code", "message"), IN_WORKERS)
def test_an_error_in_workers(
    phase: str,
    code: int,
    message: str,
    processes: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    launch = {"mode": "accelerate", "processes": processes}
    config = toy.config(tmp_path, toy.write_data(tmp_path / "data"), launch=launch)
    # Nothing is there for label, and evaluate is not even told of a policy.
    inputs = {"samples": tmp_path, "policy": tmp_path} if phase == "label" else {}
    job = Job(phase, 1, config, inputs, tmp_path, Progress(quiet=True))
    with pytest.raises(PhaseFailed, match=message) as raised:
        launching.launched(job)
    assert failures.exit_code(raised.value) == code
    printed = capfd.readouterr().err
    defect = phase == "evaluate"
    assert ("KeyError: 'policy'" in printed) is defect
    assert ("of the phase ended with exit code 1" in printed) is defect
    assert ("Traceback" in printed) is defect
    assert "ChildFailedError" not in printed
    assert "CalledProcessError" not in printed
