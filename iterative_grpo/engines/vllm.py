"""Sampling a checkpoint with vLLM, in an environment that has it.

vLLM reads its weights once, from a folder: this engine samples, labels and evaluates finished
checkpoints, and does not follow a policy in training. Token ids go in and come out; text is decoded
with the caller's tokenizer, as for every engine, and so vLLM is stepped from here: a row is taken
out of it at the token that completes a stop string.
"""

from __future__ import annotations

import gc
import hashlib
import importlib.util
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iterative_grpo import timing
from iterative_grpo.engines import _endings
from iterative_grpo.engines._endings import Sampled
from iterative_grpo.engines._requests import Stopped, per_prompt
from iterative_grpo.protocols import Samplings
from iterative_grpo.types import Completion, Prompt, Sampling

READS_CHECKPOINTS = True
"""`load` takes a checkpoint's folder or name, where other engines take a live model."""

_CPU_CACHE_GIB = 2


class Ended(RuntimeError):
    """VLLM's processes ended while they sampled; they have printed why."""


class Engine:
    """Samples with a `vllm.LLM` that was made for one checkpoint."""

    def __init__(self, llm: Any, checkpoint: Any, tokenizer: Any) -> None:
        self.llm = llm
        self.checkpoint = checkpoint
        self.tokenizer = tokenizer

    @timing.generation
    def generate(self, prompts: Sequence[Prompt], sampling: Samplings) -> list[list[Completion]]:
        """Return one group of `group_size` completions for each prompt, in order.

        Raises:
            ValueError: if several samplings are given, and not one for each prompt.
            PromptTooLong: before anything is sampled, if a prompt does not fit the context.
            Ended: if vLLM cannot run the model on this machine, as it may find out only now.
        """
        samplings = per_prompt(prompts, sampling)
        context = self.llm.llm_engine.model_config.max_model_len
        _endings.check_prompts(prompts, samplings, context)
        if not prompts:
            return []
        eos = _endings.eos_token_ids(self.checkpoint, self.tokenizer)
        endings = _endings.endings(samplings, self.tokenizer, eos)
        groups: list[list[_Row]] = []
        running: dict[str, _Row] = {}
        for own, ending, prompt, seed in zip(
            samplings, endings, prompts, _seeds(prompts, samplings), strict=True
        ):
            # Greedy rows of a group are one row, repeated.
            count = own.group_size if own.temperature > 0 else 1
            group = [
                _Row(prompt.token_ids, _parameters(own, eos, seed + sample), ending.check)
                for sample in range(count)
            ]
            running |= {f"{len(groups)}/{sample}": row for sample, row in enumerate(group)}
            groups.append(group * (own.group_size // count))
        self._run(running)
        rows = [[row.sampled() for row in group] for group in groups]
        return _endings.completions(prompts, rows, endings)

    def close(self) -> None:
        """End vLLM's processes and give back its memory; the engine cannot be used any more."""
        self.llm.llm_engine.engine_core.shutdown()
        del self.llm
        gc.collect()

    def _run(self, running: dict[str, _Row]) -> None:
        """Sample rows by their names until each has ended; an interrupted call leaves none behind.

        The loop of `vllm.LLM.generate`, with a look at new tokens between its steps.
        """
        from vllm.v1.engine.exceptions import EngineDeadError

        engine = self.llm.llm_engine
        try:
            for name, row in running.items():
                engine.add_request(name, row.prompt, row.parameters)
            while engine.has_unfinished_requests():
                stopped = []
                for output in engine.step():
                    row = running[output.request_id]
                    row.add(output.outputs[0])
                    if output.finished:
                        del running[output.request_id]
                    elif row.stopped is not None and row.stopped(row.token_ids):
                        stopped.append(output.request_id)
                engine.abort_request(stopped)
                for name in stopped:
                    del running[name]
        except EngineDeadError:
            running.clear()  # nobody is left to take them back from
            raise Ended(
                "vLLM ended while it sampled, for the reason that its processes printed above; "
                "mend that, or use the 'native' engine"
            ) from None
        finally:
            engine.abort_request(list(running))


class _Row:
    """A request of one row, and what has been sampled for it so far."""

    def __init__(self, prompt: Sequence[int], parameters: Any, stopped: Stopped | None) -> None:
        # The type tells newer versions that there is nothing left to render.
        self.prompt = {"type": "token", "prompt_token_ids": list(prompt)}
        self.parameters = parameters
        self.stopped = stopped
        self.token_ids: list[int] = []
        self.logps: list[float] = []

    def add(self, output: Any) -> None:
        """Append new tokens: those of a step for rows with stop strings, else all at the end."""
        self.token_ids += output.token_ids
        self.logps += [
            entry[token].logprob
            for token, entry in zip(output.token_ids, output.logprobs, strict=True)
        ]

    def sampled(self) -> Sampled:
        """Return the row as a record."""
        return Sampled(tuple(self.token_ids), tuple(self.logps))


def lacking() -> str | None:
    """Return what this machine lacks for the engine, None if nothing."""
    if importlib.util.find_spec("vllm") is not None:
        return None
    return (
        "the vllm engine needs vLLM, which is not installed here: "
        "pip install vllm, or use the 'native' engine"
    )


def check_options(
    *, max_model_len: int | None = None, gpu_memory_utilization: float | None = None
) -> None:
    """Raise ValueError for options of `load` that vLLM would refuse when it starts."""
    if max_model_len is not None and max_model_len < 1:
        raise ValueError(f"max_model_len is {max_model_len}, must be at least 1")
    if gpu_memory_utilization is not None and not 0 < gpu_memory_utilization <= 1:
        raise ValueError(
            f"gpu_memory_utilization is {gpu_memory_utilization}, must be above 0 and at most 1"
        )


def load(
    model: str | Path,
    tokenizer: Any,
    *,
    dtype: str = "auto",
    max_model_len: int | None = None,
    gpu_memory_utilization: float | None = None,
    trust_remote_code: bool = False,
) -> Engine:
    """Start vLLM on a checkpoint; `close` of the engine ends its processes.

    Args:
        model: folder of a checkpoint, or the name of a released model.
        tokenizer: decodes completions.
        dtype: precision to sample in; "auto" takes the checkpoint's own, which vLLM's own "auto"
            does not where that is float32.
        max_model_len: positions to plan for; by default the model's own, or fewer where keys and
            values of so many do not fit the memory.
        gpu_memory_utilization: the share of the memory that vLLM may take. By default 0.9 of what
            is free on a GPU; on a CPU 2 GiB for keys and values, or VLLM_CPU_KVCACHE_SPACE.
        trust_remote_code: whether code that comes with the checkpoint may run.

    Raises:
        TypeError: for a live model, whose weights vLLM could not follow.
        ImportError: if vLLM is not installed here.
    """
    if not isinstance(model, str | Path):
        raise TypeError(
            f"the vllm engine samples checkpoints and was given a live {type(model).__name__}; "
            "save it and pass the folder, or use the 'native' engine"
        )
    check_options(max_model_len=max_model_len, gpu_memory_utilization=gpu_memory_utilization)
    # Its processes tell of every choice that they make; what was set by hand stays.
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    missing = lacking()
    if missing is not None:
        raise ImportError(missing)
    import vllm
    from vllm.platforms import current_platform

    checkpoint = _Checkpoint.read(str(model), trust_remote_code)
    cpu = current_platform.is_cpu()
    memory = _memory(gpu_memory_utilization, cpu)
    with _alone():
        llm = vllm.LLM(
            model=str(model),
            skip_tokenizer_init=True,
            dtype=checkpoint.dtype if dtype == "auto" else dtype,
            # -1: the model's own, or fewer where they do not fit.
            max_model_len=-1 if max_model_len is None else max_model_len,
            trust_remote_code=trust_remote_code,
            use_tqdm_on_load=False,
            **memory,
            # A prompt that is computed in parts takes back the draw of its seeded generator, which
            # generators of a CPU cannot do: vLLM 0.32 ends with "CPU Generator does not use
            # offset".
            enable_chunked_prefill=False if cpu else None,
            # Log-probabilities after temperature and filters: of what was sampled from.
            logprobs_mode="processed_logprobs",
            # No sampling defaults of the checkpoint, which the caller did not ask for.
            generation_config="vllm",
        )
    return Engine(llm, checkpoint, tokenizer)


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    """What `eos_token_ids` reads of a model, without its weights."""

    config: Any
    generation_config: Any

    @classmethod
    def read(cls, name: str, trust_remote_code: bool) -> _Checkpoint:
        from transformers import AutoConfig, GenerationConfig

        config = AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)
        try:
            generation = GenerationConfig.from_pretrained(name)
        except OSError:  # it has none
            generation = GenerationConfig.from_model_config(config)
        return cls(config, generation)

    @property
    def dtype(self) -> Any:
        """The precision of the weights."""
        return getattr(self.config, "dtype", None) or "float32"


@contextmanager
def _alone() -> Iterator[None]:
    """Let vLLM think inside that it is alone, where each of several processes has one of its own.

    It sees this process's GPU. Its own process rendezvouses with itself (over TCP before some
    version behind 0.27): told of a launcher's store, it would wait for that to be served.
    """
    import torch

    changes: dict[str, str | None] = {"TORCHELASTIC_USE_AGENT_STORE": None}
    rank, seen = os.environ.get("LOCAL_RANK"), os.environ.get("CUDA_VISIBLE_DEVICES")
    if rank is not None and torch.cuda.is_available():
        gpus = seen.split(",") if seen else [str(i) for i in range(torch.cuda.device_count())]
        changes["CUDA_VISIBLE_DEVICES"] = gpus[int(rank)]
    before = {name: os.environ.get(name) for name in changes}
    _set(changes)
    try:
        yield
    finally:
        _set(before)


def _set(environment: Mapping[str, str | None]) -> None:
    for name, value in environment.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


def _memory(share: float | None, cpu: bool) -> dict[str, Any]:
    """Return how much memory vLLM is to take, beside what this process has already."""
    if share is not None:
        return {"gpu_memory_utilization": share}
    if cpu:
        chosen = "VLLM_CPU_KVCACHE_SPACE" in os.environ
        return {} if chosen else {"kv_cache_memory_bytes": _CPU_CACHE_GIB * 2**30}
    import torch

    gc.collect()
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    return {"gpu_memory_utilization": 0.9 * free / total}


def _seeds(prompts: Sequence[Prompt], samplings: Sequence[Sampling]) -> list[int]:
    """Return a seed for each prompt, which the samples of its group count up from."""
    met: Counter[tuple[Sampling, tuple[int, ...]]] = Counter()
    seeds = []
    for prompt, sampling in zip(prompts, samplings, strict=True):
        name = f"{sampling.seed} {met[sampling, prompt.token_ids]} {prompt.token_ids}"
        met[sampling, prompt.token_ids] += 1
        digest = hashlib.blake2b(name.encode(), digest_size=7).digest()
        seeds.append(int.from_bytes(digest))
    return seeds


def _parameters(sampling: Sampling, eos: Sequence[int], seed: int) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        max_tokens=sampling.max_tokens,
        stop_token_ids=list(eos),
        seed=seed,
        logprobs=0,
        detokenize=False,
        # Tokens at every step only where somebody looks at them.
        output_kind=RequestOutputKind.DELTA if sampling.stop else RequestOutputKind.FINAL_ONLY,
    )
