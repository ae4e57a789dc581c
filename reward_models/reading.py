"""Running a token classifier on encoded rows, each text once and a question for all its solutions.

A small policy repeats itself: equal rows of a batch are read once, and their logits are given to
each of them, with all their gradients flowing back. The solutions of a question see the same
question, which is computed once, in one row with them. The last layer computes the tokens where the
head is read. All that is exact for plain causal decoders; other backbones, and those that drop
something in training, read each row whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from reward_models.encoding import Encoded

if TYPE_CHECKING:
    import torch

WORTH = 0.75
"""Share of the positions of reading rows whole, above which sharing questions gains nothing."""


def read(model: Any, rows: Sequence[Encoded], pad: int) -> torch.Tensor:
    """Return the logits (N, H) at all N marks, row by row, of H heads.

    `pad` is any valid token id; it stands at masked positions only.
    """
    if _drops(model):
        return read_whole(model, rows, pad)
    distinct, places = merged(rows)
    worth = positions(distinct) < WORTH * _whole_positions(distinct)
    logits_MH = (read_shared if worth and shares(model) else read_whole)(model, distinct, pad)
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
    from iterative_grpo.attention import SMALL
    from iterative_grpo.logps.rectangles import Span
    from iterative_grpo.transfer import bring
    from reward_models import last_layer

    ids_BT, mask_BT = padded([row.token_ids for row in rows], pad, model)
    T = ids_BT.size(1)
    marks = [b * T + mark for b, row in enumerate(rows) for mark in row.marks]
    (flat,) = bring(ids_BT.device, np.array(marks))
    if _drops(model) or not hasattr(model, "modules") or not shares(model):
        logits_BTH: torch.Tensor = model(input_ids=ids_BT, attention_mask=mask_BT).logits
        return logits_BTH.flatten(0, 1).index_select(0, flat)
    spans = [Span(b * T, T, asked=_rising(row.marks)) for b, row in enumerate(rows)]
    inputs, attention = {"input_ids": ids_BT, "attention_mask": mask_BT}, None
    if ids_BT.device.type == "cpu" and T <= SMALL:
        # Causal, so that nothing sees the padding behind it.
        inputs, attention = {"input_ids": ids_BT}, _causal
    return last_layer.at(flat, spans, model, attention, partial(_logits, model, **inputs))


def _logits(model: Any, **inputs: torch.Tensor | None) -> torch.Tensor:
    # A cache of keys and values serves generation; a text is read once.
    logits_BTH: torch.Tensor = model(**inputs, use_cache=False).logits
    return logits_BTH


def _causal(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    from iterative_grpo.attention import attend

    return attend(query, key, value, None, scaling)


def _drops(model: Any) -> bool:
    """Whether the model drops anything now: what is read once would be dropped for all alike."""
    from iterative_grpo.logps.models import drops

    return hasattr(model, "modules") and drops(getattr(model, "module", model))


def read_shared(model: Any, rows: Sequence[Encoded], pad: int) -> torch.Tensor:
    """Read the distinct questions and the solutions in one row, each behind its question.

    Nothing is padded; `pad` is there for `read_whole`.
    """
    from iterative_grpo.logps.attention import packed
    from iterative_grpo.logps.rectangles import Span
    from iterative_grpo.transfer import bring
    from reward_models import last_layer

    ids: list[int] = []
    positions: list[int] = []
    spans: list[Span] = []
    span_of: dict[tuple[int, ...], int] = {}
    flat = []
    for row in rows:
        question, length = row.token_ids[: row.question], len(row.token_ids)
        if question not in span_of:
            span_of[question] = len(spans)
            spans.append(Span(len(ids), row.question, asked=()))
            ids += question
            positions += range(row.question)
        prompt = spans[span_of[question]]
        start = len(ids) - row.question
        if row.marks[0] < row.question:
            # An empty text is read at its question's last token.
            spans[span_of[question]] = replace(prompt, asked=row.marks[:1])
        own = _rising(mark - row.question for mark in row.marks if mark >= row.question)
        spans.append(Span(len(ids), length - row.question, prompt.start, row.question, own))
        ids += row.token_ids[row.question :]
        positions += range(row.question, length)
        flat += [
            start + mark if mark >= row.question else prompt.start + mark for mark in row.marks
        ]
    device = device_of(model)
    seen = [replace(span, asked=None) for span in spans]
    ids_1N, positions_1N, flat_N = bring(
        device, np.array([ids]), np.array([positions]), np.array(flat)
    )
    return last_layer.at(
        flat_N,
        spans,
        model,
        packed(seen, getattr(model, "module", model), device),
        partial(_logits, model, input_ids=ids_1N, position_ids=positions_1N),
    )


def _rising(places: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(set(places)))


def positions(rows: Sequence[Encoded]) -> int:
    """Return how many positions reading with shared questions computes."""
    questions = {row.token_ids[: row.question] for row in rows}
    return sum(map(len, questions)) + sum(len(row.token_ids) - row.question for row in rows)


def _whole_positions(rows: Sequence[Encoded]) -> int:
    return len(rows) * max(len(row.token_ids) for row in rows)


def shares(model: Any) -> bool:
    """Return whether the model's solutions can share their question."""
    from iterative_grpo.attention import PLAIN

    config = getattr(model, "module", model).config
    if config.model_type == "mistral" and config.sliding_window is not None:
        return False
    kinds = getattr(config, "layer_types", None) or []
    # A question needs a token, and a window might not reach it.
    return config.model_type in map(str.lower, PLAIN) and all(
        kind == "full_attention" for kind in kinds
    )


def padded(
    sequences: Sequence[Sequence[int]], pad: int, model: Any
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return right-padded ids (B, T) and their mask (B, T), None if nothing is padded."""
    from iterative_grpo.transfer import bring

    length_B = np.array([len(ids) for ids in sequences])
    seen_BT = np.arange(length_B.max()) < length_B[:, None]
    ids_BT = np.full(seen_BT.shape, pad)
    ids_BT[seen_BT] = [token for ids in sequences for token in ids]
    ids, mask = bring(device_of(model), ids_BT, seen_BT.astype(np.int64))
    return ids, None if seen_BT.all() else mask


def device_of(model: Any) -> torch.device:
    """Return where a model is; the CPU for one that does not say."""
    import torch

    return torch.device(getattr(model, "device", "cpu"))


def _at(logits_XH: torch.Tensor, places: Sequence[int]) -> torch.Tensor:
    from iterative_grpo.transfer import bring

    (index,) = bring(logits_XH.device, np.array(places))
    return logits_XH[index]
