"""Keys and values that a group shares: a transformers cache, and the attention that reads it.

A prompt's keys and values are stored once, however many rows continue it; each row adds its own
behind them, in blocks of a fixed number of positions. A block is allocated when the first of its
positions is reached and for the rows that are left then, so decoding copies nothing.

Dimensions: N stems (stored prompts), B rows, R rows of a stem, H heads, K key heads, Q = H / K
queries a key head, L longest stem, W positions of a block, D head size.
"""

from __future__ import annotations

import math
import mmap
from typing import Any

import torch
from transformers.cache_utils import Cache

from iterative_grpo.engines._memory import Memory
from iterative_grpo.engines._prefill import Copies, Pass
from iterative_grpo.engines._prefixes import PrefixPlan

# Bytes from which huge pages (of 2 MiB) are worth asking for.
_HUGE = 2**24
# Positions of a block. Rows are multiplied with whole blocks, the unused positions of the last one
# included: a batched product of matrices with gaps between them takes two to three times as long on
# a CPU (512 rows x 8 heads of 32 or 64, float32). Larger blocks waste more, smaller ones make more
# products.
_BLOCK = 32
# What a model may hand to an attention function without changing what it computes here.
_HARMLESS = frozenset(
    {
        "cache_position",
        "is_causal",
        "output_attentions",
        "output_hidden_states",
        "past_key_values",
        "position_embeddings",
        "position_ids",
        "return_dict",
        "use_cache",
    }
)


class UnsupportedModel(ValueError):
    """A model whose attention the native engine does not compute; the message says what to use."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"the native engine serves decoders with full causal attention, but {found}; "
            "use the 'generate' engine for this model"
        )


class Rows:
    """Which rows continue which stems, laid out for batched products.

    Prompts are attended to in slots: R to each stem, so that one product serves a whole group.
    While all stems have R rows in order, slots are the rows themselves; else they are gathered.
    """

    def __init__(
        self, stem_B: torch.Tensor, visible_B: torch.Tensor, stems: int, longest: int
    ) -> None:
        self.stems = stems
        rows = len(stem_B)
        counts_N = torch.bincount(stem_B, minlength=stems)
        self.slots = int(counts_N.max())
        order_B = stem_B.argsort(stable=True)
        first_N = counts_N.cumsum(0) - counts_N
        rank_B = torch.arange(rows, device=stem_B.device) - first_N[stem_B[order_B]]
        slot_B = torch.empty_like(order_B)
        slot_B[order_B] = stem_B[order_B] * self.slots + rank_B
        self.slot_B = slot_B
        self.in_order = rows == stems * self.slots and bool(
            (slot_B == torch.arange(rows, device=slot_B.device)).all()
        )
        # An empty slot repeats row 0; nobody reads its result.
        self.row_of_slot = torch.zeros(stems * self.slots, dtype=torch.long, device=slot_B.device)
        self.row_of_slot[slot_B] = torch.arange(rows, device=slot_B.device)
        self.hidden: torch.Tensor | None = None
        if bool((visible_B < longest).any()):
            positions_L = torch.arange(longest, device=visible_B.device)
            hidden_BL = positions_L >= visible_B[:, None]
            self.hidden = self.split_rows(hidden_BL[:, None, None, :])

    def to_slots(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, K, Q, X) as (N * K, R * Q, X)."""
        if not self.in_order:
            x = x.index_select(0, self.row_of_slot)
        _, K, Q, X = x.shape
        x = x.view(self.stems, self.slots, K, Q, X).transpose(1, 2)
        return x.reshape(self.stems * K, self.slots * Q, X)

    def from_slots(self, x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """Return (N * K, R * Q, X) as (N, R, K, Q, X) if in order, else as (B, 1, K, Q, X).

        Either holds one row after the other, as `split_rows` does with `like` (B, K, Q, ...).
        """
        _, K, Q, _ = like.shape
        x = x.view(self.stems, K, self.slots, Q, x.shape[-1]).transpose(1, 2)
        if self.in_order:
            return x
        return x.flatten(0, 1).index_select(0, self.slot_B)[:, None]

    def split_rows(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, K, Q, X) with the leading dimensions of `from_slots`."""
        return x.view(self.stems, self.slots, *x.shape[1:]) if self.in_order else x[:, None]


def _room(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Return an uninitialised tensor; on a CPU in huge pages, where the system has them.

    Decoding reads all of the cache at every token, in short stretches far apart: with ordinary
    pages, finding them takes a noticeable part of the time.
    """
    count = math.prod(shape)
    size = count * dtype.itemsize
    if device.type != "cpu" or size < _HUGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.empty(shape, dtype=dtype, device=device)
    memory = mmap.mmap(-1, size)
    memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype, count=count).view(shape)


def _pair(
    keys: torch.Tensor, values: torch.Tensor, rows: int, length: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return room for keys and values of this many rows and positions, like (any, K, any, D)."""
    # On a CPU, products with one query a row are slower in bfloat16 than in float32.
    dtype = keys.dtype
    if keys.device.type == "cpu":
        dtype = torch.promote_types(dtype, torch.float32)
    _, heads, _, size = keys.shape
    key_room = _room((rows, heads, length, size), dtype, keys.device)
    value_room = _room((rows, heads, length, values.shape[-1]), dtype, keys.device)
    # Unused positions get weight zero, and zero times an uninitialised NaN is NaN.
    return key_room, value_room.zero_()


class _SharedLayer:
    """One layer: `prompt_*` (N, K, L, D) filled by prefill, `own` by decoding.

    `own` holds a pair of keys and values (B, K, W, D) for each block.
    """

    def __init__(self, cache: SharedCache) -> None:
        self.cache = cache
        self.prompt_keys = torch.empty(0)
        self.prompt_values = torch.empty(0)
        self.own: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.new_keys: torch.Tensor | None = None
        self.new_values: torch.Tensor | None = None

    def store(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Store keys and values: (1, K, T, D) of a pass over prompts, else (B, K, 1, D) of rows."""
        cache = self.cache
        if cache.prefilling is not None:
            self.fill(key_states, value_states, cache.prefilling.copies)
        else:
            rows = len(key_states)
            block, place = divmod(cache.length, _BLOCK)
            if block == len(self.own):
                self.own.append(_pair(key_states, value_states, rows, _BLOCK))
            keys, values = self.own[block]
            keys[:rows, :, place] = key_states[:, :, 0]
            values[:rows, :, place] = value_states[:, :, 0]
        self.new_keys, self.new_values = key_states, value_states

    def fill(self, key_states: torch.Tensor, value_states: torch.Tensor, copies: Copies) -> None:
        """Store packed keys and values (1, K, T, D) with the stems that they belong to."""
        if not len(self.prompt_keys):
            self.prompt_keys, self.prompt_values = _pair(
                key_states, value_states, self.cache.stems, self.cache.longest
            )
            # Not every position of a shorter stem is written, and some are read, unseen.
            self.prompt_keys.zero_()
        copies.store(key_states, self.prompt_keys)
        copies.store(value_states, self.prompt_values)

    def decode(self, query: torch.Tensor, scaling: float, rows: Rows) -> torch.Tensor:
        """Attend from one token a row (B, H, 1, D) to its stem and itself; return (B, 1, H, D)."""
        B, H, _, D = query.shape
        K = self.prompt_keys.shape[1]
        Q = H // K
        q = (query.to(self.prompt_keys.dtype) * scaling).reshape(B, K, Q, D)
        N = rows.stems
        prompt_keys, prompt_values = self.prompt_keys[:N], self.prompt_values[:N]

        on_prompt = torch.bmm(rows.to_slots(q), prompt_keys.flatten(0, 1).transpose(1, 2))
        on_prompt = rows.from_slots(on_prompt, q)
        if rows.hidden is not None:
            on_prompt.masked_fill_(rows.hidden, -float("inf"))
        on_blocks = [
            torch.bmm(q.view(B * K, Q, D), keys[:B].flatten(0, 1).transpose(1, 2))
            for keys, _ in self.own
        ]
        on_blocks[-1][..., self.cache.length % _BLOCK + 1 :] = -float("inf")
        # One softmax over all parts, without their keys ever lying side by side.
        on_own = [rows.split_rows(part.view(B, K, Q, _BLOCK)) for part in on_blocks]
        weights = torch.cat([on_prompt, *on_own], dim=-1).softmax(-1).view(B, K, Q, -1)

        L = on_prompt.shape[-1]
        mixed = torch.bmm(rows.to_slots(weights[..., :L]), prompt_values.flatten(0, 1))
        own = weights.new_zeros(B * K, Q, prompt_values.shape[-1])
        for part, (_, values) in zip(weights[..., L:].split(_BLOCK, -1), self.own, strict=True):
            own.baddbmm_(part.reshape(B * K, Q, _BLOCK), values[:B].flatten(0, 1))
        mixed = rows.from_slots(mixed, q) + rows.split_rows(own.view(B, K, Q, -1))
        return mixed.reshape(B, 1, H, -1).to(query.dtype)

    def move_rows(self, source: torch.Tensor, target: torch.Tensor) -> None:
        """Overwrite finished rows with unfinished ones from the end."""
        for block in self.own:
            for own in block:
                own[target] = own[source]

    def move_stems(self, source: torch.Tensor, target: torch.Tensor) -> None:
        """Overwrite stems that no row continues with others from the end."""
        for prompt in (self.prompt_keys, self.prompt_values):
            prompt[target] = prompt[source]


class SharedCache(Cache):
    """The layers' storage, with the attention function that belongs to it.

    Args:
        layers: attention layers of the model.
        stems: stored prompts, N; `longest` is the longest one's tokens, L.
        max_tokens: tokens that a row adds at most.
    """

    def __init__(self, layers: int, stems: int, longest: int, max_tokens: int) -> None:
        self.shared = [_SharedLayer(self) for _ in range(layers)]
        super().__init__(layers=[])
        self.stems = stems
        self.longest = longest
        self.max_tokens = max_tokens
        self.length = 0
        self.prefilling: Pass | None = None
        self.memory: Memory | None = None
        self.rows: Rows | None = None
        self.updated: list[_SharedLayer] = []

    def recall(self, memory: Memory, plan: PrefixPlan) -> None:
        """Fill in what is known of a plan's stems, and keep what is computed of them."""
        self.memory = memory
        copies = memory.recall(plan)
        if copies is not None:
            for index, layer in enumerate(self.shared):
                layer.fill(*memory.states(index), copies)

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store a layer's new keys and values and return them as they are, for `attend`."""
        layer = self.shared[layer_idx]
        layer.store(key_states, value_states)
        if self.prefilling is not None and self.memory is not None:
            self.memory.keep(layer_idx, key_states, value_states)
        self.updated.append(layer)
        return key_states, value_states

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return the number of positions a row sees, padding included."""
        return 0 if self.rows is None else self.longest + self.length

    def get_max_length(self, layer_idx: int | None = None) -> int:
        """Return the number of positions a row may have."""
        return self.longest + self.max_tokens

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """Return length and offset for a mask, which this attention does without."""
        return self.get_seq_length() + query_length, 0

    def attend(
        self,
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        scaling: float | None = None,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, None]:
        """Attend as transformers' attention functions do: (B, H, X, D) in, (B, X, H, D) out.

        Raises:
            UnsupportedModel: if the model asks for more than full causal attention.
        """
        layer = self.updated[-1] if self.updated else None
        if layer is None or layer.new_keys is not key or layer.new_values is not value:
            raise UnsupportedModel(f"{type(module).__name__} changes keys behind the cache")
        layer.new_keys = layer.new_values = None
        if not (getattr(module, "is_causal", True) and kwargs.get("is_causal", True)):
            raise UnsupportedModel(f"{type(module).__name__} attends to later positions")
        if attention_mask is not None:
            raise UnsupportedModel(f"{type(module).__name__} makes an attention mask of its own")
        for name, given in kwargs.items():
            if given is not None and name not in _HARMLESS:
                raise UnsupportedModel(f"{type(module).__name__} passes {name}={given!r:.40}")
        if scaling is None:
            scaling = query.shape[-1] ** -0.5
        if self.prefilling is not None:
            prompts = layer.prompt_keys, layer.prompt_values
            return self.prefilling.attend(query, key, value, *prompts, scaling), None
        if self.rows is None:
            raise RuntimeError("the cache was asked for tokens of rows before any prompt")
        return layer.decode(query, scaling, self.rows), None
