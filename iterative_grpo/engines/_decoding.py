"""The native engine's loop: compute the prompts of a batch, then one token a row and step.

Dimensions: as in `_shared_cache`; V vocabulary.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from iterative_grpo.attention import more_than_plain
from iterative_grpo.engines import _prefill, _prefixes
from iterative_grpo.engines._branches import Branches
from iterative_grpo.engines._draws import Picker, uniforms
from iterative_grpo.engines._endings import Sampled
from iterative_grpo.engines._fused import FusedLayers, supports
from iterative_grpo.engines._graphs import Replayed, Step
from iterative_grpo.engines._memory import Memory
from iterative_grpo.engines._requests import Request
from iterative_grpo.engines._shared_cache import SharedCache, UnsupportedModel, block_on
from iterative_grpo.transfer import bring

# Logits that are drawn from at once, 2 GiB of float32.
_LOGITS = 2**29
# Looking at results makes a GPU wait, so it happens every few tokens there, once rows have parted.
_GPU_LOOK = 8


class NoDistribution(ArithmeticError):
    """A policy that nothing can be sampled from; the message says what to do."""


def check_model(model: Any) -> None:
    """Raise `UnsupportedModel` for what the configuration already tells."""
    config = model.config.get_text_config()
    name = type(model).__name__
    if getattr(model.config, "is_encoder_decoder", False):
        raise UnsupportedModel(f"{name} is an encoder-decoder")
    if not getattr(model, "_supports_attention_backend", False):
        raise UnsupportedModel(f"{name} does not take attention functions from outside")
    more = more_than_plain(config)
    if more is not None:
        raise UnsupportedModel(f"{name} has {more}")
    if getattr(config, "attn_temperature_tuning", False):
        # Llama 4 takes positions for it from the cache, whose rows have positions of their own.
        raise UnsupportedModel(f"{name} has attn_temperature_tuning")
    if getattr(config, "kv_lora_rank", None):
        # What DeepSeek's latent attention hands over differs from what it has the cache keep.
        raise UnsupportedModel(f"{name} has latent attention (kv_lora_rank)")
    if model.get_output_embeddings() is None:
        raise UnsupportedModel(f"{name} has no output embeddings")


def cache_tokens(model: Any, gib: float, dtype: torch.dtype | None = None) -> int:
    """Return how many tokens' keys and values, of all layers, take this memory.

    They are in the precision of the weights, which will be `dtype` if that is given: autocast
    leaves keys in that of their rotation.
    """
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    bytes_each = 4  # elsewhere the cache keeps float32
    if model.device.type == "cuda":
        bytes_each = (dtype or model.dtype).itemsize
    return int(gib * 2**30 / (config.num_hidden_layers * key_heads * size * 2 * bytes_each))


def most_rows(model: Any) -> int:
    """Return how many rows of logits, of which drawing keeps a few copies, take 2 GiB."""
    return max(1, _LOGITS // int(model.get_input_embeddings().num_embeddings))


def batches(requests: Sequence[Request], room: int, most_rows: int) -> Iterator[list[int]]:
    """Yield indices of requests whose cache has room for so many tokens; no group is split.

    Similar lengths waste least, and what shares tokens stays together.
    """
    batch: list[int] = []
    longest = rows_tokens = rows = 0
    for index in _prefixes.families([request.token_ids for request in requests]):
        request = requests[index]
        own = request.sampling.group_size * request.sampling.max_tokens
        grown = max(longest, len(request.token_ids))
        full = (len(batch) + 1) * grown + rows_tokens + own > room
        if batch and (full or rows + request.sampling.group_size > most_rows):
            yield batch
            batch, grown, rows_tokens, rows = [], len(request.token_ids), 0, 0
        batch.append(index)
        rows += request.sampling.group_size
        longest = grown
        rows_tokens += own
    if batch:
        yield batch


class Decoder:
    """Samples batches from a model that is borrowed with this decoder's attention function."""

    def __init__(
        self,
        model: Any,
        eos_token_ids: Sequence[int],
        share_prefixes: bool = True,
        memory: Memory | None = None,
        fuse_layers: bool = True,
        share_branches: bool = True,
        graphs: bool = False,
    ) -> None:
        self.model = model
        self.device = model.device
        self.level_tokens = _prefill.level_tokens(model.device) if share_prefixes else math.inf
        self.layers = int(model.config.get_text_config().num_hidden_layers)
        self.eos_token_ids = sorted(eos_token_ids)
        self.memory = memory
        self.fuse_layers, self.share_branches = fuse_layers, share_branches
        self.graphs = graphs
        self.cache: SharedCache | None = None

    @contextmanager
    def registered(self) -> Iterator[str]:
        """Make this decoder's attention known to transformers and yield its name."""
        name = f"iterative_grpo_native_{id(self)}"
        ALL_ATTENTION_FUNCTIONS[name] = self._attend
        try:
            yield name
        finally:
            ALL_ATTENTION_FUNCTIONS.pop(name)
            self.cache = None

    def _attend(self, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, None]:
        if self.cache is None:
            raise RuntimeError("the native engine's attention was called outside of sampling")
        return self.cache.attend(*args, **kwargs)

    def sample(self, requests: Sequence[Request]) -> list[list[Sampled]]:
        """Return a group of rows for each request."""
        plan = self._plan([request.token_ids for request in requests])
        lengths_P = [len(request.token_ids) for request in requests]
        limits_P = [request.sampling.max_tokens for request in requests]
        cache = self.cache = SharedCache(
            layers=self.layers,
            stems=len(plan.stems),
            longest=max(lengths_P),
            max_tokens=max(limits_P),
            block=block_on(self.device),
        )
        groups_P = [request.sampling.group_size for request in requests]
        try:
            first_PV = self._prefill(cache, plan, lengths_P)
            branches = Branches(
                cache, plan.stem_of, lengths_P, limits_P, groups_P, self.device, self.share_branches
            )
            rows = iter(self._decode(cache, branches, first_PV, requests))
        finally:
            cache.close()
            self.cache = None
        return [list(itertools.islice(rows, group)) for group in groups_P]

    def _plan(self, prompts: Sequence[Sequence[int]]) -> _prefixes.PrefixPlan:
        memory = self.memory
        if memory is not None:
            plan = _prefixes.plan(prompts, self.level_tokens, memory.known)
            if memory.tokens + plan.tokens <= memory.limit:
                return plan
            memory.clear()
        return _prefixes.plan(prompts, self.level_tokens)

    def _prefill(
        self, cache: SharedCache, plan: _prefixes.PrefixPlan, lengths_P: Sequence[int]
    ) -> torch.Tensor:
        """Fill the cache with the stems; return the logits (P, V) behind each prompt."""
        members_N: list[list[int]] = [[] for _ in plan.stems]
        for prompt, stem in enumerate(plan.stem_of):
            members_N[stem].append(prompt)
        if self.memory is not None:
            cache.recall(self.memory, plan)
        found: dict[int, torch.Tensor] = {}
        for edges in (edges for level in plan.levels for edges in _prefill.passes(level)):
            cache.prefilling = part = _prefill.Pass(edges, plan.stems, self.device)
            last = {
                prompt: first + lengths_P[prompt] - 1 - edge.start
                for edge, first in zip(edges, part.first_tokens, strict=True)
                for stem in edge.stems
                for prompt in members_N[stem]
                if edge.start < lengths_P[prompt] <= edge.stop
            }
            positions = torch.tensor(list(last.values()), dtype=torch.long, device=self.device)
            with _only_positions(self.model, positions):
                logits = self._forward(cache, part.ids, part.positions)
            found.update(zip(last, logits.flatten(0, -2), strict=True))
            if self.memory is not None:
                self.memory.passed(part)
        if self.memory is not None:
            self.memory.learn(plan)
        cache.prefilling = None
        return torch.stack([found[p] for p in range(len(lengths_P))])

    def _decode(
        self,
        cache: SharedCache,
        branches: Branches,
        logits_PV: torch.Tensor,
        requests: Sequence[Request],
    ) -> list[Sampled]:
        """Sample all rows, position by position, and return them in their first order."""
        length = max(request.sampling.max_tokens for request in requests)
        stream_B = np.concatenate([request.streams for request in requests])
        uniform_TB = uniforms(stream_B, length).to(self.device)
        picker, logits_AV = Picker.of([r.sampling for r in requests], self.device), logits_PV
        if not branches.shared:
            picker = picker.at(branches.prompt_B)
            logits_AV = logits_PV.index_select(0, *bring(self.device, branches.prompt_B))
        stop_strings = _StopStrings(requests)
        ends_V = torch.zeros(logits_AV.shape[1], dtype=torch.bool, device=self.device)
        ends_V[[token for token in self.eos_token_ids if token < len(ends_V)]] = True
        look = 1 if self.device.type == "cpu" else _GPU_LOOK
        drawn: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        looked = 0
        forward = self._step(cache)
        for t in range(length):
            row_R, place_R = branches.far_row_R, branches.far_place_R if branches.shared else None
            token_R, logp_R = picker.pick(logits_AV, uniform_TB[t].index_select(0, row_R), place_R)
            drawn.append((row_R, token_R, logp_R))
            if t + 1 == length:
                break
            branches.far_done_R |= ends_V.index_select(0, token_R)
            token_A = token_R
            if branches.shared or (t + 1) % look == 0:
                # Rows have not moved since the last look.
                unseen = drawn[looked:] if stop_strings.any else drawn[-1:]
                fresh_XR = branches.look([tokens for _, tokens, _ in unseen])
                if stop_strings.any:
                    ended = stop_strings.ended(branches.row_R.tolist(), fresh_XR.T.tolist())
                    branches.done_R |= np.array(ended)
                looked = t + 1
                step = branches.advance(token_R, fresh_XR[-1])
                if not len(branches):
                    break
                token_A = step.tokens
                if step.sources is not None:
                    picker = picker.at(step.sources)
            logits_AV = forward(token_A, branches.positions)
            cache.reach(t + 1)
        return self._rows(drawn, *bring(self.device, branches.reached_B))

    def _step(self, cache: SharedCache) -> Step:
        """Return what computes the logits (A, V) behind one token (A) a row at its position (A)."""

        def own_layers(token_A: torch.Tensor, position_A: torch.Tensor) -> torch.Tensor:
            return self._forward(cache, token_A[:, None], position_A[:, None])[:, -1]

        step: Step = own_layers
        if self.fuse_layers and supports(self.model):
            fused = FusedLayers(self.model, cache.longest + cache.max_tokens)
            step = functools.partial(fused.logits, cache)
        return Replayed(step, cache, self.device) if self.graphs else step

    def _forward(
        self, cache: SharedCache, ids: torch.Tensor, positions: torch.Tensor
    ) -> torch.Tensor:
        cache.updated.clear()
        try:
            output = self.model(
                input_ids=ids, position_ids=positions, past_key_values=cache, use_cache=True
            )
        except UnsupportedModel:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            # Models with a cache or attention functions of their own refuse ours in many ways.
            raise UnsupportedModel(
                f"{type(self.model).__name__} does not run with its cache and attention "
                f"({type(error).__name__}: {error})"
            ) from error
        if len(cache.updated) != self.layers:
            raise UnsupportedModel(
                f"{type(self.model).__name__} used the cache {len(cache.updated)} times "
                f"for {self.layers} layers"
            )
        logits: torch.Tensor = output.logits
        return logits

    def _rows(
        self,
        drawn: Sequence[tuple[torch.Tensor, torch.Tensor, torch.Tensor]],
        reached_B: torch.Tensor,
    ) -> list[Sampled]:
        """Lay out what was drawn; cut each row behind its first EOS, or where it was dropped."""
        row_X, token_X, logp_X = (torch.cat(parts) for parts in zip(*drawn, strict=True))
        rows_T = torch.tensor([len(row_A) for row_A, _, _ in drawn], device=self.device)
        column_X = torch.arange(len(drawn), device=self.device).repeat_interleave(rows_T)
        tokens_BT = token_X.new_zeros(len(reached_B), len(drawn))
        logps_BT = logp_X.new_zeros(tokens_BT.shape)
        tokens_BT[row_X, column_X] = token_X
        logps_BT[row_X, column_X] = logp_X
        eos = torch.tensor(self.eos_token_ids, dtype=torch.long, device=self.device)
        ended_BT = torch.isin(tokens_BT, eos)
        end_B = torch.where(ended_BT.any(1), ended_BT.int().argmax(1) + 1, reached_B)
        until_B = torch.minimum(end_B, reached_B)
        if bool(logp_X.isnan().any()):
            raise NoDistribution(
                "the policy's probabilities are not numbers: it diverged, or its precision is too "
                "low for it; train it with a lower learning rate, or sample in float32"
            )
        return [
            Sampled(tuple(ids[:until]), tuple(logps[:until]))
            for ids, logps, until in zip(
                tokens_BT.tolist(), logps_BT.tolist(), until_B.tolist(), strict=True
            )
        ]


class _StopStrings:
    """Looks for the stop strings of each row in its new ids."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self.stopped_B = [r.stopped for r in requests for _ in range(r.sampling.group_size)]
        self.any = any(self.stopped_B)
        self.new_ids_B: list[list[int]] = [[] for _ in self.stopped_B]

    def ended(self, row_A: Sequence[int], fresh_A: Sequence[Sequence[int]]) -> list[bool]:
        """Add the ids that these rows got since the last look; return which rows have ended."""
        ended_A = []
        for row, fresh in zip(row_A, fresh_A, strict=True):
            self.new_ids_B[row] += fresh
            stopped = self.stopped_B[row]
            ended_A.append(stopped is not None and stopped(self.new_ids_B[row]))
        return ended_A


@contextmanager
def _only_positions(model: Any, flat_index: torch.Tensor) -> Iterator[None]:
    """Let only these positions of the flattened batch reach the output embeddings."""

    def select(_: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (args[0].flatten(0, 1)[None, flat_index], *args[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()
