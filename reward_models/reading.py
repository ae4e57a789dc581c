"""Running a token classifier on encoded rows, each text once and a question for all its solutions.

A small policy repeats itself: equal rows of a batch are read once, and their logits are given to
each of them, with all their gradients flowing back. The solutions of a question see the same
question: its keys and values are computed once and read by every solution. That is exact for plain
causal decoders; other backbones read each row whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reward_models.encoding import Encoded

if TYPE_CHECKING:
    import torch

SHARING = frozenset({"llama", "qwen2", "qwen3", "mistral"})
"""Model types whose layers attend causally to all that is in their cache."""

WORTH = 0.75
"""Share of the positions of reading rows whole, above which sharing questions gains nothing."""


def read(model: Any, rows: Sequence[Encoded], pad: int) -> torch.Tensor:
    """Return the logits (N, H) at all N marks, row by row, of H heads.

    `pad` is any valid token id; it stands at masked positions only.
    """
    distinct, places = merged(rows)
    # Wrapped for several processes, a model synchronises at each forward pass: all processes have
    # to run as many, and whether sharing is worth a second one depends on each one's own rows.
    alone = not hasattr(model, "module") and not type(model).__name__.startswith("FSDP")
    worth = positions(distinct) < WORTH * _whole_positions(distinct)
    sharing = alone and worth and shares(model)
    logits_MH = (read_shared if sharing else read_whole)(model, distinct, pad)
    return _at(logits_MH, places) if len(distinct) < len(rows) else logits_MH


def merged(rows: Sequence[Encoded]) -> tuple[Sequence[Encoded], list[int]]:
    """Return the distinct texts, each with all marks of its rows, and where each row's marks are.

    Places count the marks of the distinct rows, one after another.
    """
    marks: dict[tuple[int, tuple[int, ...]], set[int]] = {}
    for row in rows:
        marks.setdefault((row.question, row.token_ids), set()).update(row.marks)
    if len(marks) == len(rows):
        return rows, list(range(sum(len(row.marks) for row in rows)))
    distinct = [Encoded(ids, tuple(sorted(own)), asked) for (asked, ids), own in marks.items()]
    place: dict[tuple[int, tuple[int, ...], int], int] = {}
    for row in distinct:
        for mark in row.marks:
            place[row.question, row.token_ids, mark] = len(place)
    return distinct, [
        place[row.question, row.token_ids, mark] for row in rows for mark in row.marks
    ]


def read_whole(model: Any, rows: Sequence[Encoded], pad: int) -> torch.Tensor:
    """Read right-padded rows in one forward pass."""
    from iterative_grpo.attention import SMALL, attend, attending

    ids_BT, mask_BT = padded([row.token_ids for row in rows], pad, model)
    small = ids_BT.device.type == "cpu" and ids_BT.size(1) <= SMALL
    if small and hasattr(model, "modules") and shares(model) and not _drops(model):
        # Causal, so that nothing sees the padding behind it.
        with attending(model, lambda q, k, v, scaling: attend(q, k, v, None, scaling)):
            logits_BTH = model(input_ids=ids_BT).logits
    else:
        logits_BTH = model(input_ids=ids_BT, attention_mask=mask_BT).logits
    flat = [b * ids_BT.size(1) + mark for b, row in enumerate(rows) for mark in row.marks]
    return _at(logits_BTH.flatten(0, 1), flat)


def _drops(model: Any) -> bool:
    """Return whether attention weights are dropped now."""
    config = getattr(model, "module", model).config
    return bool(model.training and getattr(config, "attention_dropout", 0.0))


def read_shared(model: Any, rows: Sequence[Encoded], pad: int) -> torch.Tensor:
    """Read the distinct questions, then the solutions with their question's keys and values."""
    import torch
    from transformers import DynamicCache

    questions = {row.token_ids[: row.question]: None for row in rows}
    place = {question: index for index, question in enumerate(questions)}
    of_row = [place[row.token_ids[: row.question]] for row in rows]
    ids_QT, mask_QT = padded(list(questions), pad, model)
    config = getattr(model, "module", model).config
    cache = DynamicCache(config=config)
    asked_QTH = model(input_ids=ids_QT, attention_mask=mask_QT, past_key_values=cache).logits
    of_row_B = torch.tensor(of_row, device=ids_QT.device)
    cache.batch_select_indices(of_row_B)

    ids_BT, mask_BT = padded([row.token_ids[row.question :] or (pad,) for row in rows], pad, model)
    lengths_B = torch.tensor([row.question for row in rows], device=ids_BT.device)
    steps_T = torch.arange(ids_BT.size(1), device=ids_BT.device)
    if mask_QT is None and mask_BT is None:
        both_BT = None
    else:
        left_BT = torch.ones_like(ids_QT)[of_row_B] if mask_QT is None else mask_QT[of_row_B]
        right_BT = torch.ones_like(ids_BT) if mask_BT is None else mask_BT
        both_BT = torch.cat([left_BT, right_BT], dim=1)
    answered_BTH = model(
        input_ids=ids_BT,
        attention_mask=both_BT,
        position_ids=lengths_B[:, None] + steps_T,
        past_key_values=cache,
    ).logits

    # An empty text is read at its question's last token.
    asked = ids_QT.numel()
    flat = [
        asked + b * ids_BT.size(1) + mark - row.question
        if mark >= row.question
        else of_row[b] * ids_QT.size(1) + mark
        for b, row in enumerate(rows)
        for mark in row.marks
    ]
    return _at(torch.cat([asked_QTH.flatten(0, 1), answered_BTH.flatten(0, 1)]), flat)


def positions(rows: Sequence[Encoded]) -> int:
    """Return how many positions reading with shared questions computes, padding included."""
    questions = {row.token_ids[: row.question] for row in rows}
    asked = len(questions) * max(len(question) for question in questions)
    return asked + len(rows) * max(len(row.token_ids) - row.question for row in rows)


def _whole_positions(rows: Sequence[Encoded]) -> int:
    return len(rows) * max(len(row.token_ids) for row in rows)


def shares(model: Any) -> bool:
    """Return whether the model's solutions can read their question from a cache."""
    config = getattr(model, "module", model).config
    windows = getattr(config, "layer_types", None) or []
    # A question needs a token, and a window might not reach it.
    return config.model_type in SHARING and all(kind == "full_attention" for kind in windows)


def padded(
    sequences: Sequence[Sequence[int]], pad: int, model: Any
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return right-padded ids (B, T) and their mask (B, T), None if nothing is padded."""
    import torch

    longest = max(len(ids) for ids in sequences)
    device = getattr(model, "device", None)
    ids_BT = torch.tensor(
        [list(ids) + [pad] * (longest - len(ids)) for ids in sequences], device=device
    )
    if all(len(ids) == longest for ids in sequences):
        return ids_BT, None
    lengths_B = torch.tensor([len(ids) for ids in sequences], device=device)
    mask_BT = torch.arange(longest, device=device)[None, :] < lengths_B[:, None]
    return ids_BT, mask_BT.long()


def _at(logits_XH: torch.Tensor, places: Sequence[int]) -> torch.Tensor:
    import torch

    return logits_XH[torch.tensor(places, device=logits_XH.device)]
