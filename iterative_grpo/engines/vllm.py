"""Sampling a checkpoint with vLLM, in an environment that has it.

vLLM reads its weights once, from a folder: this engine samples, labels and evaluates finished
checkpoints, and does not follow a policy in training. Token ids go in and come out; text is decoded
with the caller's tokenizer, as for every engine.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from iterative_grpo import timing
from iterative_grpo.engines import _endings
from iterative_grpo.engines._endings import Sampled
from iterative_grpo.engines._requests import per_prompt
from iterative_grpo.protocols import Samplings
from iterative_grpo.types import Completion, Prompt, Sampling

READS_CHECKPOINTS = True
"""`load` takes a checkpoint's folder or name, where other engines take a live model."""


class Engine:
    """Samples with a `vllm.LLM` that was made for one checkpoint."""

    def __init__(self, llm: Any, checkpoint: Any, tokenizer: Any) -> None:
        self.llm = llm
        self.checkpoint = checkpoint
        self.tokenizer = tokenizer

    @timing.generation
    def generate(self, prompts: Sequence[Prompt], sampling: Samplings) -> list[list[Completion]]:
        """Return one group of `group_size` completions for each prompt, in order.

        Stop strings are cut afterwards: vLLM has no tokenizer here, so it samples on until EOS.

        Raises:
            ValueError: if several samplings are given, and not one for each prompt.
            PromptTooLong: before anything is sampled, if a prompt does not fit the context.
        """
        samplings = per_prompt(prompts, sampling)
        context = self.llm.llm_engine.model_config.max_model_len
        _endings.check_prompts(prompts, samplings, context)
        if not prompts:
            return []
        eos = _endings.eos_token_ids(self.checkpoint, self.tokenizer)
        outputs = self.llm.generate(
            [{"prompt_token_ids": list(prompt.token_ids)} for prompt in prompts],
            [
                _parameters(own, eos, seed)
                for own, seed in zip(samplings, _seeds(prompts, samplings), strict=True)
            ],
            use_tqdm=False,
        )
        rows = [[_sampled(row) for row in output.outputs] for output in outputs]
        rows = [
            row * own.group_size if own.temperature == 0 else row
            for row, own in zip(rows, samplings, strict=True)
        ]
        return _endings.completions(prompts, rows, _endings.endings(samplings, self.tokenizer, eos))


def load(
    model: str | Path,
    tokenizer: Any,
    *,
    dtype: str = "auto",
    max_model_len: int | None = None,
    gpu_memory_utilization: float = 0.9,
) -> Engine:
    """Start vLLM on a checkpoint.

    Args:
        model: folder of a checkpoint, or the name of a released model.
        tokenizer: decodes completions.
        dtype: precision to sample in; "auto" takes the checkpoint's.
        max_model_len: positions to plan for; the model's own by default.
        gpu_memory_utilization: the share of a GPU's memory that vLLM may take.

    Raises:
        TypeError: for a live model, whose weights vLLM could not follow.
        ImportError: if vLLM is not installed here.
    """
    if not isinstance(model, str | Path):
        raise TypeError(
            f"the vllm engine samples checkpoints and was given a live {type(model).__name__}; "
            "save it and pass the folder, or use the 'native' engine"
        )
    try:
        import vllm
    except ImportError as error:
        raise ImportError(
            "the vllm engine needs vLLM, which is not installed here: "
            "pip install 'iterative-grpo[vllm]', or use the 'native' engine"
        ) from error
    llm = vllm.LLM(
        model=str(model),
        skip_tokenizer_init=True,
        dtype=dtype,
        max_model_len=max_model_len,
        gpu_memory_utilization=gpu_memory_utilization,
        # Log-probabilities after temperature and filters: of what was sampled from.
        logprobs_mode="processed_logprobs",
        # No sampling defaults of the checkpoint, which the caller did not ask for.
        generation_config="vllm",
    )
    return Engine(llm, _checkpoint(Path(model)), tokenizer)


def _checkpoint(folder: Path) -> Any:
    """Return what `eos_token_ids` reads of a model, from the folder's JSON files."""

    def read(name: str) -> Any:
        path = folder / name
        values = json.loads(path.read_text()) if path.exists() else {}
        return SimpleNamespace(eos_token_id=values.get("eos_token_id"))

    return SimpleNamespace(
        config=read("config.json"), generation_config=read("generation_config.json")
    )


def _seeds(prompts: Sequence[Prompt], samplings: Sequence[Sampling]) -> list[int]:
    """Return a seed for each prompt; vLLM counts up from it for the samples of a group."""
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

    return SamplingParams(
        # vLLM refuses to sample a greedy row more than once; the group is that row, repeated.
        n=sampling.group_size if sampling.temperature > 0 else 1,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        max_tokens=sampling.max_tokens,
        stop_token_ids=list(eos),
        seed=seed,
        logprobs=0,
        detokenize=False,
    )


def _sampled(row: Any) -> Sampled:
    ids = tuple(row.token_ids)
    logps = tuple(entry[token].logprob for token, entry in zip(ids, row.logprobs, strict=True))
    return Sampled(ids, logps)
