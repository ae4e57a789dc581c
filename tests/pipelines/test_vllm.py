"""vLLM in a run: as the engine of finished checkpoints, and TRL's own beside the trainer."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import run, trl_vllm
from pipelines.policies import PolicyError
from tests.pipelines import toy
from tests.pipelines.toy import lines

INSTALLED = importlib.util.find_spec("vllm") is not None
SHAPE = "policy.make.width=64", "policy.make.heads=2"  # vLLM has no kernels for narrower heads


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write_data(tmp_path_factory.mktemp("data"))


@pytest.mark.skipif(INSTALLED, reason="vLLM is installed here")
def test_a_missing_vllm_is_told_before_any_compute(tmp_path: Path, data: Path) -> None:
    with pytest.raises(PolicyError, match=r"engine vllm: .*pip install vllm, or use"):
        run(toy.config(tmp_path, data, "engine=vllm"), quiet=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED, reason="vLLM is not installed here")
def test_the_engine_samples_labels_and_evaluates(tmp_path: Path, data: Path) -> None:
    process = "supervision=process", "label.labeler=monte_carlo", "label.continuations=2"
    run(toy.config(tmp_path, data, "engine=vllm", "iterations=1", *process, *SHAPE), quiet=True)
    labels = json.loads((tmp_path / "run" / "iterations/01/label/summary.json").read_text())
    assert labels["tokens"] > 0
    rows = lines(tmp_path / "run" / "iterations/01/sample/samples.jsonl")
    assert len(rows) == 24 * 4
    assert all(1 <= len(row["token_ids"]) <= 20 for row in rows)


def trained(mode: str, tmp_path: Path, data: Path, **trl: Any) -> list[dict[str, Any]]:
    """Return the policy steps of two iterations, started as a command."""
    run(toy.config(tmp_path / "made", data, "iterations=1", *SHAPE), quiet=True)
    policy = tmp_path / "made" / "run" / "start" / "policy"
    settings = toy.raw(tmp_path, data, policy={"model": str(policy)})
    settings["optimize"] |= {"vllm": mode, "learning_rate": 3e-3, "trl": trl}
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    with server(policy, trl.get("vllm_server_base_url")):
        done = subprocess.run(
            [sys.executable, "-m", "pipelines.cli", "run", str(file)],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=900,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    steps = lines(tmp_path / "run" / "metrics" / "steps.jsonl")
    assert [row["iteration"] for row in steps] == [1] * 4 + [2] * 4
    assert steps[3]["kl"] > 1e-3  # the policy has moved
    return steps


def environment() -> dict[str, str]:
    own = Path(__file__).with_name("vllm_on_cpu"), Path(__file__).resolve().parents[2]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, own)),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_SERVER_DEV_MODE": "1",
    }


@contextmanager
def server(policy: Path, address: str | None) -> Iterator[None]:
    """Serve a policy as docs/performance.md says, in float32; nothing without an address."""
    if address is None:
        yield
        return
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(policy)]
    command += ["--port", address.rpartition(":")[2], "--dtype", "float32"]
    command += ["--weight-transfer-config", '{"backend": "nccl"}']
    command += ["--logprobs-mode", "processed_logprobs", "--max-logprobs", "-1"]
    log = policy.parent / "server.log"
    with (
        log.open("wb") as out,
        subprocess.Popen(command, env=environment(), stdout=out, stderr=out) as process,
    ):
        try:
            wait_for(address, process)
            yield
        finally:
            process.terminate()


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        assert process.poll() is None
        try:
            trl_vllm.asked(address, "/v1/models")
        except trl_vllm.Unserved:
            time.sleep(1)
        else:
            return
    raise TimeoutError(address)


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED, reason="vLLM is not installed here")
def test_trl_samples_beside_the_trainer_with_the_weights_of_each_step(
    tmp_path: Path, data: Path
) -> None:
    for row in trained("colocate", tmp_path, data):
        # vLLM samples in bfloat16.
        assert row["sampling/sampling_logp_difference/mean"] < 0.02


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED, reason="vLLM is not installed here")
def test_a_server_samples_with_the_weights_of_each_step(tmp_path: Path, data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    for row in trained("server", tmp_path, data, vllm_server_base_url=address):
        assert row["sampling/sampling_logp_difference/max"] < 1e-4
