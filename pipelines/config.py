"""The settings of a run: frozen, typed, with what does not fit together refused.

Every error that can be found without loading a model is found here: wrong types, unknown plug-in
names (with the known ones), and settings that contradict each other (`conflicts.py`). `settings.py`
reads them from files and overrides.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipelines.conflicts import conflicts
from pipelines.evaluate_settings import EvaluateSettings
from pipelines.section import (
    Margin,
    ModelName,
    NotNegative,
    Positive,
    Rate,
    Real,
    Section,
    Share,
    ShareBelowOne,
    Weight,
    Whole,
)
from reward_models import sources

Action = Literal["drop", "report", "refuse", "ignore"]


class Decontaminate(Section):
    """What is done about training questions that resemble the evaluation's; null compares none."""

    exact: Action = Field("drop", description="equal up to spacing, case and sentence marks")
    near: Action = Field("drop", description="similar texts with the same numbers in order")
    template: Action = Field("report", description="similar texts with other numbers")
    ngram: Action = Field("report", description="none of these, but `words` words in a row")
    similarity: Annotated[Real, Field(ge=0.5, le=1)] = Field(
        0.8, description="Jaccard similarity of five-character pieces that makes texts similar"
    )
    words: Positive = Field(13, description="words in a row, for `ngram`")

    def action(self, kind: str) -> Action:
        """Return what is done about a kind of pair."""
        chosen: dict[str, Action] = {
            "exact": self.exact,
            "near": self.near,
            "template": self.template,
            "ngram": self.ngram,
        }
        return chosen[kind]


class Data(Section):
    """The questions to learn from."""

    name: str = Field("gsm8k", description="data set, a file of pipelines/datasets")
    path: Path | None = Field(
        None, description="folder of JSON Lines with the hub's fields; none: from the hub"
    )
    limit: Positive | None = Field(None, description="use this many of the training questions")
    max_bad_golds: Share = Field(
        0.0, description="share of answers the verifier may be unable to read; they are left out"
    )
    decontaminate: Decontaminate | None = Decontaminate()


class Shape(Section):
    """A small model made on the spot: Llama's shape, tied embeddings, no dropout."""

    tokenizer: Literal["words", "bpe"] = Field("words", description="how text becomes tokens")
    vocabulary: Positive = Field(2048, description="tokens of a bpe vocabulary at most")
    width: Positive = 96
    layers: Positive = 3
    heads: Positive = 4
    context: Positive = Field(128, description="positions: prompt and completion together")


class WarmStart(Section):
    """Supervised training before the first iteration, for policies made on the spot."""

    demonstrations: Positive = Field(20_000, description="at most this many worked solutions")
    steps: Positive = Field(2_300, description="optimizer steps at most")
    batch: Positive = 32
    learning_rate: Rate = Field(3e-3, description="AdamW's, for embeddings, norms and head")
    muon_learning_rate: Rate = Field(5e-3, description="Muon's, for hidden matrices")
    stop_at: Share = Field(
        1.0, description="let the rates fall, and stop, once validation accuracy reaches this"
    )


class Lora(Section):
    """A LoRA adapter (arXiv:2106.09685), merged into its model at the end of each training."""

    rank: Positive = 16
    alpha: Positive = 32
    dropout: Share = 0.0
    targets: str | tuple[str, ...] = "all-linear"


class PolicySettings(Section):
    """The policy to improve: a model by path or hub name, or one made on the spot."""

    model: ModelName | None = Field(None, description="path or hub name of a causal language model")
    make: Shape | None = Field(None, description="instead of `model`: make a small one")
    warm_start: WarmStart | None = Field(None, description="supervised steps before iteration 1")
    prompt: str | None = Field(
        None, description="prompt format, a file of pipelines/prompts; none: the data set's own"
    )
    dtype: Literal["float32", "bfloat16", "auto"] = Field(
        "float32", description="of its weights; bfloat16 rounds small steps away, see optimize.bf16"
    )
    pad_token: str | None = Field(None, description="for tokenizers that name no pad token")
    lora: Lora | None = None
    trust_remote_code: bool = Field(False, description="run code that comes with the model")


class SampleSettings(Section):
    """Fresh samples of the policy for the reward model to learn from."""

    problems: Positive = Field(375, description="questions sampled in each iteration")
    first_problems: Positive | None = Field(
        None, description="questions in iteration 1, where the reward model starts from nothing"
    )
    group_size: Positive = Field(8, description="completions of each question")
    temperature: Rate = 1.0
    from_ledger: Share = Field(
        0.0, description="at most this share: questions on which model and verifier disagreed last"
    )


class LabelSettings(Section):
    """Truth for step ends: the whole solution gets its verdict, or 0 where the limit cut it off."""

    labeler: str = Field("monte_carlo", description="a file of reward_models/labels")
    continuations: Positive = Field(
        8, description="completions of each prefix at most (monte_carlo, first_error)"
    )
    labeler_options: Mapping[str, Any] = Field(
        default_factory=dict, description="keyword arguments of the labeler's `build`"
    )


class Fit(Section):
    """One training of the reward model."""

    epochs: Positive = 1
    batch: Positive = 32
    learning_rate: Rate = Field(2.5e-4, description="AdamW's")
    muon_learning_rate: Rate = Field(2.5e-3, description="Muon's, used when `optimizer` is muon")


class Replay(Section):
    """History in the reward model's training (§4.1.4: 10 % historical data)."""

    kind: Literal["share", "add", "reservoir", "none"] = Field(
        "share", description="share: that share of the training rows is history"
    )
    share: ShareBelowOne = 0.1
    max_age: Positive | None = Field(
        None, description="replay nothing that is more iterations old; none: of any age"
    )
    relabel: Literal["keep", "outcome"] = Field(
        "keep",
        description="outcome: of solutions labeled by a past policy's continuations, only the "
        "verdict of the whole is replayed",
    )


class Gate(Section):
    """When a retrained reward model replaces the old one: each figure may be worse by its margin.

    Both score the same samples. What is worse by more, and whose 95 % interval over questions says
    that it is no chance, keeps the old model.
    """

    enabled: bool = Field(True, description="false: a retrained model always replaces the old one")
    auroc: Margin = Field(0.02, description="on this iteration's held-out samples")
    pair_accuracy: Margin = Field(0.03, description="right above wrong within a question, ditto")
    brier: Margin = Field(0.02, description="mean squared error of the scores, ditto")
    ece: Margin = Field(0.05, description="expected calibration error, ditto")
    frozen_auroc: Margin = Field(0.05, description="on past iterations' held-out samples")
    floor: Share = Field(0.0, description="pair accuracy that a retrained model needs in any case")


class RewardModelSettings(Section):
    """The learned judge."""

    start: Literal["scratch", "policy"] | ModelName = Field(
        "policy",
        description="weights before the first training: scratch (the policy's shape), policy (the "
        "initial policy's weights, as in the paper), or a path or hub name",
    )
    retrain: bool = Field(True, description="false: freeze the first reward model, to compare")
    optimizer: Literal["adamw", "muon"] = "adamw"
    loss: Literal["bce", "bradley_terry"] = "bce"
    balance: Literal["none", "classes"] = Field(
        "none", description="classes: right and wrong ends weigh the same in total"
    )
    heads: Positive = Field(
        1, description="an ensemble's heads, trained on resampled questions (reward: uncertain)"
    )
    lora: Lora | None = None
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="of its weights where it rewards; they are float32 while it learns"
    )
    bf16: bool = Field(False, description="compute its training in bfloat16")
    calibrate: Literal["none", "temperature", "isotonic"] = Field(
        "none", description="map scores to frequencies, fitted on the validation questions"
    )
    first: Fit = Fit(epochs=3, learning_rate=1e-3, muon_learning_rate=5e-3)
    again: Fit = Fit()
    replay: Replay = Replay()
    held_out: Share = Field(
        0.1, description="share of questions kept for measuring: never trained or tuned on"
    )
    validation: Share = Field(
        0.1, description="share of questions for early stopping and calibration"
    )
    frozen_rows: NotNegative = Field(
        512, description="past held-out solutions scored in an iteration, over all past ones"
    )
    gate: Gate = Gate()
    probes: Literal["report", "block", "none"] = Field(
        "report", description="outputs without merit that no model may prefer; block: or be used"
    )


class Mixture(Section):
    """What `reward: mixture` adds up; PURE (arXiv:2504.15275) verified a tenth of the questions."""

    verified_share: Share = Field(0.1, description="share of questions that the verifier rewards")
    verifier_weight: Weight = 1.0
    model_weight: Weight = 1.0


class Published(Section):
    """What `reward: published` asks: a process reward model that others trained, kept as it is."""

    model: ModelName | None = Field(None, description="path or hub name; none of its code is run")
    convention: str | None = Field(
        None, description="how it is read, a file of reward_models/published"
    )
    dtype: Literal["float32", "bfloat16", "auto"] = "float32"


class RetrainWhen(Section):
    """Drift within a policy phase that calls for a new reward model; none switches a rule off."""

    gap: Rate | None = Field(0.15, description="score minus accuracy has grown by this")
    pair_accuracy: Share | None = Field(
        0.65, description="right-wrong pairs of a group that the model orders rightly, at least"
    )
    kl: Rate | None = Field(None, description="nats a token from the initial policy, at most")
    window: Annotated[Whole, Field(ge=2)] = Field(5, description="steps that are averaged")
    sure: Weight = Field(
        2.0, description="standard errors that gap and pair accuracy must lie beyond their limit"
    )


class WatchSettings(Section):
    """The reward-hacking watch (`reward_models/watch.py`)."""

    action: Literal["report", "stop"] = Field(
        "report", description="stop: end the policy phase there, so that retraining comes early"
    )
    retrain_when: RetrainWhen = RetrainWhen()


class Segmentation(Section):
    """The check that step rewards do not depend on where texts are cut, before the policy phase."""

    outputs: NotNegative = Field(64, description="stored samples to check; 0: no check")
    reward_limit: Share = Field(
        0.02, description="refuse if rewards at the same ends move further, on average"
    )
    flip_limit: Share = Field(
        0.7, description="refuse if the first token's advantage turns its sign in more outputs"
    )


class OptimizeSettings(Section):
    """The policy's GRPO phase. Defaults are the paper's where it gives one."""

    steps: Positive = Field(20, description="optimizer steps an iteration")
    prompts: Positive = Field(16, description="questions in an optimizer step")
    group_size: Annotated[Whole, Field(ge=2)] = Field(8, description="G, outputs of a question")
    updates: Positive = Field(1, description="optimizer steps on each exploration (mu)")
    micro_batch: Positive | None = Field(
        None, description="outputs in one forward pass, groups or parts of one; none: all of a step"
    )
    learning_rate: Rate = 1e-6
    schedule: Literal["constant", "linear", "cosine", "constant_with_warmup"] = "constant"
    warmup_steps: NotNegative = 0
    beta: Weight = Field(0.04, description="KL coefficient")
    kl_target: Rate | None = Field(
        None, description="move beta to hold this KL to the reference, nats a token; none: fixed"
    )
    kl_initial_outputs: NotNegative = Field(
        16,
        description="outputs of a step that the KL to the initial policy is measured on; 0: off",
    )
    watch: WatchSettings = WatchSettings()
    epsilon: Rate = Field(0.2, description="clip range of the probability ratio")
    loss: Literal["grpo", "bnpo", "dr_grpo", "dapo"] = "grpo"
    scale: Literal["group", "batch", "none"] = Field("group", description="whose deviation divides")
    std_floor: Weight = Field(
        0.0, description="a group whose rewards deviate less gets zero advantages"
    )
    temperature: Rate = 1.0
    max_grad_norm: Rate = 1.0
    weight_decay: Weight = 0.0
    mask_truncated: bool = Field(False, description="leave truncated outputs out of the loss")
    bf16: bool = Field(
        False, description="compute and sample in bfloat16; weights stay in policy.dtype"
    )
    gradient_checkpointing: bool = False
    vllm: Literal["off", "colocate", "server"] = Field(
        "off", description="TRL's vLLM for policy steps, beside the trainer or on a server"
    )
    checkpoint_every: NotNegative = Field(0, description="steps between checkpoints; 0: none")
    trl: Mapping[str, Any] = Field(
        default_factory=dict, description="further fields of trl.GRPOConfig, tried before the run"
    )

    @property
    def explorations(self) -> int:
        """How often a policy phase samples, for `updates` steps each."""
        return -(-self.steps // self.updates)


class Launch(Section):
    """Where phases run: in this process, or in processes started for each phase."""

    mode: Literal["inline", "accelerate"] = "inline"
    processes: Positive = 1
    config_file: Path | None = Field(
        None, description="accelerate's configuration (FSDP, DeepSpeed, GPUs); none: one machine"
    )


class Config(Section):
    """A whole run of Algorithm 1."""

    run_dir: Path = Field(..., description="everything the run makes lies here")
    seed: NotNegative = 0
    iterations: Positive = Field(2, description="outer iterations; may be raised later")
    supervision: Literal["outcome", "process"] = Field(
        "outcome", description="reward the solution, or each of its steps"
    )
    reward: str = Field("model", description="a file of reward_models/sources")
    splitter: str = Field("lines", description="what a step is: a file of iterative_grpo/splitters")
    credit: str = Field("sum", description="step rewards to advantages: iterative_grpo/advantages")
    verifier: str | None = Field(
        None,
        description="how answers are read in training and in the run's evaluation, a file of "
        "verifiers/conventions; none: each data set's own",
    )
    reward_options: Mapping[str, Any] = Field(
        default_factory=dict, description="keyword arguments of the reward source's `build`"
    )
    splitter_options: Mapping[str, Any] = Field(
        default_factory=dict, description="fields of the splitter, as splitter_options.word=Schritt"
    )
    credit_options: Mapping[str, Any] = Field(
        default_factory=dict,
        description="fields of the credit rule, as credit_options.threshold=0.4 of first_error",
    )
    engine: str = Field("native", description="sampler, a file of iterative_grpo/engines")
    engine_options: Mapping[str, Any] = Field(
        default_factory=dict,
        description="keyword arguments of the engine's `load`, such as cache_gib or "
        "gpu_memory_utilization; may change between starts of a run",
    )
    max_tokens: Positive = Field(1024, description="tokens of an output at most, EOS included")
    data: Data = Data()
    policy: PolicySettings = PolicySettings()
    sample: SampleSettings = SampleSettings()
    label: LabelSettings = LabelSettings()
    reward_model: RewardModelSettings = RewardModelSettings()
    mixture: Mixture = Mixture()
    published: Published = Published()
    segmentation: Segmentation = Segmentation()
    optimize: OptimizeSettings = OptimizeSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    launch: Launch = Launch()
    report_to: tuple[str, ...] = Field((), description="TRL's trackers: tensorboard, wandb, ...")

    @model_validator(mode="after")
    def _fits_together(self) -> Config:
        found = dict.fromkeys(conflicts(self))
        if found:
            raise ValueError("\n".join(found))
        return self

    @property
    def learns_reward(self) -> bool:
        """Whether a reward model is trained at all."""
        return sources.judged_by(self.reward) is None

    @property
    def micro_batch(self) -> int:
        """Outputs in one forward pass of one process."""
        return self.optimize.micro_batch or self._outputs

    @property
    def accumulation(self) -> int:
        """Forward passes of one process in an optimizer step."""
        return self._outputs // self.micro_batch

    @property
    def _outputs(self) -> int:
        return self.optimize.prompts * self.optimize.group_size // self.launch.processes
