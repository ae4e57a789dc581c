"""The fast engine for transformers decoders: prompts computed once, nothing copied, no dead rows.

All rows of a batch take one step together, those of a group that drew the same tokens so far as one
(`_branches`). A prompt is computed once for its group, what prompts start with alike once for all
of them, and a prompt's keys and values are stored once. Each row's own are written into room
allocated beforehand; rows that have finished make place for others. The model's layers run as they
are, only their cache and their attention function are ours for the time of the call; decoding steps
of the most common shape of layers take fewer operations (`_fused`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from iterative_grpo import timing
from iterative_grpo.context import positions
from iterative_grpo.engines import _endings
from iterative_grpo.engines._endings import Sampled
from iterative_grpo.engines._requests import Request, Stopped, per_prompt
from iterative_grpo.protocols import Samplings
from iterative_grpo.types import Completion, Prompt

if TYPE_CHECKING:
    import torch

    from iterative_grpo.engines._memory import Memory

CACHE_GIB = 8.0
"""Not what is free: batches would follow what else runs, and with them the last bits of logits."""


class Engine:
    """Samples a live transformers decoder with a cache that groups share."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        dtype: str | None = None,
        cache_gib: float = CACHE_GIB,
        share_prefixes: bool = True,
        fuse_layers: bool = True,
        share_branches: bool = True,
        graphs: bool = False,
    ) -> None:
        check_options(cache_gib=cache_gib)
        _precision(dtype)
        self.model = model
        self.tokenizer = tokenizer
        self.dtype = dtype
        self.cache_gib = cache_gib
        self.share_prefixes = share_prefixes
        self.fuse_layers = fuse_layers
        self.share_branches = share_branches
        self.graphs = graphs
        self._memory: Memory | None = None

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Keep what is computed of prompts from call to call inside, where `share_prefixes` is on.

        It takes up to `cache_gib` more memory until the context is left. Weights must stay as they
        are. What torch counts as a change, an optimizer's step or `copy_`, starts it over; a change
        through `data`, or an adapter switched on or off, is not noticed.
        """
        from iterative_grpo.engines import _decoding
        from iterative_grpo.engines._memory import Memory

        before = self._memory
        limit = _decoding.cache_tokens(self.model, self.cache_gib, _precision(self.dtype))
        self._memory = Memory(limit) if self.share_prefixes else None
        try:
            yield
        finally:
            self._memory = before

    @timing.generation
    def generate(self, prompts: Sequence[Prompt], sampling: Samplings) -> list[list[Completion]]:
        """Return one group of `group_size` completions for each prompt, in order.

        Requests share a batch, whatever their samplings.

        Raises:
            ValueError: if several samplings are given, and not one for each prompt.
            PromptTooLong: before anything is sampled, if a prompt does not fit the context.
            UnsupportedModel: if the model's attention is not plain causal attention.
        """
        samplings = per_prompt(prompts, sampling)
        _endings.check_prompts(prompts, samplings, positions(self.model.config))
        eos = _endings.eos_token_ids(self.model, self.tokenizer)
        endings = _endings.endings(samplings, self.tokenizer, eos)
        rows = sample_ids(
            self.model,
            [prompt.token_ids for prompt in prompts],
            samplings,
            eos_token_ids=eos,
            stopped=[own.check for own in endings],
            dtype=self.dtype,
            cache_gib=self.cache_gib,
            share_prefixes=self.share_prefixes,
            fuse_layers=self.fuse_layers,
            share_branches=self.share_branches,
            graphs=self.graphs,
            memory=self._memory,
        )
        return _endings.completions(prompts, rows, endings)


def check_model(model: Any) -> None:
    """Raise `UnsupportedModel` for a model that its configuration already rules out.

    No weights are looked at: the model may lie on torch's meta device.
    """
    from iterative_grpo.engines import _decoding

    _decoding.check_model(model)


def check_options(*, cache_gib: float = CACHE_GIB, **_switches: bool) -> None:
    """Raise ValueError for options of `load` that nothing could be sampled with."""
    if not 0 < cache_gib < math.inf:
        raise ValueError(f"cache_gib is {cache_gib}, must be a finite number above 0")


def load(
    model: Any,
    tokenizer: Any,
    *,
    dtype: str | None = None,
    cache_gib: float = CACHE_GIB,
    share_prefixes: bool = True,
    fuse_layers: bool = True,
    share_branches: bool = True,
    graphs: bool = False,
) -> Engine:
    """Return the engine for a live model; its weights may change between calls.

    Args:
        model: a transformers decoder with full causal attention.
        tokenizer: decodes completions.
        dtype: precision to sample in, "bfloat16" for example; the model's own by default.
        cache_gib: memory for keys and values at most; more prompts than fit are sampled in turns.
            Nothing is taken in advance: a batch takes what its prompts need, and every few tokens
            what the rows that are left do. One group is never split, however much it needs.
        share_prefixes: compute tokens that prompts of a call start with once for all of them; off,
            only a prompt inside a longer one is saved.
        fuse_layers: decode with the layers' weights joined, in fewer operations, where the model
            is a plain Llama, Mistral, Qwen2 or Qwen3; off, and for others, by the model's own
            layers.
        share_branches: compute rows of a group once for as long as they draw the same tokens; off,
            each row by itself.
        graphs: replay decoding steps as CUDA graphs; only for a model on a GPU.
    """
    return Engine(
        model, tokenizer, dtype, cache_gib, share_prefixes, fuse_layers, share_branches, graphs
    )


def sample_ids(
    model: Any,
    prompts: Sequence[Sequence[int]],
    sampling: Samplings,
    *,
    eos_token_ids: Sequence[int],
    stopped: Sequence[Stopped | None] = (),
    dtype: str | None = None,
    cache_gib: float = CACHE_GIB,
    share_prefixes: bool = True,
    fuse_layers: bool = True,
    share_branches: bool = True,
    graphs: bool = False,
    memory: Memory | None = None,
) -> list[list[Sampled]]:
    """Sample a group of token ids for each prompt: the layer below records and text.

    No global random number generator is touched: each row has a stream of its own, made from its
    seed, the prompt and the sample's index.

    Args:
        model: a transformers decoder with full causal attention.
        prompts: token ids of each prompt, at least one.
        sampling: how to sample, for all prompts or each of them; its `stop` strings are not read
            here, see `stopped`.
        eos_token_ids: a row ends with the first of these.
        stopped: for each prompt, tells from a row's new ids whether it may end, for stop strings;
            none by default. On a GPU it is asked every few tokens once rows have parted, so a row
            may run a little further.
        dtype: precision to sample in; the model's own by default.
        cache_gib: memory for keys and values at most, taken as batches need it.
        share_prefixes, fuse_layers, share_branches, graphs: as in `load`.
        memory: what earlier calls computed of prompts, to be used and added to.
    """
    from iterative_grpo.engines import _decoding
    from iterative_grpo.engines._draws import streams
    from iterative_grpo.engines._quiet import borrowed

    if not prompts:
        return []
    precision = _precision(dtype)
    _decoding.check_model(model)
    if graphs and model.device.type != "cuda":
        raise ValueError(
            f"CUDA graphs need a model on an NVIDIA GPU, and this one is on {model.device}: "
            "leave graphs out, or use the 'native' engine"
        )
    room = _decoding.cache_tokens(model, cache_gib, precision)
    most_rows = _decoding.most_rows(model)
    if memory is not None:
        memory.check(model)
    samplings = per_prompt(prompts, sampling)
    stream_PG = streams(prompts, samplings)
    requests = [
        Request(*request)
        for request in zip(
            prompts, samplings, stopped or [None] * len(prompts), stream_PG, strict=True
        )
    ]
    rows: list[list[Sampled]] = [[] for _ in prompts]
    decoder = _decoding.Decoder(
        model, eos_token_ids, share_prefixes, memory, fuse_layers, share_branches, graphs
    )
    with decoder.registered() as attention, borrowed(model, attention, precision):
        for batch in _decoding.batches(requests, room, most_rows):
            groups = decoder.sample([requests[i] for i in batch])
            for index, group in zip(batch, groups, strict=True):
                rows[index] = group
    return rows


def _precision(dtype: str | None) -> torch.dtype | None:
    import torch

    if dtype is None:
        return None
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype not in known:
        raise ValueError(f"unknown dtype {dtype!r} to sample in; known: {', '.join(known)}")
    return known[dtype]
