"""What a run would do and need, computed from its settings alone."""

from __future__ import annotations

from pipelines import building, memory
from pipelines.config import Config
from pipelines.decontamination import KINDS
from pipelines.memory import size


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
    parameters, phases = memory.count_parameters(config), memory.needed(config)
    if parameters is None or phases is None:
        return ["memory and disk: unknown: no configuration of such a model is on this machine"]
    each = " in each process" if config.launch.processes > 1 else ""
    states = [f"{size(it.state)} in {it.phase}" for it in phases]
    kept = [
        f"{size(it.activations)} in {it.phase} ({it.of})"
        for it in phases
        if it.activations is not None
    ]
    cached = [
        f"or            up to {size(it.cached)} of keys and values while {it.phase} sample"
        for it in phases
        if it.cached
    ]
    checkpoints = 1 + config.iterations * (2 if config.learns_reward else 1)
    disk = parameters * memory.WEIGHT * checkpoints
    made = config.policy.make
    # A tokenizer of words has those of the data, up to its vocabulary.
    most = " at most" if made is not None and made.tokenizer == "words" else ""
    return [
        f"parameters    {parameters:,}{most}",
        f"memory        about {' and '.join(states)}{each}: weights and optimizer state",
        *([f"beside it     for gradients about {' and '.join(kept)} at once"] if kept else []),
        *cached,
        f"disk          about {size(disk)} for {checkpoints} checkpoints, samples beside it",
    ]
