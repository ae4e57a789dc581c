"""What TRL's vLLM lacks is told before any compute is spent."""

from __future__ import annotations

import copy
import importlib.util
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines import launching, policies, questions, run, settings, trl_vllm
from pipelines.config import Config
from pipelines.progress import Progress
from pipelines.runs import Job
from tests.pipelines import toy

SERVED = {
    "/v1/models": {"data": [{"id": "served", "max_model_len": 128}]},
    "/server_info": {
        "vllm_config": {
            "weight_transfer_config": {"backend": "nccl"},
            "model_config": {"logprobs_mode": "processed_logprobs", "dtype": "torch.bfloat16"},
        }
    },
}
"""What vLLM 0.32 answers, of it what is read."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of data and of a run that has made a policy."""
    folder = tmp_path_factory.mktemp("made")
    toy.write_data(folder / "data")
    run(toy.config(folder, folder / "data", "iterations=1"), quiet=True)
    return folder


def configured(folder: Path, made: Path, *overrides: str, **optimize: Any) -> Config:
    raw = toy.raw(folder, made / "data", policy={"model": str(made / "run/start/policy")})
    raw["optimize"] |= optimize
    return settings.load(raw, overrides)


@contextmanager
def serving(answers: dict[str, Any]) -> Iterator[str]:
    """Answer as a vLLM server does; /tokenize with the code points of a text."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(answers.get(self.path.partition("?")[0]))

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(answers.get(self.path))

        def answer(self, found: Any) -> None:
            self.send_response(404 if found is None else 200)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def asked(config: Config, answers: dict[str, Any]) -> str:
    """Return what the check of a server says."""
    with serving(answers) as address:
        given = config.optimize.model_copy(update={"trl": {"vllm_server_base_url": address}})
        config = config.model_copy(update={"optimize": given})
        found = trl_vllm.check_server(config, questions.training(config).problems)
    return found.replace(address, "ADDRESS")


def tokens(config: Config) -> list[int]:
    """Return the policy's tokens of the first training question."""
    tokenizer = policies.load_tokenizer(str(config.policy.model), config.policy)
    text = questions.training(config).problems[0].question
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed here")
@pytest.mark.parametrize("mode", ["colocate", "server"])
def test_a_missing_vllm_is_told(mode: str, made: Path, tmp_path: Path) -> None:
    with pytest.raises(trl_vllm.Unserved, match=r"not installed here: .*pip install vllm"):
        run(configured(tmp_path, made, vllm=mode), quiet=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_server_needs_a_gpu_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(trl_vllm.Unserved, match="this machine has none"):
        trl_vllm.lacking("server")
    trl_vllm.lacking("colocate")


def test_nothing_is_needed_once_all_policy_phases_are_done(made: Path) -> None:
    done = configured(made, made, "iterations=1", vllm="server")
    assert trl_vllm.check(done, []) is None
    with pytest.raises(trl_vllm.Unserved):
        trl_vllm.check(done.model_copy(update={"iterations": 2}), [])


def test_a_server_that_fits_is_named(made: Path, tmp_path: Path) -> None:
    config = configured(tmp_path, made, vllm="server")
    found = asked(config, {**SERVED, "/tokenize": {"tokens": tokens(config)}})
    assert found == "policy steps are sampled by vLLM at ADDRESS: served, bfloat16, 128 positions"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (
            ("/server_info",),
            None,
            r"answers /server_info\?config_format=json with 404 .*VLLM_SERVER_DEV_MODE=1",
        ),
        (("/v1/models", "data"), [], "does not answer as vLLM does: IndexError"),
        (
            ("/server_info", "vllm_config", "weight_transfer_config"),
            None,
            "takes no new weights; start it again with: .*--weight-transfer-config",
        ),
        (
            ("/server_info", "vllm_config", "model_config", "logprobs_mode"),
            "raw_logprobs",
            "returns raw_logprobs, expected processed_logprobs",
        ),
        (("/tokenize", "tokens"), [1, 2], "serves served, whose tokens are not those of"),
        (
            ("/v1/models", "data", 0, "max_model_len"),
            30,
            "was started with 30 positions: gsm8k/train.*the answer needs up to 20, together more",
        ),
    ],
)
def test_a_server_that_does_not_fit_is_refused(
    path: tuple[str | int, ...], value: Any, said: str, made: Path, tmp_path: Path
) -> None:
    config = configured(tmp_path, made, vllm="server")
    answers = copy.deepcopy({**SERVED, "/tokenize": {"tokens": tokens(config)}})
    place: Any = answers
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(trl_vllm.Unserved, match=said):
        asked(config, answers)


def test_a_server_that_is_not_there_is_refused_at_once(made: Path, tmp_path: Path) -> None:
    with serving({}) as gone:
        pass
    config = configured(tmp_path, made, vllm="server", trl={"vllm_server_base_url": gone})
    with pytest.raises(trl_vllm.Unserved, match=f"{gone} cannot be reached .*; start it with: "):
        trl_vllm.check_server(config, questions.training(config).problems)


@pytest.mark.parametrize("address", ["http://[", "localhost:8000", "http://localhost:gpu"])
def test_no_address_is_refused(address: str) -> None:
    with pytest.raises(trl_vllm.Unserved, match="cannot be reached"):
        trl_vllm.asked(address, "/v1/models")


def test_the_address_is_what_trl_would_ask(made: Path, tmp_path: Path) -> None:
    assert trl_vllm.server(configured(tmp_path, made)) == "http://0.0.0.0:8000"
    other = {"vllm_server_host": "gpu1", "vllm_server_port": 9}
    assert trl_vllm.server(configured(tmp_path, made, trl=other)) == "http://gpu1:9"


@pytest.mark.parametrize(
    ("vllm", "phase", "own"),
    [
        ("off", "optimize", False),
        ("colocate", "sample", False),
        ("colocate", "optimize", True),
        ("server", "optimize", True),
    ],
)
def test_trls_vllm_has_a_process_of_its_own(
    vllm: str, phase: str, own: bool, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[bool] = []
    monkeypatch.setattr(launching, "launched", lambda job: started.append(True))
    monkeypatch.setattr(launching, "inline", lambda job: started.append(False))
    config = configured(tmp_path, made, vllm=vllm)
    launching.starter(config)(Job(phase, 1, config, {}, tmp_path, Progress(quiet=True)))
    assert started == [own]
