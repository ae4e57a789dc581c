"""What a run would do and need, computed from its settings alone."""

from __future__ import annotations

from pipelines import building, launch_file
from pipelines.config import Config
from pipelines.decontamination import KINDS

WEIGHT, GRADIENT, MOMENTS = 4, 4, 8
"""Bytes of a parameter in float32 training, with AdamW's two moments."""

BYTES_OF = {"float32": 4, "bfloat16": 2, "auto": 4}
"""Of a weight that is only read; what a checkpoint is stored in is taken for the most it can be."""


def plan(config: Config) -> str:
    """Return the resolved plan: phases with their samples, tokens and steps, memory and disk."""
    lines = [
        f"run_dir       {config.run_dir}",
        f"policy        {config.policy.model or 'made on the spot'}",
        f"data          {config.data.name} from {config.data.path or 'the hub, or made'}",
        f"compared      {compared(config)}",
        f"supervision   {config.supervision}"
        + (f", steps by {config.splitter}" if building.cuts_steps(config) else ""),
        f"reward        {reward(config)}, credit {config.credit}, engine {config.engine}",
        "",
        "iteration  phase     work",
        "0          start     " + start(config),
        "0          evaluate  " + ", ".join(config.evaluate.tasks),
    ]
    for iteration in (1, 2) if config.iterations > 1 else (1,):
        name = f"{iteration}" if iteration in (1, config.iterations) else f"2-{config.iterations}"
        lines += [f"{name:10} {phase:9} {work}" for phase, work in phases(config, iteration)]
    return "\n".join([*lines, "", *needs(config)])


def reward(config: Config) -> str:
    """Return what rewards the policy."""
    if config.reward != "published":
        return config.reward
    return f"published ({config.published.model} by {config.published.convention})"


def compared(config: Config) -> str:
    """Return what training questions are compared with, and what is done about those found."""
    chosen = config.data.decontaminate
    if chosen is None:
        return "with no evaluation set (data.decontaminate is off)"
    actions = ", ".join(f"{kind} {chosen.action(kind)}" for kind in KINDS)
    return f"with {', '.join(config.evaluate.tasks)}: {actions}"


def start(config: Config) -> str:
    """Return what the start phase does."""
    warm = config.policy.warm_start
    if config.policy.make is None:
        return "copy the named model"
    return "make a policy" + (f", at most {warm.steps:,} supervised steps" if warm else "")


def phases(config: Config, iteration: int) -> list[tuple[str, str]]:
    """Return (phase, work) of an iteration."""
    work: list[tuple[str, str]] = []
    sample, optimize = config.sample, config.optimize
    if config.learns_reward:
        questions = sample.first_problems if iteration == 1 else None
        questions = questions or sample.problems
        outputs = questions * sample.group_size
        fit = config.reward_model.first if iteration == 1 else config.reward_model.again
        work.append(
            ("sample", f"{questions:,} questions x {sample.group_size} = {outputs:,} completions, "
             f"at most {outputs * config.max_tokens:,} tokens")
        )  # fmt: skip
        continued = building.continues_prefixes(config)
        work.append(
            ("label", f"{outputs:,} solutions by {config.label.labeler}"
             + (f", {config.label.continuations} continuations of each step" if continued else ""))
        )  # fmt: skip
        share = config.reward_model.replay.share if iteration > 1 else 0.0
        judge = config.reward_model
        rows = outputs * (1 - judge.held_out - judge.validation) / (1 - share)
        trained = config.reward_model.retrain or iteration == 1
        work.append(
            ("retrain", f"about {rows:,.0f} rows ({share:.0%} history), {fit.epochs} epochs"
             if trained else "frozen: measured only")
        )  # fmt: skip
    outputs = optimize.prompts * optimize.group_size
    tokens = optimize.explorations * outputs * config.max_tokens
    work.append(
        ("optimize", f"{optimize.steps:,} steps of {optimize.prompts} x {optimize.group_size} = "
         f"{outputs:,} outputs, at most {tokens:,} tokens, "
         f"micro-batch {config.micro_batch}, {config.launch.processes} process(es)")
    )  # fmt: skip
    work.append(("evaluate", ", ".join(config.evaluate.tasks)))
    return work


def needs(config: Config) -> list[str]:
    """Return lines on memory and disk."""
    parameters = count_parameters(config)
    judge = judge_parameters(config, parameters)
    if parameters is None or judge is None:
        return ["memory and disk: unknown: no configuration of such a model is on this machine"]
    dtype = config.published.dtype if config.reward == "published" else "float32"
    optimize = policy_bytes(config) * parameters + judge * BYTES_OF[dtype]
    each = " in each process" if config.launch.processes > 1 else ""
    memory = f"about {size(optimize)} in policy phases"
    if config.learns_reward:
        low = config.reward_model.lora is not None  # an adapter is next to nothing
        retrain = judge * float(WEIGHT if low else WEIGHT + GRADIENT + MOMENTS)
        if launch_file.kind(config) == "FSDP":
            # Whole before it is sharded, and beside its shards when it is put together again.
            retrain = retrain / config.launch.processes + judge * WEIGHT
        memory += f" and {size(retrain)} in retraining"
    checkpoints = 1 + config.iterations * (2 if config.learns_reward else 1)
    disk = parameters * WEIGHT * checkpoints
    made = config.policy.make
    # A tokenizer of words has those of the data, up to its vocabulary.
    most = " at most" if made is not None and made.tokenizer == "words" else ""
    return [
        f"parameters    {parameters:,}{most}",
        f"memory        {memory}{each}: weights and optimizer state; activations and cache beside",
        f"disk          about {size(disk)} for {checkpoints} checkpoints, samples beside it",
    ]


def policy_bytes(config: Config) -> float:
    """Return the bytes of a parameter of the policy that a process has in policy phases."""
    optimize, stage = config.optimize, launch_file.stage(config)

    def share(sharded_from: int) -> float:
        return 1 / config.launch.processes if stage >= sharded_from else 1.0

    # The initial policy, which the distance is measured from; in iteration 1 the reference is it.
    another = config.iterations > 1 or not optimize.beta
    initial = bool(optimize.kl_initial_outputs) and another
    total = WEIGHT * (1 + initial) * share(3)
    if config.policy.lora is None:
        reference = WEIGHT * bool(optimize.beta)
        total += reference * share(3) + GRADIENT * share(2) + MOMENTS * share(1)
    if stage == 3 and optimize.vllm == "off" and building.samples_in_training(config):
        total += 2 if optimize.bf16 else WEIGHT  # the whole copy that engines sample
    return total


def judge_parameters(config: Config, policy: int | None) -> int | None:
    """Return the parameters of what judges beside a policy of so many, None if unknown."""
    if config.reward == "published":
        return parameters_of(str(config.published.model), "AutoModel")
    return policy if config.learns_reward else 0


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

    try:
        found = transformers.AutoConfig.from_pretrained(
            name, local_files_only=True, trust_remote_code=False
        )
        with torch.device("meta"):
            model = getattr(transformers, kind).from_config(found)
    except (OSError, ValueError):
        return None
    return int(sum(parameter.numel() for parameter in model.parameters()))


def size(amount: float) -> str:
    """Return a number of bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:,.1f} {unit}"
        amount /= 1024
    return f"{amount:,.1f} TiB"
