"""Two processes train the same model as one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]


FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
}


def launch(
    folder: Path, processes: int, count: int, loss: str, *more: str, shards: bool = False
) -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    started = []
    for rank in range(processes):
        place = {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "ACCELERATE_USE_CPU": "true",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
            **(FSDP if shards else {}),
        }
        arguments = [str(folder), str(count), loss, *more]
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "tests.reward_models.train_on_ranks", *arguments],
                cwd=ROOT,
                env=os.environ | (place if processes > 1 else {"PYTHONPATH": str(ROOT)}),
                stderr=subprocess.PIPE,
            )
        )
    for process in started:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "loss", "more", "shards"),
    [
        (33, "bce", (), False),
        (60, "bradley_terry", (), False),
        (33, "bce", (), True),
        (33, "bce", ("lora",), True),
        (37, "bce", ("pieces",), False),
        (37, "bce", ("pieces",), True),
    ],
)
def test_two_processes_equal_one(
    tmp_path: Path, count: int, loss: str, more: tuple[str, ...], shards: bool
) -> None:
    # 33 rows in batches of 16 leave one row for two processes, 37 leave five: with pieces of two
    # rows, one process has more of them.
    launch(tmp_path, 1, count, loss, *(name for name in more if name != "pieces"))
    launch(tmp_path, 2, count, loss, *more, shards=shards)
    one = load_file(tmp_path / "on1" / "model.safetensors")
    two = load_file(tmp_path / "on2" / "model.safetensors")
    assert one.keys() == two.keys()
    if loss == "bradley_terry":
        # A pair's difference does not depend on the bias: its gradient is rounding alone.
        del one["score.bias"], two["score.bias"]
    for name, weight in one.items():
        # Adam divides by the gradient's size: where it is near zero, rounding decides a sign.
        close = (weight - two[name]).abs() < 1e-4
        assert close.float().mean() > 0.99, name
    first = floats((tmp_path / "heldout1").read_text())
    second = floats((tmp_path / "heldout2").read_text())
    assert first == pytest.approx(second, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("shards", [False, True])
def test_the_best_weights_are_those_that_come_back(tmp_path: Path, shards: bool) -> None:
    launch(tmp_path, 2, 33, "bce", "overfit", shards=shards)


def floats(text: str) -> list[float]:
    return [float(part) for part in text.strip("(),").split(",")]
