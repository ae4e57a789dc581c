"""The paths to the same log-probabilities, and the choice between them."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch

from iterative_grpo.attention import UnsupportedModel, attending
from iterative_grpo.forwards import replacing
from iterative_grpo.logps import models
from iterative_grpo.logps.attention import packed
from iterative_grpo.logps.head import score
from iterative_grpo.logps.held import Held
from iterative_grpo.logps.packing import Rows, budgeted, pack
from iterative_grpo.precision import computed_in
from iterative_grpo.transfer import Indices, bring

Path = Literal["shared", "prompts", "plain", "trl"]
"""Prompts and equal completions of a group once; prompts once; each row by itself; TRL's own."""

Scores = tuple[torch.Tensor, torch.Tensor | None]
Stock = Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]

# Tokens that go through a model at once: enough to fill its products, few enough for its memory.
TOKEN_BUDGET = 8192

# What models of other makers raise when they are called in a way that they do not know.
_REFUSALS = (UnsupportedModel, TypeError, AttributeError, KeyError, RuntimeError)

# Tokens on which a model's own logits are compared: the whole vocabulary exists for them at once.
_TOKENS_OF_LOGITS = 32

logger = logging.getLogger(__name__)


class UnscorableModel(ValueError):
    """A model whose log-probabilities neither TRL nor a path of ours computes."""


class Logps:
    """Computes log-probabilities on the fastest path that a model and a batch allow.

    Each model is checked once: on a few rows of its first batch, a path of ours must agree with
    TRL's, and TRL's with the logits of the model itself. Whatever is not on the wanted path is said
    once, with the reason.

    Args:
        temperature: divides logits, as in sampling.
        autocast: makes the context that the model computes in.
        most: returns the largest of all processes' numbers, for models in shards (`Held`).
    """

    def __init__(
        self,
        temperature: float,
        autocast: Callable[[], AbstractContextManager[Any]],
        most: Callable[[int], int] = int,
    ) -> None:
        self.temperature = temperature
        self.autocast = autocast
        self.most = most
        self._paths: weakref.WeakKeyDictionary[Any, dict[Path, Path]] = weakref.WeakKeyDictionary()
        self._said: set[str] = set()

    def __call__(
        self,
        model: Any,
        ids: torch.Tensor,
        mask: torch.Tensor,
        columns: int,
        *,
        wanted: Path,
        entropy: bool,
        stock: Stock,
    ) -> Scores | None:
        """Return log-probabilities and entropies (B, T), zero at padding; None for TRL's path.

        Args:
            model: a causal language model, bare, with PEFT, or in DDP, FSDP or DeepSpeed.
            ids: prompts and completions (B, P + T), padded on the outer sides.
            mask: 1 at their tokens (B, P + T).
            columns: T.
            wanted: the path to take if the model can.
            entropy: whether entropies are asked for; else they are None.
            stock: TRL's log-probabilities of (ids, mask, columns), for the check.
        """
        if wanted == "trl":
            return None
        inner = models.unwrapped(model)
        reason = models.only_trl(model, inner)
        if reason is not None:
            self.say(f"log-probabilities of {type(inner).__name__} come from TRL: {reason}")
            return None
        held = Held.by(model, inner, self.most)
        rows = Rows.read(ids, mask, columns)
        if rows is None and held.in_shards:
            raise ValueError(
                "a model in shards scores no empty prompt, and no padding between tokens"
            )
        if rows is None:
            self.say(
                "log-probabilities of a batch come from TRL: a prompt is empty, or padding "
                "is not left of prompts and right of completions"
            )
            return None
        path = self._path(held, rows, wanted, stock)
        if path in ("shared", "prompts") and models.drops(inner):
            self.say(f"{type(inner).__name__} computes prompts for each row: it has dropout")
            path = "plain"
        if path == "trl" or (path == "plain" and held.in_shards):
            return None
        if not torch.is_grad_enabled() or models.unparallel(model) is model:
            return self._compute(held, ids, rows, path, entropy)
        # DDP and DeepSpeed have to see a forward pass of their own, or average no gradients.
        with replacing(inner, lambda *_, **__: self._compute(held, ids, rows, path, entropy)):
            scores: Scores = model(ids)
        return scores

    def _compute(
        self, held: Held, ids: torch.Tensor, rows: Rows, path: Path, entropy: bool
    ) -> Scores:
        def compute() -> Scores:
            with self.autocast():
                if path == "plain":
                    return _plain(held.inner, rows, self.temperature, entropy)
                return _shared(held, rows, self.temperature, entropy, once=path == "shared")

        return held.run(ids, compute)

    def _path(self, held: Held, rows: Rows, wanted: Path, stock: Stock) -> Path:
        """Return the path for a model; the first time, find out which ones agree with TRL."""
        if not any(rows.completion_lengths) and not held.in_shards:
            # Nothing to score and so nothing to compare; any path makes zeros of it.
            return "plain"
        known = self._paths.setdefault(held.inner, {})
        if wanted not in known:
            known[wanted] = self._find_path(held, rows, wanted, stock)
        return known[wanted]

    def _find_path(self, held: Held, rows: Rows, wanted: Path, stock: Stock) -> Path:
        inner = held.inner
        name = type(inner).__name__
        # One prompt: without padding on the left, positions are the same in all implementations.
        length = rows.completion_lengths.__getitem__
        groups = [sorted(group, key=length)[-2:] for group in rows.groups()]
        few = rows.select(max(groups, key=lambda group: sum(map(length, group))))
        few_ids, few_mask = bring(few.device, *few.padded())
        columns = few.completions.shape[1]
        paths: list[Path] = [wanted] if held.in_shards or wanted == "plain" else [wanted, "plain"]
        training = [module for module in inner.modules() if module.training]
        precision = self._precision(inner)
        try:
            # Dropout would make any two passes differ.
            inner.eval()
            with torch.no_grad():
                self._check_head(held, few, stock, precision)
                expected = stock(few_ids, few_mask, columns)
                for path in paths:
                    reason = None if path == "plain" else models.not_shared(inner)
                    if reason is None:
                        try:
                            logps, _ = self._compute(held, few_ids, few, path, entropy=False)
                            reason = _disagreement(logps, expected, precision)
                            if path != "plain":
                                reason = self._leak(held, few_ids, few, path) or reason
                        except torch.OutOfMemoryError:
                            raise  # no refusal; of several processes the others would wait for it
                        except _REFUSALS as error:
                            reason = f"{type(error).__name__}: {error}"
                    if held.most(reason is not None) and reason is None:
                        reason = "it differs from TRL's on another process"
                    if reason is None:
                        return path
                    self.say(f"log-probabilities of {name} not on the {path} path: {reason}")
        finally:
            for module in training:
                module.training = True
        return "trl"

    def _leak(self, held: Held, ids: torch.Tensor, rows: Rows, path: Path) -> str | None:
        """Return how far a completion moves with the one packed before it, if it does.

        It must not, in any precision, to the last bit where kernels allow it. A layer that mixes
        neighbours moves a token or two, which the rounding of bfloat16 hides from the comparison of
        means.
        """
        last = rows.completions[-1, : rows.completion_lengths[-1]]
        moved = []
        for token in _two_others(last, held.inner.get_input_embeddings().num_embeddings):
            completions = rows.completions.copy()
            completions[0, : rows.completion_lengths[0]] = token
            logps, _ = self._compute(held, ids, replace(rows, completions=completions), path, False)
            moved.append(logps[-1].float())
        difference = float((moved[0] - moved[1]).abs().max())
        if len(rows.completions) == 1:  # not sooner: of a model in shards, all take part
            return None
        if difference <= 0.02 * float(moved[0].std(correction=0)) + 1e-4:
            return None
        return f"it differs by {difference:.2g} with the completion packed before"

    def _precision(self, inner: Any) -> torch.dtype:
        """Return what the model computes in; log-probabilities are float32 whatever that is."""
        weight = inner.get_output_embeddings().weight
        with self.autocast():
            return computed_in(weight.device, weight.dtype)

    def _check_head(self, held: Held, rows: Rows, stock: Stock, precision: torch.dtype) -> None:
        """Refuse a model that does something between its backbone and its head, or behind it.

        TRL's path and ours put the head on what the backbone returns, and would agree with each
        other.
        """
        prompt, completion = rows.prompt_lengths[-1], rows.completion_lengths[-1]
        row = np.concatenate([rows.prompts[-1][-prompt:], rows.completions[-1][:completion]])
        (ids_1X,) = bring(rows.device, row[None, :_TOKENS_OF_LOGITS])
        found = stock(ids_1X, torch.ones_like(ids_1X), ids_1X.shape[1] - 1)
        with self.autocast():
            logits_XV = held.whole(input_ids=ids_1X, use_cache=False).logits[0, :-1]
        logps_XV = (logits_XV.float() / self.temperature).log_softmax(-1)
        # In the model's precision, which says how near these numbers can be. Logits that autocast
        # has made are handed out as float32.
        own = logps_XV.gather(-1, ids_1X[0, 1:, None])[:, 0].to(precision)
        off = float((found[0].float() - own.float()).abs().max())
        # Picked numbers may lie closer together than they are exact: few tokens, or an even policy.
        rounding = 2 * torch.finfo(own.dtype).eps * float(own.float().abs().max())
        is_off = off > rounding and _disagreement(found, own[None], precision) is not None
        if held.most(is_off):
            raise UnscorableModel(
                f"{type(held.inner).__name__}: log-probabilities of TRL, the head on the backbone, "
                f"are off the model's own logits by {off:.2g}: it does more behind its backbone "
                "than TRL knows. Training would go astray; choose another model"
            )

    def say(self, note: str) -> None:
        """Log a note the first time it is given."""
        if note not in self._said:
            self._said.add(note)
            logger.warning(note)


def _shared(held: Held, rows: Rows, temperature: float, entropy: bool, *, once: bool) -> Scores:
    """Score packed rows, each prompt computed once; with `once`, equal completions too."""
    inner = held.inner
    groups = rows.groups()
    batches: list[Sequence[Sequence[int]]] = [groups]
    if not torch.is_grad_enabled():
        batches = list(budgeted(rows, groups, TOKEN_BUDGET))
        batches += batches[-1:] * (held.most(len(batches)) - len(batches))
    cells, logps, entropies = [], [], []
    for batch in batches:
        row = pack(rows, batch, once=once)
        with attending(inner, packed(row.spans, inner, rows.device)):
            output = inner.base_model(
                input_ids=row.ids, position_ids=row.positions, use_cache=False
            )
        hidden_MH = output.last_hidden_state[0].index_select(0, row.sources)
        scores = score(hidden_MH, inner.get_output_embeddings(), row.targets, temperature, entropy)
        cells.append(row.cells)
        logps.append(scores[0].index_select(0, row.copied))
        entropies.append(None if scores[1] is None else scores[1].index_select(0, row.copied))
    return _placed(rows, cells, logps), _placed(rows, cells, entropies) if entropy else None


def _plain(inner: Any, rows: Rows, temperature: float, entropy: bool) -> Scores:
    """Score padded rows in chunks of similar length."""
    width = rows.completions.shape[1]
    cells, logps, entropies = [], [], []
    for chunk in _similar(rows, TOKEN_BUDGET):
        ids_BX, mask_BX = rows.select(chunk).padded()
        prompts = max(rows.prompt_lengths[row] for row in chunk)
        row, column = mask_BX[:, prompts:].nonzero()
        places = row * ids_BX.shape[1] + prompts + column
        ids, mask, sources, targets, cell = bring(
            rows.device,
            *(ids_BX, mask_BX, places - 1, ids_BX.ravel()[places]),  # each from the one before
            np.array(chunk)[row] * width + column,
        )
        output = inner.base_model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            use_cache=False,
        )
        hidden_MH = output.last_hidden_state.flatten(0, 1).index_select(0, sources)
        scores = score(hidden_MH, inner.get_output_embeddings(), targets, temperature, entropy)
        cells.append(cell)
        logps.append(scores[0])
        entropies.append(scores[1])
    return _placed(rows, cells, logps), _placed(rows, cells, entropies) if entropy else None


def _placed(
    rows: Rows, cells: Sequence[torch.Tensor], values: Sequence[torch.Tensor | None]
) -> torch.Tensor:
    """Put values into their cells (B, T); all others are 0."""
    found = torch.cat([value for value in values if value is not None])
    empty = found.new_zeros(rows.completions.size)
    return empty.index_put((torch.cat(list(cells)),), found).view(rows.completions.shape)


def _similar(rows: Rows, tokens: int) -> list[list[int]]:
    """Return chunks of rows of similar length that pad to at most `tokens` (or one row)."""
    lengths = list(zip(rows.completion_lengths, rows.prompt_lengths, strict=True))
    order = sorted(range(len(lengths)), key=lambda row: (sum(lengths[row]), row))
    chunks: list[list[int]] = []
    widths = (0, 0)
    for row in order:
        widths = (max(widths[0], lengths[row][0]), max(widths[1], lengths[row][1]))
        if chunks and (len(chunks[-1]) + 1) * sum(widths) <= tokens:
            chunks[-1].append(row)
        else:
            chunks.append([row])
            widths = lengths[row]
    return chunks


def _two_others(ids: Indices, vocabulary: int) -> list[int]:
    """Return two tokens that are not in `ids`, as far as there are any."""
    others = sorted(set(range(min(vocabulary, len(ids) + 2))).difference(ids.tolist()))
    return list(dict.fromkeys([*others, 0, 1]))[:2]


def _disagreement(
    logps: torch.Tensor, expected: torch.Tensor, precision: torch.dtype
) -> str | None:
    """Return how far log-probabilities are off TRL's, if that is more than rounding."""
    allowed = (0.1 if precision.itemsize < 4 else 1e-3) * float(
        expected.float().std(correction=0)
    ) + 1e-4
    difference = (logps.float() - expected.float()).abs()
    if float(difference.mean()) <= allowed:
        return None
    return f"it differs from TRL's by {float(difference.max()):.2g}"
