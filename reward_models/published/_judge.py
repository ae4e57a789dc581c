"""What all conventions share: a rendering of steps to ids and marks, and scoring in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iterative_grpo import timing, tokenizing
from iterative_grpo.context import positions
from reward_models.encoding import Encoded, UnfitTokenizer, UnreadableSolution, check_rows
from reward_models.model import NO_LIMIT, BrokenScores, UntrainedHead, batches
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

    @property
    def context(self) -> int:
        """Tokens that the model can read, question included."""
        return positions(self.model.config) or NO_LIMIT

    def score(
        self,
        questions: Sequence[str],
        texts: Sequence[str],
        ends: Sequence[Sequence[int]],
        *,
        tokens_per_batch: int = TOKENS_PER_BATCH,
    ) -> list[tuple[float, ...]]:
        """Return one probability an end for each text; equal ones are read once."""
        import torch

        check_rows(questions, texts, ends)
        with timing.part("score") as spent, torch.inference_mode():
            rows = [
                self._encode(row, question, text, cut)
                for row, (question, text, cut) in enumerate(
                    zip(questions, texts, ends, strict=True)
                )
            ]
            spent.tokens += sum(len(row.token_ids) for row in rows)
            distinct = list(dict.fromkeys(rows))
            results: dict[Encoded, tuple[float, ...]] = {}
            for batch in batches(distinct, tokens_per_batch):
                logits_NC = read_whole(self.model, [distinct[row] for row in batch], self.pad)
                values = self.good(logits_NC.float())
                if not bool(values.isfinite().all()):
                    raise BrokenScores(
                        "the reward model gave NaN or infinite scores: load it in float32 "
                        "(dtype='float32'), or restore its files if that does not help"
                    )
                flat = iter(values.tolist())
                for row in batch:
                    results[distinct[row]] = tuple(next(flat) for _ in distinct[row].marks)
        return [results[row] for row in rows]

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


def pretrained(auto: Any, path_or_name: str, dtype: str | None) -> Any:
    """Return a checkpoint's model by one of transformers' auto classes; none of its code is run.

    Raises UntrainedHead if weights are missing: it is a checkpoint of another shape.
    """
    model, info = auto.from_pretrained(
        path_or_name, dtype=dtype or "auto", trust_remote_code=False, output_loading_info=True
    )
    missing = sorted(info["missing_keys"])
    if missing:
        raise UntrainedHead(
            f"{path_or_name}: weights of {', '.join(missing[:4])} are missing, the model would "
            "judge at random; is it of another convention?"
        )
    return model.eval()


def tokenizer_of(path_or_name: str) -> Any:
    """Return a checkpoint's tokenizer; none of its code is run."""
    return tokenizing.load(path_or_name, trust_remote_code=False)


def without(text: str, mark: str) -> str:
    """Return a text without a mark, nor one that appears where another was taken out."""
    while mark in text:
        text = text.replace(mark, "")
    return text


def single(tokenizer: Any, text: str) -> int:
    """Return the last token of a text alone: what a sign becomes after a space."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if not ids:
        raise UnfitTokenizer(f"the tokenizer makes no token of {text!r}")
    return int(ids[-1])


def check_chat(tokenizer: Any) -> None:
    """Refuse a tokenizer that cannot write a conversation."""
    if not tokenizer.chat_template:
        raise UnfitTokenizer("the tokenizer has no chat template, which this convention needs")


def two_signs(good: int, bad: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the probability of the good sign's token against the bad one's."""

    def probability(logits_NV: torch.Tensor) -> torch.Tensor:
        return (logits_NV[:, good] - logits_NV[:, bad]).sigmoid()

    return probability
