"""The memory that a run's phases need, from its settings and its models' configurations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from iterative_grpo.engines.native import CACHE_GIB
from pipelines import building, launch_file
from pipelines.config import Config
from reward_models.training import PIECE

WEIGHT, GRADIENT, MOMENTS = 4, 4, 8
"""Bytes of a parameter in float32 training, with AdamW's two moments."""

BYTES_OF = {"float32": 4, "bfloat16": 2, "auto": 4}
"""Of a weight that is only read; what a checkpoint is stored in is taken for the most it can be."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A plain decoder's layers: how many, their width, that of their feed-forward part, of keys."""

    layers: int
    width: int
    inner: int
    keys: int


@dataclass(frozen=True, slots=True)
class Needed:
    """Bytes of a process that trains: weights and an optimizer's state, and beside them what is
    kept of texts for a gradient, `of` so many; None where the model's shape is not known.

    At other times there are keys and values instead, `cached` at most, of outputs being sampled.
    """

    phase: str
    state: float
    activations: float | None
    of: str
    cached: float = 0.0

    @property
    def whole(self) -> float:
        """What is there at once, at most."""
        return self.state + max(self.activations or 0.0, self.cached)


def needed(config: Config) -> list[Needed] | None:
    """Return what the phases that train need, None if a model's size is not known here."""
    parameters = count_parameters(config)
    judge = judge_parameters(config, parameters)
    if parameters is None or judge is None:
        return None
    shape, optimize = shape_of(config), config.optimize
    published = config.reward == "published"
    dtype = config.published.dtype if published else config.reward_model.dtype
    state = policy_bytes(config) * parameters + judge * BYTES_OF[dtype]
    kept, cached = None, 0.0
    if shape is not None:
        cached = cached_in_steps(config, shape)
        checkpointing = optimize.gradient_checkpointing
        kept = kept_of_token(shape, low=_computes_low(config), checkpointing=checkpointing)
        kept *= config.micro_batch * config.max_tokens
    of = f"{config.micro_batch:,} outputs of {config.max_tokens:,} tokens"
    found = [Needed("policy phases", state, kept, of, cached)]
    if config.learns_reward:
        low_rank = config.reward_model.lora is not None  # an adapter is next to nothing
        state = judge * float(WEIGHT if low_rank else WEIGHT + GRADIENT + MOMENTS)
        if launch_file.kind(config) == "FSDP":
            # Whole before it is sharded, and beside its shards when it is put together again.
            state = state / config.launch.processes + judge * WEIGHT
        tokens = max(PIECE, config.max_tokens)
        kept, shape = None, judge_shape(config)
        if shape is not None:
            kept = tokens * kept_of_token(shape, low=config.reward_model.bf16, checkpointing=False)
        found.append(Needed("retraining", state, kept, f"{tokens:,} tokens"))
    return found


def policy_bytes(config: Config) -> float:
    """Return the bytes of a parameter of the policy that a process has in policy phases.

    Gradients and moments are in the precision of the weights.
    """
    optimize, stage = config.optimize, launch_file.stage(config)
    low = BYTES_OF[config.policy.dtype] / WEIGHT

    def share(sharded_from: int) -> float:
        return 1 / config.launch.processes if stage >= sharded_from else 1.0

    # The initial policy, which the distance is measured from; in iteration 1 the reference is it.
    another = config.iterations > 1 or not optimize.beta
    initial = bool(optimize.kl_initial_outputs) and another
    total = low * WEIGHT * (1 + initial) * share(3)
    if config.policy.lora is None:
        reference = WEIGHT * bool(optimize.beta)
        total += low * (reference * share(3) + GRADIENT * share(2) + MOMENTS * share(1))
        if config.launch.processes > 1 and stage == 0:
            total += low * GRADIENT  # of whole models, once more where processes exchange them
    if stage == 3 and optimize.vllm == "off" and building.samples_in_training(config):
        total += 2 if optimize.bf16 else low * WEIGHT  # the whole copy that engines sample
    elif stage == 0 and optimize.bf16:
        total += 2 * (low == 1.0)  # weights in bfloat16, for sampling or for a forward pass
    return total


def shape_of(config: Config) -> Shape | None:
    """Return the policy's shape; None if its configuration is not here, or says it otherwise."""
    made = config.policy.make
    if made is not None:
        return Shape(made.layers, made.width, 3 * made.width, made.width)
    return shape_in(configuration_of(str(config.policy.model)))


def judge_shape(config: Config) -> Shape | None:
    """Return the shape of the reward model that is trained."""
    start = config.reward_model.start
    return shape_of(config) if start in building.STARTS else shape_in(configuration_of(start))


def shape_in(found: Any) -> Shape | None:
    """Return the shape that a configuration names."""
    names = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads")
    numbers = [getattr(found, name, None) for name in names]
    known = [number for number in numbers if isinstance(number, int)]
    if len(known) < len(names):
        return None
    layers, width, inner, heads = known
    size = getattr(found, "head_dim", None) or width // heads
    key_heads = getattr(found, "num_key_value_heads", None) or heads
    return Shape(layers, width, inner, key_heads * size)


def cached_in_steps(config: Config, shape: Shape) -> float:
    """Return the bytes of keys and values that outputs of a policy step have, prompts left out.

    A native engine samples as many groups at once as its bound lets it, and one at least. What
    others take is theirs to say.
    """
    optimize = config.optimize
    if config.engine not in ("native", "native_graphs") or optimize.vllm != "off":
        return 0.0
    token = 2 * shape.layers * shape.keys * (2 if _computes_low(config) else 4)
    outputs = -(-optimize.prompts * optimize.group_size // config.launch.processes)
    group = min(optimize.group_size, outputs)
    bound = float(config.engine_options.get("cache_gib", CACHE_GIB)) * 2**30
    most, least = (token * config.max_tokens * rows for rows in (outputs, group))
    return min(most, max(least, bound))


def _computes_low(config: Config) -> bool:
    """Whether the policy is computed, and sampled, in bfloat16."""
    return config.optimize.bf16 or config.policy.dtype == "bfloat16"


def kept_of_token(shape: Shape, *, low: bool, checkpointing: bool) -> float:
    """Return the bytes that a plain decoder's layers keep of a token for its gradient.

    Each layer keeps some four numbers for each of its feed-forward's and ten for each of its width.
    For Qwen2.5-1.5B that is 5.7 MB in float32 and 3.6 MB under autocast; torch's `MemTracker`
    counted 5.6 and 3.6. With checkpointing it is the layers' inputs, and one layer at a time.
    """
    numbers = 4 * shape.inner + 10 * shape.width
    layer = 2 * numbers + 16 * shape.width if low else 4 * numbers
    return layer + 4 * shape.width * shape.layers if checkpointing else layer * shape.layers


def judge_parameters(config: Config, policy: int | None) -> int | None:
    """Return the parameters of what judges beside a policy of so many, None if unknown."""
    if config.reward == "published":
        return parameters_of(str(config.published.model), "AutoModel")
    if not config.learns_reward:
        return 0
    start = config.reward_model.start
    if start in building.STARTS:
        return policy
    return parameters_of(start, "AutoModelForTokenClassification")


def count_parameters(config: Config) -> int | None:
    """Return the policy's parameters, None if they are not known on this machine."""
    shape = config.policy.make
    if shape is not None:
        inner = 3 * shape.width
        layer = 4 * shape.width**2 + 3 * shape.width * inner + 2 * shape.width
        return shape.vocabulary * shape.width + shape.layers * layer + shape.width
    return parameters_of(str(config.policy.model), "AutoModelForCausalLM")


def parameters_of(name: str, kind: str) -> int | None:
    """Return a named model's parameters as an auto class of transformers makes it.

    None if its configuration is not on this machine, or is of another kind of model.
    """
    import torch
    import transformers

    found = configuration_of(name)
    if found is None:
        return None
    try:
        with torch.device("meta"):
            model = getattr(transformers, kind).from_config(found)
    except ValueError:
        return None
    return int(sum(parameter.numel() for parameter in model.parameters()))


def configuration_of(name: str) -> Any:
    """Return a named model's configuration, None if it is not on this machine."""
    import transformers

    try:
        return transformers.AutoConfig.from_pretrained(
            name, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError):
        return None


def size(amount: float) -> str:
    """Return a number of bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:,.1f} {unit}"
        amount /= 1024
    return f"{amount:,.1f} TiB"
