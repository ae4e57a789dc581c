"""The settings of an evaluation: of a run's, and of the command `evaluate`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipelines.section import NotNegative, Positive, Rate, Real, Section


class EvaluateSettings(Section):
    """Accuracy of the policy after each iteration, and of the initial one: greedy and by samples.

    `max_tokens` means what it means to its owner: in a run, none is as in training; on the command
    line, none is what fits behind the longest prompt.
    """

    tasks: tuple[str, ...] = Field(("gsm8k/test",), description="data set/split, or data set")
    limit: Positive | None = Field(None, description="questions of each task at most")
    max_tokens: Positive | None = Field(None, description="none: as in training")
    samples: NotNegative = Field(
        0, description="sampled answers of each question beside the greedy one: pass@k, maj@k"
    )
    temperature: Rate = Field(0.7, description="of the samples")
    top_p: Annotated[Real, Field(gt=0, le=1)] = Field(1.0, description="of the samples")
    k: tuple[Positive, ...] | None = Field(
        None, description="k of pass@k, maj@k and rm@k; none: the powers of two up to `samples`"
    )
    reward_model: str | None = Field(
        None, description="path or name of a reward model that chooses among the samples (rm@k)"
    )
    reward_convention: str | None = Field(
        None, description="a file of reward_models/published; none: a reward model made here"
    )
    reward_dtype: Literal["float32", "bfloat16", "auto"] = Field(
        "auto", description="of the reward model's weights; auto: as they are stored"
    )
    splitter: str = Field("lines", description="steps that the reward model is read at")

    @model_validator(mode="after")
    def _samples_suffice(self) -> EvaluateSettings:
        too_large = [k for k in self.k or () if k > self.samples]
        if too_large:
            raise ValueError(
                f"k {too_large[0]} needs as many samples of each question, found samples "
                f"{self.samples}; raise samples, or leave that k out"
            )
        if self.samples > 1_000:  # reward_models.best_of counts the subsets of so many
            raise ValueError(f"samples is {self.samples}, at most 1000 of a question are counted")
        if self.reward_model is not None and not self.samples:
            raise ValueError("a reward model chooses among samples, found samples 0; raise samples")
        return self

    @model_validator(mode="after")
    def _nothing_idle(self) -> EvaluateSettings:
        for names, needed in (
            (("temperature", "top_p"), "samples"),
            (("reward_convention", "reward_dtype", "splitter"), "reward_model"),
        ):
            idle = [n for n in names if getattr(self, n) != type(self).model_fields[n].default]
            if idle and not getattr(self, needed):
                raise ValueError(
                    f"{idle[0]} is {getattr(self, idle[0])} and decides nothing without {needed}; "
                    f"set {needed}, or leave it out"
                )
        return self

    @property
    def sizes(self) -> tuple[int, ...]:
        """The k that are reported, ascending."""
        powers = tuple(2**i for i in range(self.samples.bit_length()))
        return tuple(sorted(set(self.k or powers)))
