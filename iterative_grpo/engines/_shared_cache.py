"""Keys and values that a group shares: a transformers cache, and the attention that reads it.

A prompt's keys and values are stored once, however many rows continue it; each row adds its own
behind them, in blocks of a fixed number of positions. A block is allocated when the first of its
positions is reached and for the rows that are left then, so decoding copies nothing. Rows that go
on as one (`_branches`) are one row here.

Dimensions: N stems (stored prompts), B rows, R rows of a stem, H heads, K key heads, Q = H / K
queries a key head, L longest stem, W positions of a block, D head size.
"""

from __future__ import annotations

import math
import mmap
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import Cache

from iterative_grpo.attention import more_asked
from iterative_grpo.engines._memory import Memory
from iterative_grpo.engines._prefill import Copies, Pass
from iterative_grpo.engines._prefixes import PrefixPlan
from iterative_grpo.transfer import Indices, bring

# Bytes from which huge pages (of 2 MiB) are worth asking for.
_HUGE = 2**24
# Positions of a block. Rows are multiplied with whole blocks, the unused positions of the last one
# included: a batched product of matrices with gaps between them takes two to three times as long on
# a CPU (512 rows x 8 heads of 32 or 64, float32). Larger blocks waste more, smaller ones make more
# products: on a GPU two launches a layer and step, and a graph more.
BLOCK = 32
_GPU_BLOCK = 128


def block_on(device: torch.device) -> int:
    """Return the positions of a block on a device."""
    return BLOCK if device.type == "cpu" else _GPU_BLOCK


class UnsupportedModel(ValueError):
    """A model whose attention the native engine does not compute; the message says what to use."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"the native engine serves decoders with full causal attention, but {found}; "
            "use the 'generate' engine for this model"
        )


class Rows:
    """Which rows continue which stems.

    Args:
        stem_B: the stem of each row.
        visible_B: how many of its stem's tokens a row sees.
        stems: N; `longest` is L.
        device: where the cache is.
    """

    def __init__(
        self, stem_B: Indices, visible_B: Indices, stems: int, longest: int, device: torch.device
    ) -> None:
        self.stems, self.longest, self.device = stems, longest, device
        rows = len(stem_B)
        counts_N = np.bincount(stem_B, minlength=stems)
        self.slots = int(counts_N.max())
        order_B = stem_B.argsort(kind="stable")
        first_N = counts_N.cumsum() - counts_N
        slot_B = np.empty_like(order_B)
        slot_B[order_B] = np.arange(rows) - first_N[stem_B[order_B]]
        self.stem_B, self.slot_B = stem_B, slot_B
        # An empty slot repeats row 0; nobody reads its result.
        self.row_NR = np.zeros((stems, self.slots), dtype=np.int64)
        self.row_NR[stem_B, slot_B] = np.arange(rows)
        self.visible_NR = visible_B[self.row_NR]
        self._slots: dict[tuple[int, int, torch.dtype], Slots] = {}

    def slots_of(self, key_heads: int, queries: int, dtype: torch.dtype) -> Slots:
        """Return the layout for layers with these heads, made once."""
        key = key_heads, queries, dtype
        if key not in self._slots:
            self._slots[key] = Slots(self, *key)
        return self._slots[key]


class Slots:
    """Rows laid out for products with the stems' keys and values: R slots to each stem.

    One product then serves a whole group. Heads are moved with the rows, so that going there and
    back is one copy each.
    """

    def __init__(self, rows: Rows, key_heads: int, queries: int, dtype: torch.dtype) -> None:
        N, K, R, Q = rows.stems, key_heads, rows.slots, queries
        self.shape = N * K, R * Q
        head_K = np.arange(K)
        # Of what is (B * K, ...), the place of each slot (N, K, R), and back.
        row_NKR = rows.row_NR[:, None] * K + head_K[:, None]
        slot_BK = (rows.stem_B[:, None] * K + head_K) * R + rows.slot_B[:, None]
        self.row_of_slot, self.slot_of_row, visible_NR = bring(
            rows.device, row_NKR.ravel(), slot_BK.ravel(), rows.visible_NR
        )
        # To be added to scores (N * K, R * Q, L).
        self.hidden = torch.zeros((), dtype=dtype, device=rows.device)
        if (rows.visible_NR < rows.longest).any():
            position_L = torch.arange(rows.longest, device=rows.device)
            hidden_NRL = torch.zeros((N, R, rows.longest), dtype=dtype, device=rows.device)
            hidden_NRL.masked_fill_(position_L >= visible_NR[..., None], -float("inf"))
            whole = hidden_NRL[:, None, :, None].expand(N, K, R, Q, -1)
            self.hidden = whole.reshape(*self.shape, -1)

    def fill(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B * K, Q, X) as (N * K, R * Q, X)."""
        return x.index_select(0, self.row_of_slot).view(*self.shape, x.shape[-1])

    def empty(self, x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """Return (N * K, R * Q, X) as (B * K, Q, X), with the Q of `like`."""
        slots = x.view(len(self.row_of_slot), like.shape[1], x.shape[-1])
        return slots.index_select(0, self.slot_of_row)


def _room(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Return a tensor of zeros; on a CPU in huge pages, where the system has them.

    Decoding reads all of the cache at every token, in short stretches far apart: with ordinary
    pages, finding them takes a noticeable part of the time.
    """
    count = math.prod(shape)
    size = count * dtype.itemsize
    if device.type != "cpu" or size < _HUGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.zeros(shape, dtype=dtype, device=device)
    # New pages are zero.
    memory = mmap.mmap(-1, size)
    memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype, count=count).view(shape)


def _pair(
    keys: torch.Tensor, values: torch.Tensor, rows: int, length: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return room for keys and values of this many rows and positions, like (any, K, any, D).

    Unused positions are read, though hidden, so that they must not be NaN.
    """
    # On a CPU, products with one query a row are slower in bfloat16 than in float32.
    dtype = keys.dtype
    if keys.device.type != "cuda":
        dtype = torch.promote_types(dtype, torch.float32)
    _, heads, _, size = keys.shape
    key_room = _room((rows, heads, length, size), dtype, keys.device)
    value_room = _room((rows, heads, length, values.shape[-1]), dtype, keys.device)
    return key_room, value_room


def _scores(
    query: torch.Tensor, keys: torch.Tensor, hidden: torch.Tensor, scaling: float
) -> torch.Tensor:
    """Return scaled scores (X, R, L) and what hides some of them, in float32 at least.

    Qwen2's biases make scores of some hundreds, which bfloat16 rounds to whole numbers.
    """
    if query.dtype.itemsize > 2:
        return torch.baddbmm(hidden, query, keys.transpose(1, 2), alpha=scaling)
    exact = torch.bmm(query, keys.transpose(1, 2), out_dtype=torch.float32)
    return torch.add(hidden, exact, alpha=scaling)


class SharedLayer:
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
            block, place = divmod(cache.length, cache.block)
            if block == len(self.own):
                room = max(rows, cache.capacity)
                self.own.append(_pair(key_states, value_states, room, cache.block))
            for own, states in zip(self.own[block], (key_states, value_states), strict=True):
                if cache.place_1 is None:
                    own[:rows, :, place] = states[:, :, 0]
                else:
                    own[:rows].index_copy_(2, cache.place_1, states.to(own.dtype))

    def fill(self, key_states: torch.Tensor, value_states: torch.Tensor, copies: Copies) -> None:
        """Store packed keys and values (1, K, T, D) with the stems that they belong to."""
        if not len(self.prompt_keys):
            self.prompt_keys, self.prompt_values = _pair(
                key_states, value_states, self.cache.stems, self.cache.longest
            )
        copies.store(key_states, self.prompt_keys)
        copies.store(value_states, self.prompt_values)

    def decode(self, query: torch.Tensor, scaling: float) -> torch.Tensor:
        """Attend from one token a row (B, H, 1, D) to its stem and itself; return (B, 1, H, D)."""
        rows = self.cache.rows
        if rows is None:
            raise RuntimeError("the cache was asked for tokens of rows before any prompt")
        B, H, _, D = query.shape
        K = self.prompt_keys.shape[1]
        Q = H // K
        q = query.to(self.prompt_keys.dtype).reshape(B * K, Q, D)
        N = rows.stems
        slots = rows.slots_of(K, Q, torch.promote_types(q.dtype, torch.float32))
        prompt_keys, prompt_values = (
            prompt[:N].flatten(0, 1) for prompt in (self.prompt_keys, self.prompt_values)
        )
        own = [(keys[:B].flatten(0, 1), values[:B].flatten(0, 1)) for keys, values in self.own]

        on_prompt = _scores(slots.fill(q), prompt_keys, slots.hidden, scaling)
        unreached = self.cache.unreached(on_prompt)
        on_own = [
            _scores(q, keys, unreached_W, scaling)
            for unreached_W, (keys, _) in zip(unreached, own, strict=True)
        ]
        # One softmax over all parts, without their keys ever lying side by side.
        weights = torch.cat([slots.empty(on_prompt, q), *on_own], dim=-1).softmax(-1).to(q.dtype)

        L = on_prompt.shape[-1]
        mixed = slots.empty(torch.bmm(slots.fill(weights[..., :L]), prompt_values), q)
        on_blocks = weights[..., L:].split(self.cache.block, -1)
        for part, (_, values) in zip(on_blocks, own, strict=True):
            mixed.baddbmm_(part, values)
        return mixed.view(B, 1, H, -1).to(query.dtype)

    def move_rows(self, source: torch.Tensor, target: torch.Tensor) -> None:
        """Copy rows from `source` to `target`, which nobody is left at."""
        for block in self.own:
            for own in block:
                own.index_copy_(0, target, own.index_select(0, source))

    def move_stems(self, source: torch.Tensor, target: torch.Tensor) -> None:
        """Overwrite stems that no row continues with others from the end."""
        for prompt in (self.prompt_keys, self.prompt_values):
            prompt.index_copy_(0, target, prompt.index_select(0, source))


class SharedCache(Cache):
    """The layers' storage, with the attention function that belongs to it.

    Args:
        layers: attention layers of the model.
        stems: stored prompts, N; `longest` is the longest one's tokens, L.
        max_tokens: tokens that a row adds at most.
        block: positions of a block, W.

    Attributes:
        length: positions of rows that are behind; `reach` sets it.
        place_1: the position's place in its block, where a graph reads it; None without graphs.
    """

    def __init__(
        self, layers: int, stems: int, longest: int, max_tokens: int, block: int = BLOCK
    ) -> None:
        self.shared = [SharedLayer(self) for _ in range(layers)]
        super().__init__(layers=[])
        self.stems = stems
        self.longest = longest
        self.max_tokens = max_tokens
        self.block = block
        self.length = 0
        self.place_1: torch.Tensor | None = None
        self.capacity = 0
        self.prefilling: Pass | None = None
        self.memory: Memory | None = None
        self.rows: Rows | None = None
        self.updated: list[SharedLayer] = []
        self._unreached: torch.Tensor | None = None
        self._unreached_now: tuple[int, torch.Tensor] | None = None

    @property
    def layout(self) -> tuple[Rows | None, int]:
        """What a step's shapes and addresses hang on: the order of the rows, and the block."""
        return self.rows, self.length // self.block

    def reach(self, length: int) -> None:
        """Go on to this position behind the prompts."""
        self.length = length
        if self.place_1 is not None:
            self.place_1.fill_(length % self.block)

    def close(self) -> None:
        """Let go of keys and values: layers hold the cache, which would outlive its use by far."""
        self.shared.clear()
        self.updated.clear()

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
        layer.new_keys, layer.new_values = key_states, value_states
        if self.prefilling is not None and self.memory is not None:
            self.memory.keep(layer_idx, key_states, value_states)
        self.updated.append(layer)
        return key_states, value_states

    def unreached(self, like: torch.Tensor) -> list[torch.Tensor]:
        """Return for each block what hides its positions (W) that no row has reached, to add."""
        if self._unreached is None:
            W = self.block
            reached_WW = like.new_ones(W, W, dtype=torch.bool).tril()
            self._unreached = like.new_zeros(W, W).masked_fill(~reached_WW, -float("inf"))
        block, place = divmod(self.length, self.block)
        if self._unreached_now is None or self._unreached_now[0] != self.length:
            table_WW, row_1 = self._unreached, self.place_1
            now_W = table_WW[place] if row_1 is None else table_WW.index_select(0, row_1)[0]
            self._unreached_now = self.length, now_W
        return [*(self._unreached[-1],) * block, self._unreached_now[1]]

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
        reason = more_asked(module, attention_mask, kwargs)
        if reason is not None:
            raise UnsupportedModel(reason)
        if scaling is None:
            scaling = query.shape[-1] ** -0.5
        if self.prefilling is not None:
            prompts = layer.prompt_keys, layer.prompt_values
            return self.prefilling.attend(query, key, value, *prompts, scaling), None
        if not torch.is_autocast_enabled(query.device.type):
            return layer.decode(query, scaling), None
        # Autocast would bring the whole cache to its precision at every token.
        with torch.autocast(query.device.type, enabled=False):
            return layer.decode(query, scaling), None
