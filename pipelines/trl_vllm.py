"""TRL's vLLM in policy phases (`optimize.vllm`): what it lacks, before any compute is spent."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Sequence
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from iterative_grpo.types import Problem
from pipelines import places, policies, prompts, trl_settings
from pipelines.config import Config

SERVE = (
    'VLLM_SERVER_DEV_MODE=1 vllm serve POLICY --weight-transfer-config \'{"backend": "nccl"}\' '
    "--logprobs-mode processed_logprobs --max-logprobs -1"
)
"""How TRL's server is started: https://huggingface.co/docs/trl/vllm_integration."""

PATIENCE = 10.0
"""Seconds that a server has for an answer."""


class Unserved(ValueError):
    """Policy steps could not be sampled: no vLLM, no GPU, no server, or one that does not fit."""


def check(config: Config, problems: Sequence[Problem]) -> str | None:
    """Return what is known of a server, as a line for people.

    Raises Unserved, unless every policy phase has been finished.
    """
    mode = config.optimize.vllm
    if mode == "off" or all_optimized(config):
        return None
    lacking(mode)
    return check_server(config, problems) if mode == "server" else None


def all_optimized(config: Config) -> bool:
    """Whether every policy phase has been finished."""
    numbers = range(1, config.iterations + 1)
    return all(places.phase(config.run_dir, k, "optimize").exists() for k in numbers)


def lacking(mode: str) -> None:
    """Refuse what this machine lacks."""
    import torch

    if importlib.util.find_spec("vllm") is None:
        raise Unserved(
            f"optimize.vllm={mode} needs vLLM, which is not installed here: "
            "pip install vllm, or set optimize.vllm=off"
        )
    if mode == "server" and not torch.cuda.is_available():
        raise Unserved(
            "optimize.vllm=server sends the policy's weights from GPU to GPU, and this machine has "
            "none; set optimize.vllm=off"
        )


def check_server(config: Config, problems: Sequence[Problem]) -> str:
    """Refuse a server that is not there, cannot take weights, or that the prompts do not fit."""
    from pipelines.phases import sample

    address = server(config)
    tokenizer = policies.load_tokenizer(str(config.policy.model), config.policy)
    text = problems[0].question
    try:
        served = asked(address, "/v1/models")["data"][0]
        name, positions = served["id"], served["max_model_len"]
        told = asked(address, "/server_info?config_format=json")["vllm_config"]
        transfer = told["weight_transfer_config"]
        dtype, logps = (told["model_config"][key] for key in ("dtype", "logprobs_mode"))
        plain = {"prompt": text, "add_special_tokens": False}
        token_ids = asked(address, "/tokenize", plain)["tokens"]
    except (KeyError, IndexError, TypeError) as error:
        raise Unserved(f"{address} does not answer as vLLM does: {error!r}") from None
    if transfer is None:
        raise Unserved(f"{address} takes no new weights; start it again with: {SERVE}")
    if logps != "processed_logprobs":
        raise Unserved(
            f"{address} returns {logps}, expected processed_logprobs: TRL corrects the gradient by "
            f"them; start it again with: {SERVE}"
        )
    if token_ids != tokenizer(text, add_special_tokens=False)["input_ids"]:
        raise Unserved(
            f"{address} serves {name}, whose tokens are not those of policy.model "
            f"{config.policy.model}; serve that model"
        )
    try:
        sample.prompts_of(config, problems, tokenizer, positions)
    except prompts.PromptTooLong as error:
        raise Unserved(f"{address} was started with {positions:,} positions: {error}") from None
    dtype = dtype.removeprefix("torch.")
    return (
        f"policy steps are sampled by vLLM at {address}: {name}, {dtype}, {positions:,} positions"
    )


def server(config: Config) -> str:
    """Return the server's address, as TRL finds it."""
    from trl import GRPOConfig

    defaults = {field.name: field.default for field in dataclasses.fields(GRPOConfig)}
    given: dict[str, Any] = {**defaults, **trl_settings.typed(config.optimize.trl)}
    base = given["vllm_server_base_url"]
    if base is not None:
        return str(base).rstrip("/")
    return f"http://{given['vllm_server_host']}:{given['vllm_server_port']}"


def asked(address: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Return a server's answer, or refuse it."""
    try:
        parts = urlsplit(address)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        with closing(kind(parts.netloc, timeout=PATIENCE)) as connection:
            if body is None:
                connection.request("GET", parts.path + path)
            else:
                headers = {"Content-Type": "application/json"}
                connection.request("POST", parts.path + path, json.dumps(body), headers)
            answer = connection.getresponse()
            if answer.status == HTTPStatus.OK:
                return json.load(answer)
        found = f"answers {path} with {answer.status} {answer.reason}"
    except (OSError, HTTPException, ValueError) as error:
        found = f"cannot be reached ({error})"
    raise Unserved(
        f"optimize.vllm=server: {address} {found}; start it with: {SERVE} (another address: "
        "optimize.trl.vllm_server_base_url)"
    )


def end(trainer: Any) -> None:
    """End the vLLM beside a trainer: at exit it would look for groups that the process has left."""
    beside = getattr(trainer.vllm_generation, "llm", None)
    if beside is not None:
        beside.llm_engine.engine_core.shutdown()
