"""The native engine's loop: compute the prompts of a batch, then one token a row and step.

Dimensions: as in `_shared_cache`; V vocabulary.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from iterative_grpo.engines import _prefill, _prefixes
from iterative_grpo.engines._draws import Picker, uniforms
from iterative_grpo.engines._endings import Sampled
from iterative_grpo.engines._fused import FusedLayers, supports
from iterative_grpo.engines._memory import Memory
from iterative_grpo.engines._requests import Request
from iterative_grpo.engines._shared_cache import Rows, SharedCache, UnsupportedModel

# Rows move when this share of them has finished: moving costs, and so does carrying them.
_FINISHED_SHARE = 1 / 16
# Looking at results makes a GPU wait, so it happens every few tokens there.
_GPU_LOOK = 8


def check_model(model: Any) -> None:
    """Raise `UnsupportedModel` for what the configuration already tells."""
    config = model.config.get_text_config()
    name = type(model).__name__
    if getattr(model.config, "is_encoder_decoder", False):
        raise UnsupportedModel(f"{name} is an encoder-decoder")
    if not getattr(model, "_supports_attention_backend", False):
        raise UnsupportedModel(f"{name} does not take attention functions from outside")
    if getattr(config, "add_cross_attention", False):
        raise UnsupportedModel(f"{name} has cross-attention")
    kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    if kinds:
        raise UnsupportedModel(f"{name} has layers of {', '.join(sorted(kinds))}")
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") in ("dynamic", "longrope"):
        # Their angles depend on the longest row of a batch, so rows could not be batched freely.
        raise UnsupportedModel(f"{name} has {rope['rope_type']} rotary positions")
    if model.get_output_embeddings() is None:
        raise UnsupportedModel(f"{name} has no output embeddings")


def cache_tokens(model: Any, gib: float) -> int:
    """Return how many tokens' keys and values, of all layers, take this memory."""
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    # The cache keeps float32 on a CPU; two bytes less on a GPU only make turns smaller.
    return int(gib * 2**30 / (config.num_hidden_layers * key_heads * size * 2 * 4))


def batches(requests: Sequence[Request], room: int) -> Iterator[list[int]]:
    """Yield indices of requests whose cache has room for so many tokens; no group is split.

    Similar lengths waste least, and what shares tokens stays together.
    """
    batch: list[int] = []
    longest = rows_tokens = 0
    for index in _prefixes.families([request.token_ids for request in requests]):
        request = requests[index]
        own = request.sampling.group_size * request.sampling.max_tokens
        grown = max(longest, len(request.token_ids))
        if batch and (len(batch) + 1) * grown + rows_tokens + own > room:
            yield batch
            batch, grown, rows_tokens = [], len(request.token_ids), 0
        batch.append(index)
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
    ) -> None:
        self.model = model
        self.device = model.device
        self.level_tokens = _prefill.level_tokens(model.device) if share_prefixes else math.inf
        self.layers = int(model.config.get_text_config().num_hidden_layers)
        self.eos_token_ids = sorted(eos_token_ids)
        self.memory = memory
        self.fuse_layers = fuse_layers
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
        )
        first_PV = self._prefill(cache, plan, lengths_P)
        group_P = torch.tensor([r.sampling.group_size for r in requests], device=self.device)
        stem_B, length_B, limit_B = (
            torch.tensor(values_P, device=self.device).repeat_interleave(group_P)
            for values_P in (plan.stem_of, lengths_P, limits_P)
        )
        alive = _Alive(cache, stem_B, length_B, limit_B)
        rows = iter(self._decode(cache, alive, first_PV.repeat_interleave(group_P, 0), requests))
        self.cache = None
        return [list(itertools.islice(rows, r.sampling.group_size)) for r in requests]

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
        alive: _Alive,
        logits_BV: torch.Tensor,
        requests: Sequence[Request],
    ) -> list[Sampled]:
        """Sample all rows, position by position, and return them in their first order."""
        samplings_B = [r.sampling for r in requests for _ in range(r.sampling.group_size)]
        limits = {sampling.max_tokens for sampling in samplings_B}
        limit_B, length = alive.limit_A, max(limits)
        stream_B = np.concatenate([request.streams for request in requests])
        uniform_TB = uniforms(stream_B, length).to(self.device)
        picker = Picker.of(samplings_B, self.device)
        stop_strings = _StopStrings(requests)
        ends_V = torch.zeros(logits_BV.shape[1], dtype=torch.bool, device=self.device)
        ends_V[[token for token in self.eos_token_ids if token < len(ends_V)]] = True
        look = 1 if self.device.type == "cpu" else _GPU_LOOK
        drawn: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        reached_B = limit_B.clone()
        fused = None
        if self.fuse_layers and supports(self.model):
            fused = FusedLayers(self.model, cache.longest + cache.max_tokens)
        for t in range(length):
            token_A, logp_A = picker.pick(logits_BV, uniform_TB[t].index_select(0, alive.row_A))
            drawn.append((alive.row_A, token_A, logp_A))
            if t + 1 == length:
                break
            alive.done_A |= ends_V.index_select(0, token_A)
            if t + 1 in limits:
                alive.done_A |= alive.limit_A == t + 1
            if (t + 1) % look == 0:
                if stop_strings.any:
                    # Rows have not moved since the last look.
                    fresh = torch.stack([tokens for _, tokens, _ in drawn[-look:]], dim=1)
                    ended = stop_strings.ended(alive.row_A.tolist(), fresh.tolist())
                    alive.done_A |= torch.tensor(ended, device=self.device)
                if alive.many_finished():
                    reached_B[alive.row_A[alive.done_A]] = t + 1
                    place_A = alive.drop_finished()
                    if not len(place_A):
                        break
                    token_A, picker = token_A[place_A], picker.at(place_A)
            # A row that is carried beyond its limit stays within the model's positions.
            positions_A = torch.minimum(alive.prompt_length_A + t, alive.last_A)
            if fused is None:
                logits_BV = self._forward(cache, token_A[:, None], positions_A[:, None])[:, -1]
            else:
                logits_BV = fused.logits(cache, token_A, positions_A)
            cache.length = t + 1
        return self._rows(drawn, torch.minimum(reached_B, limit_B))

    def _forward(
        self, cache: SharedCache, ids: torch.Tensor, positions: torch.Tensor
    ) -> torch.Tensor:
        cache.updated.clear()
        output = self.model(
            input_ids=ids, position_ids=positions, past_key_values=cache, use_cache=True
        )
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


class _Alive:
    """The rows still sampled, A of them, kept at the front of the cache."""

    def __init__(
        self,
        cache: SharedCache,
        stem_A: torch.Tensor,
        prompt_length_A: torch.Tensor,
        limit_A: torch.Tensor,
    ) -> None:
        self.cache = cache
        row_A = torch.arange(len(stem_A), device=stem_A.device)
        last_A = prompt_length_A + limit_A - 1
        self._keep(torch.stack([row_A, stem_A, prompt_length_A, limit_A, last_A]))
        cache.rows = Rows(self.stem_A, self.prompt_length_A, cache.stems, cache.longest)

    def _keep(self, state_5A: torch.Tensor) -> None:
        self._state_5A = state_5A
        self.row_A, self.stem_A, self.prompt_length_A, self.limit_A, self.last_A = state_5A
        self.done_A = torch.zeros_like(self.row_A, dtype=torch.bool)

    def many_finished(self) -> bool:
        """Whether so many rows have finished that dropping them pays."""
        finished = int(self.done_A.sum())
        return finished == len(self.done_A) or finished > len(self.done_A) * _FINISHED_SHARE

    def drop_finished(self) -> torch.Tensor:
        """Move unfinished rows to the front; return the places they come from, in new order.

        Rows from the end take the places of finished ones, so that only they are copied.
        """
        kept = int((~self.done_A).sum())
        place_A = torch.arange(kept, device=self.done_A.device)
        hole = self.done_A[:kept].nonzero()[:, 0]
        source = kept + (~self.done_A[kept:]).nonzero()[:, 0]
        place_A[hole] = source
        if len(hole):
            for layer in self.cache.shared:
                layer.move_rows(source, hole)
        self._keep(self._state_5A.index_select(1, place_A))
        if kept:
            self._drop_stems()
        return place_A

    def _drop_stems(self) -> None:
        cache = self.cache
        used_N = torch.zeros(cache.stems, dtype=torch.bool, device=self.stem_A.device)
        used_N[self.stem_A] = True
        kept = int(used_N.sum())
        if kept < cache.stems:
            hole = (~used_N[:kept]).nonzero()[:, 0]
            source = kept + used_N[kept:].nonzero()[:, 0]
            if len(hole):
                for layer in cache.shared:
                    layer.move_stems(source, hole)
                renamed_N = torch.arange(cache.stems, device=self.stem_A.device)
                renamed_N[source] = hole
                self.stem_A.copy_(renamed_N[self.stem_A])
            cache.stems = kept
        cache.rows = Rows(self.stem_A, self.prompt_length_A, cache.stems, cache.longest)


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
