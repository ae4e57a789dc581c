"""What all conventions share: a rendering of steps to ids and marks, and scoring in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reward_models.encoding import Encoded, UnfitTokenizer, UnreadableSolution, check_rows
from reward_models.model import BrokenScores, batches
from reward_models.reading import read_whole

if TYPE_CHECKING:
    import torch

TOKENS_PER_BATCH = 4_096
"""Positions in one forward pass of models of billions of parameters."""

Render = Callable[[str, Sequence[str]], tuple[list[int], list[int]]]
"""Maps a question and its steps to token ids and the positions where each step is read."""


@dataclass(frozen=True, slots=True)
class Judge:
    """A loaded model: `render` places the steps, `good` maps logits (N, C) to probabilities."""

    model: Any
    render: Render
    good: Callable[[torch.Tensor], torch.Tensor]
    pad: int
    context: int

    def score(
        self,
        questions: Sequence[str],
        texts: Sequence[str],
        ends: Sequence[Sequence[int]],
        *,
        tokens_per_batch: int = TOKENS_PER_BATCH,
    ) -> list[tuple[float, ...]]:
        """Return one probability an end for each text."""
        import torch

        check_rows(questions, texts, ends)
        rows = [
            self._encode(row, question, text, cut)
            for row, (question, text, cut) in enumerate(zip(questions, texts, ends, strict=True))
        ]
        results: list[tuple[float, ...]] = [()] * len(rows)
        with torch.inference_mode():
            for batch in batches(rows, tokens_per_batch):
                logits_NC = read_whole(self.model, [rows[row] for row in batch], self.pad)
                values = self.good(logits_NC.float())
                if not bool(values.isfinite().all()):
                    raise BrokenScores(
                        "the reward model gave NaN or infinite scores: load it in float32 "
                        "(dtype='float32'), or restore its files if that does not help"
                    )
                flat = iter(values.tolist())
                for row in batch:
                    results[row] = tuple(next(flat) for _ in rows[row].marks)
        return results

    def _encode(self, row: int, question: str, text: str, cut: Sequence[int]) -> Encoded:
        starts = (0, *cut[:-1])
        steps = [text[a:b].strip() for a, b in zip(starts, cut, strict=True)]
        ids, marks = self.render(question, steps)
        if len(marks) != len(steps):
            raise UnreadableSolution(
                f"row {row}: {len(steps)} steps but {len(marks)} places to read them at; the "
                "tokenizer does not keep the model's step marks"
            )
        if len(ids) > self.context:
            raise UnreadableSolution(
                f"row {row} has {len(ids)} tokens, the reward model reads {self.context}; cutting "
                "the text would lose scores: shorten completions or take a model with a longer "
                "context"
            )
        return Encoded(tuple(ids), tuple(marks), 0)


def single(tokenizer: Any, text: str) -> int:
    """Return the last token of a text alone: what a sign becomes after a space."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if not ids:
        raise UnfitTokenizer(f"the tokenizer makes no token of {text!r}")
    return int(ids[-1])


def context_of(model: Any) -> int:
    """Return the tokens that a model can read."""
    return int(getattr(model.config, "max_position_embeddings", 1 << 30))


def two_signs(good: int, bad: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the probability of the good sign's token against the bad one's."""

    def probability(logits_NV: torch.Tensor) -> torch.Tensor:
        return (logits_NV[:, good] - logits_NV[:, bad]).sigmoid()

    return probability
