"""An implicit process reward model: step scores from outcome labels alone (PRIME).

A policy-shaped model pi is trained so that the scaled log-ratio of a whole solution to a fixed
reference tells right from wrong (arXiv:2412.01981, equation 3; PRIME, arXiv:2502.01456):

    z_k = beta sum_{t <= e_k} log pi(y_t | x, y_<t) / pi_ref(y_t | x, y_<t),

BCE on sigmoid(z) at the last end. Then z_k scores the prefix up to end k without a step label. It
is behind the interface of `RewardModel`: the training loop, sources and diagnostics take it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iterative_grpo import tokenizing
from reward_models.encoding import Encoded, UnfitTokenizer, check_tokenizer, fingerprint
from reward_models.model import RewardModel
from reward_models.reading import padded

if TYPE_CHECKING:
    import torch

RECORD = "implicit_reward.json"
VERSION = 1


class ImplicitRewardModel(RewardModel):
    """The log-ratio of a trained policy to its reference, read at marked ends.

    `beta` scales log-ratios to logits; 0.05 is PRIME's. The checkpoint is a causal language model's
    with the reference in a folder of its own.
    """

    def __init__(
        self,
        model: Any,
        reference: Any,
        tokenizer: Any,
        *,
        beta: float = 0.05,
        separator: str = "\n",
    ) -> None:
        if not beta > 0:
            raise ValueError(f"beta is {beta}, must be above 0")
        check_tokenizer(tokenizer, model.get_input_embeddings().weight.shape[0])
        for each in (model, reference):
            each.config.use_cache = False
        reference.requires_grad_(False).eval()
        self.model, self.reference = model, reference
        self.tokenizer = tokenizer
        self.beta, self.separator = beta, separator
        self.pad = tokenizer.pad_token_id or 0

    @classmethod
    def from_policy(
        cls, path_or_name: str | Path, *, beta: float = 0.05, separator: str = "\n"
    ) -> ImplicitRewardModel:
        """Start at a policy: model and reference are its checkpoint, every score is one half."""
        from transformers import AutoModelForCausalLM

        auto: Any = AutoModelForCausalLM
        model, reference = (auto.from_pretrained(str(path_or_name)) for _ in range(2))
        tokenizer = tokenizing.load(path_or_name)
        return cls(model, reference, tokenizer, beta=beta, separator=separator)

    @classmethod
    def load(
        cls, path_or_name: str | Path, *, device: str | None = None, dtype: str | None = None
    ) -> ImplicitRewardModel:
        """Load what `save` wrote; refuse another folder, a newer one or a changed tokenizer."""
        from transformers import AutoModelForCausalLM

        folder = Path(path_or_name)
        try:
            record = json.loads((folder / RECORD).read_text(encoding="ascii"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{folder}: no readable {RECORD}, not an implicit model") from error
        if record["version"] > VERSION:
            raise ValueError(
                f"{folder / RECORD}: written in format {record['version']}, this program reads up "
                f"to {VERSION}"
            )
        auto: Any = AutoModelForCausalLM
        model = auto.from_pretrained(str(folder), dtype=dtype or "auto")
        reference = auto.from_pretrained(str(folder / "reference"), dtype=dtype or "auto")
        tokenizer = tokenizing.load(folder)
        if fingerprint(tokenizer) != record["tokenizer"]:
            raise UnfitTokenizer(
                f"{folder}: its tokenizer is not the one that the model was trained with; restore "
                "the tokenizer's files"
            )
        if device is not None:
            model, reference = model.to(device), reference.to(device)
        return cls(model, reference, tokenizer, beta=record["beta"], separator=record["separator"])

    def save(self, path: str | Path) -> None:
        """Write model, tokenizer and reference as standard causal checkpoints, and the record."""
        folder = Path(path)
        self.model.save_pretrained(str(folder))
        self.tokenizer.save_pretrained(str(folder))
        self.reference.save_pretrained(str(folder / "reference"))
        record = {
            "version": VERSION,
            "beta": self.beta,
            "separator": self.separator,
            "tokenizer": fingerprint(self.tokenizer),
        }
        (folder / RECORD).write_text(json.dumps(record) + "\n", encoding="ascii")

    @property
    def heads(self) -> int:
        """One: there is no head but the language model's."""
        return 1

    def read(self, model: Any, rows: Sequence[Encoded]) -> torch.Tensor:
        """Return beta times the summed log-ratios up to each mark, (N, 1), with gradients."""
        import torch

        ids_BT, mask_BT = padded([row.token_ids for row in rows], self.pad, self.model)
        if self.reference.device != ids_BT.device:
            self.reference.to(ids_BT.device)
        with torch.no_grad():
            base_BT = _logps(self.reference, ids_BT, mask_BT)
        ratios_BT = _logps(model, ids_BT, mask_BT) - base_BT
        answer_BT = torch.zeros_like(ratios_BT)
        for b, row in enumerate(rows):
            # Position t holds the log-probability of token t + 1; the question's do not count.
            answer_BT[b, max(row.question - 1, 0) : len(row.token_ids) - 1] = 1
        # Nothing conditions the first token: there, the sum is of none.
        sums_BT = torch.nn.functional.pad((ratios_BT * answer_BT).cumsum(dim=1), (1, 0))
        at = [(b, mark) for b, row in enumerate(rows) for mark in row.marks]
        place_N2 = torch.tensor(at, device=ids_BT.device)
        return self.beta * sums_BT[place_N2[:, 0], place_N2[:, 1]][:, None]


def _logps(model: Any, ids_BT: torch.Tensor, mask_BT: torch.Tensor | None) -> torch.Tensor:
    """Return log-probabilities (B, T - 1) of each token after the first."""
    logits_BTV = model(input_ids=ids_BT, attention_mask=mask_BT).logits[:, :-1].float()
    logps: torch.Tensor = logits_BTV.log_softmax(dim=-1).gather(2, ids_BT[:, 1:, None]).squeeze(-1)
    return logps
