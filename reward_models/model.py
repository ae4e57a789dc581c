"""`RewardModel`: one scalar head read at marked ends, over any transformers backbone."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from math import exp
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from iterative_grpo import timing, tokenizing
from iterative_grpo.context import positions
from reward_models.calibration import Calibration, read_calibration
from reward_models.encoding import Encoded, UnfitTokenizer, check_tokenizer, encode, fingerprint
from reward_models.reading import read, shares

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

TOKENS_PER_BATCH = 16_384
"""Positions in one forward pass of scoring."""

CALIBRATION = "calibration.json"
"""File of a checkpoint's folder; without it, scores are the sigmoid of the logits."""

HEADS = ("score", "classifier")
"""What transformers calls the head of a token classifier."""

NO_LIMIT = 1 << 30
"""Context of a backbone that states none; also above it, tokenizers mean "unknown"."""


class UntrainedBackbone(ValueError):
    """A checkpoint without all weights of its backbone: it would begin at random, unasked."""


class UntrainedHead(ValueError):
    """A checkpoint whose scalar head is missing: loaded, it would judge at random."""


class DamagedModel(ValueError):
    """A checkpoint whose file of weights is not whole."""


class BrokenScores(ValueError):
    """A reward model gave NaN or infinite scores."""


class RewardModel:
    """A token classifier with one label: sigmoid(logit) at an end scores the steps up to it.

    An ensemble has several labels, heads trained on resampled problems: the score is the mean's.

    Trained with binary cross-entropy on labels in [0, 1]. An outcome and a process model are the
    same class: the ends differ. The checkpoint is a standard `AutoModelForTokenClassification`
    one (safetensors and tokenizer), so that it loads elsewhere.
    """

    calibration: Calibration | None = None
    """Maps probabilities to frequencies; saved and loaded with the model."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        embeddings: Any = model.get_input_embeddings()
        check_tokenizer(tokenizer, embeddings.weight.shape[0])
        check_heads(model.config, type(model).__name__)
        # A cache of keys and values serves generation; a reward model reads each text once.
        model.config.use_cache = False
        self.model: Any = model
        self.tokenizer = tokenizer
        self.separator: str = getattr(model.config, "reward_separator", "\n")
        pad = tokenizer.pad_token_id
        # A pad token is only ever at masked positions, so any valid id will do.
        self.pad: int = 0 if pad is None else pad

    @classmethod
    def from_shape(
        cls,
        shape: str | Path | PretrainedConfig,
        tokenizer: str | Path | PreTrainedTokenizerBase | None = None,
        *,
        seed: int = 0,
        separator: str = "\n",
        heads: int = 1,
    ) -> RewardModel:
        """Make a model of a configuration's shape with fresh weights.

        `shape` is a configuration, or a checkpoint whose configuration is taken (not its weights);
        then `tokenizer` may be left out and is the checkpoint's.
        """
        import torch
        from transformers import AutoConfig, AutoModelForTokenClassification

        if isinstance(shape, (str, Path)):
            config = AutoConfig.from_pretrained(str(shape))
            tokenizer = shape if tokenizer is None else tokenizer
        else:
            config = copy.deepcopy(shape)
        if tokenizer is None:
            raise UnfitTokenizer("a configuration alone names no tokenizer; give one")
        _set_head(config, separator, heads)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            auto: Any = AutoModelForTokenClassification
            model = auto.from_config(config)
        return cls(model, _tokenizer(tokenizer))

    @classmethod
    def from_backbone(
        cls,
        path_or_name: str | Path,
        tokenizer: str | Path | PreTrainedTokenizerBase | None = None,
        *,
        seed: int = 0,
        separator: str = "\n",
        dtype: str | None = None,
        heads: int = 1,
    ) -> RewardModel:
        """Put a fresh head on a trained backbone, for example a causal language model's."""
        import torch
        from transformers import AutoConfig, AutoModelForTokenClassification

        config = AutoConfig.from_pretrained(str(path_or_name))
        _set_head(config, separator, heads)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model, info = AutoModelForTokenClassification.from_pretrained(
                str(path_or_name), config=config, dtype=dtype or "auto", output_loading_info=True
            )
        missing = sorted(key for key in info["missing_keys"] if key.split(".")[0] not in HEADS)
        if missing:
            raise UntrainedBackbone(
                f"{path_or_name}: {len(missing)} weights are missing ({', '.join(missing[:3])}), "
                "and would be random; give a whole checkpoint of a decoder"
            )
        return cls(model, _tokenizer(path_or_name if tokenizer is None else tokenizer))

    @classmethod
    def load(
        cls, path_or_name: str | Path, *, device: str | None = None, dtype: str | None = None
    ) -> RewardModel:
        """Load a saved reward model; refuse one without its head or with another tokenizer."""
        from safetensors import SafetensorError
        from transformers import AutoConfig, AutoModelForTokenClassification

        with timing.part(timing.INPUT_OUTPUT):
            config = AutoConfig.from_pretrained(str(path_or_name))
            check_heads(config, str(path_or_name))
            try:
                model, info = AutoModelForTokenClassification.from_pretrained(
                    str(path_or_name),
                    config=config,
                    dtype=dtype or "auto",
                    output_loading_info=True,
                )
            except SafetensorError as error:
                raise DamagedModel(
                    f"{path_or_name}: its weights cannot be read ({error}); restore their file"
                ) from None
        missing = sorted(info["missing_keys"])
        if missing:
            raise UntrainedHead(
                f"{path_or_name}: weights of {', '.join(missing[:4])} are missing, the model would "
                "judge at random; RewardModel.from_backbone puts a fresh head on a backbone"
            )
        tokenizer = _tokenizer(path_or_name)
        trained_with = getattr(config, "reward_tokenizer", None)
        if trained_with is not None and trained_with != fingerprint(tokenizer):
            raise UnfitTokenizer(
                f"{path_or_name}: its tokenizer ({fingerprint(tokenizer)}) is not the one that "
                f"the model was trained with ({trained_with}); restore the tokenizer's files"
            )
        reward_model = cls(model, tokenizer)
        calibration = Path(path_or_name) / CALIBRATION
        if calibration.is_file():
            reward_model.calibration = read_calibration(calibration)
        # A file's weights may begin anywhere in memory, and products of few rows depend on that in
        # their last bit. In memory of their own, they score as the model that was saved.
        for parameter in reward_model.model.parameters():
            parameter.data = parameter.data.clone()
        if device is not None:
            reward_model.model.to(device)
        return reward_model

    def save(self, path: str | Path) -> None:
        """Write a standard checkpoint, tokenizer included, into the folder `path`."""
        self.model.config.reward_tokenizer = fingerprint(self.tokenizer)
        with timing.part(timing.INPUT_OUTPUT):
            self.model.save_pretrained(str(path))
            self.tokenizer.save_pretrained(str(path))
        if self.calibration is None:
            (Path(path) / CALIBRATION).unlink(missing_ok=True)
        else:
            self.calibration.write(Path(path) / CALIBRATION)

    @property
    def context(self) -> int:
        """Tokens that the model can read, question included."""
        known = positions(self.model.config) or NO_LIMIT
        return min(known, int(self.tokenizer.model_max_length))

    def encode(
        self, questions: Sequence[str], texts: Sequence[str], ends: Sequence[Sequence[int]]
    ) -> list[Encoded]:
        """Return token ids and marked tokens of each question with its solution."""
        return encode(
            self.tokenizer,
            questions,
            texts,
            ends,
            separator=self.separator,
            context=self.context,
        )

    def read(self, model: Any, rows: Sequence[Encoded]) -> torch.Tensor:
        """Return the logits (N, H) at all marks of a batch, row by row, with gradients.

        `model` is the owner's, or what an accelerator made of it.
        """
        return read(model, rows, self.pad)

    @property
    def heads(self) -> int:
        """Heads of the ensemble: 1 for a plain reward model."""
        return int(self.model.config.num_labels)

    def head_logits(
        self,
        questions: Sequence[str],
        texts: Sequence[str],
        ends: Sequence[Sequence[int]],
        *,
        tokens_per_batch: int = TOKENS_PER_BATCH,
    ) -> list[list[tuple[float, ...]]]:
        """Return for each row, in the order given, the logits of every head at each end.

        Rows are sorted by length, or by question where questions repeat, and batched so that rows
        times longest row stays within `tokens_per_batch`.
        """
        import torch

        with timing.part("score") as spent, torch.inference_mode():
            rows = self.encode(questions, texts, ends)
            spent.tokens += sum(len(row.token_ids) for row in rows)
            together = shares(self.model) and 2 * len(set(questions)) <= len(rows)
            results: list[list[tuple[float, ...]]] = [[] for _ in rows]
            was_training = self.model.training
            self.model.eval()
            try:
                for batch in batches(rows, tokens_per_batch, together=together):
                    logits_NH = self.read(self.model, [rows[row] for row in batch]).float()
                    _refuse_broken(logits_NH)
                    flat = iter(logits_NH.tolist())
                    for row in batch:
                        results[row] = [tuple(next(flat)) for _ in rows[row].marks]
            finally:
                self.model.train(was_training)
        return results

    def logits(
        self,
        questions: Sequence[str],
        texts: Sequence[str],
        ends: Sequence[Sequence[int]],
        *,
        tokens_per_batch: int = TOKENS_PER_BATCH,
    ) -> list[tuple[float, ...]]:
        """Return one logit an end for each row, the mean over the heads."""
        rows = self.head_logits(questions, texts, ends, tokens_per_batch=tokens_per_batch)
        return [tuple(fmean(end) for end in row) for row in rows]

    def score(
        self,
        questions: Sequence[str],
        texts: Sequence[str],
        ends: Sequence[Sequence[int]],
        *,
        tokens_per_batch: int = TOKENS_PER_BATCH,
    ) -> list[tuple[float, ...]]:
        """Return one probability an end for each row: the sigmoid of `logits`, calibrated."""
        rows = self.logits(questions, texts, ends, tokens_per_batch=tokens_per_batch)
        return self.calibrated([tuple(map(sigmoid, row)) for row in rows])

    def calibrated(self, scores: list[tuple[float, ...]]) -> list[tuple[float, ...]]:
        """Return probabilities as the calibration maps them, as they are without one."""
        return scores if self.calibration is None else self.calibration.apply(scores)


def sigmoid(logit: float) -> float:
    """1 / (1 + e^-z), without overflow."""
    return 1 / (1 + exp(-logit)) if logit >= 0 else exp(logit) / (1 + exp(logit))


def batches(
    rows: Sequence[Encoded], tokens_per_batch: int, *, together: bool = False
) -> Iterator[list[int]]:
    """Yield row numbers, longest first, each batch within the budget (one row at least).

    With `together`, the solutions of a question follow each other, so that one pass can share it.
    """

    def key(row: int) -> tuple[object, ...]:
        encoded = rows[row]
        if not together:
            return (-len(encoded.token_ids), row)
        question = encoded.token_ids[: encoded.question]
        return (-encoded.question, question, -len(encoded.token_ids), row)

    order = sorted(range(len(rows)), key=key)
    begin = 0
    while begin < len(order):
        end, longest = begin, 0
        while end < len(order):
            longest = max(longest, len(rows[order[end]].token_ids))
            if end > begin and longest * (end + 1 - begin) > tokens_per_batch:
                break
            end += 1
        yield order[begin:end]
        begin = end


def check_heads(config: Any, where: str) -> None:
    """Refuse a classifier whose labels are not a reward or an ensemble of rewards."""
    names = list(config.id2label.values())
    if len(names) > 1 and names != _head_names(len(names)):
        raise UntrainedHead(
            f"{where}: not a reward model (labels {', '.join(map(str, names[:4]))}; expected one, "
            "or an ensemble made here); RewardModel.from_backbone puts a fresh head on a backbone"
        )


def _head_names(heads: int) -> list[str]:
    return ["reward"] if heads == 1 else [f"reward {head}" for head in range(heads)]


def _set_head(config: Any, separator: str, heads: int) -> None:
    if heads < 1:
        raise ValueError(f"a reward model needs at least one head, found {heads}")
    config.num_labels = heads
    config.id2label = dict(enumerate(_head_names(heads)))
    config.label2id = {name: head for head, name in config.id2label.items()}
    # Dropout before the head would make two scores of one text differ in training mode.
    config.classifier_dropout = 0.0
    config.reward_separator = separator


def _tokenizer(source: str | Path | PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    if isinstance(source, (str, Path)):
        loaded: PreTrainedTokenizerBase = tokenizing.load(source)
        return loaded
    return source


def _refuse_broken(values: torch.Tensor) -> None:
    broken = int((~values.isfinite()).sum())
    if broken:
        raise BrokenScores(
            f"the reward model gave {broken} of {values.numel()} scores as NaN or infinite; its "
            "weights are broken: go back to an earlier checkpoint, lower the learning rate or "
            "train in float32"
        )
