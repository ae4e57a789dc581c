"""Rollouts: transformers' `generate` against the native engine, and vLLM where it is installed.

    python benchmarks/rollouts.py --shapes 3m 30m --repeats 5 --threads 2

Random Llama-shaped models, 64 prompts x 8 samples (a quarter of an hour a turn at 30 M parameters).
The engines take turns, so that a busy machine is busy for all, and all of them, with every process
they start, are held to as many cores as there are threads. Loading and a short run each to warm up
are not timed. Processor seconds are counted beside wall time: they tell work from waiting.

`fixed` samples 128 tokens a row. `varied` ends each row at a length drawn from those of GSM8K's
solutions: an engine that carries finished rows pays for the longest. Tokens a second count the
tokens of completions up to their end, nothing else. `--examples` puts the same tokens before all
prompts, as prompts with examples have them; `native-whole-prompts` computes them for each.
`native-own-layers` decodes by the model's layers as they are, `native-own-rows` computes rows that
drew the same tokens one by one, `native-graphs` replays CUDA graphs (on a GPU). A random model's
rows part at once; `--policy` takes a trained one of the embedded job instead, with its questions,
whose rows end where it ends them. Prints a Markdown table; `--json` keeps all single times.

The rows of one run differ between engines (their random streams do), so the varied lengths are
draws from one list, not the same draws; their mean is in the table.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from random_llama import random_llama
from rollouts_vllm import Vllm

from iterative_grpo.engines.native import CACHE_GIB

# Llama shapes: width, feed-forward, layers, heads, vocabulary.
SHAPES = {
    "0.4m": (96, 256, 3, 4, 61),
    "3m": (256, 640, 4, 8, 2048),
    "30m": (512, 1408, 8, 8, 8192),
    "0.5b": (896, 4864, 24, 14, 151_936),
    "narrow": (64, 128, 24, 2, 2048),  # for counts, which no width changes
}
# Tokens of GSM8K's test solutions and questions at evenly spaced quantiles, words, digits and signs
# counted as one token each.
SOLUTION_TOKENS = (
    *(48, 53, 57, 61, 63, 67, 70, 73, 75, 78, 80, 83, 85, 87, 90, 92),
    *(95, 99, 102, 103, 105, 107, 110, 114, 117, 120, 122, 125, 129, 131, 134, 137),
    *(140, 144, 147, 150, 155, 161, 165, 171, 176, 182, 188, 198, 207, 218, 241, 279),
)
QUESTION_TOKENS = (28, 33, 36, 39, 42, 45, 48, 51, 55, 58, 61, 65, 70, 77, 87, 105)
ENGINES = (
    "generate",
    "native",
    "native-bf16",
    "native-whole-prompts",
    "native-own-layers",
    "native-own-rows",
    "native-graphs",
)


def processor_seconds() -> float:
    """Return the processor time of this process and of all that it started, on Linux."""
    parents: dict[int, tuple[int, float]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = path.read_text().rpartition(")")[2].split()
            ticks = int(fields[11]) + int(fields[12])
            parents[int(path.parent.name)] = (int(fields[1]), ticks / os.sysconf("SC_CLK_TCK"))

    def ours(pid: int) -> bool:
        while pid in parents:
            if pid == os.getpid():
                return True
            pid = parents[pid][0]
        return False

    return sum(seconds for pid, (_, seconds) in parents.items() if ours(pid))


@dataclass(frozen=True, slots=True)
class Case:
    """One workload: `lengths` is empty where every row fills `tokens`, or ends by `eos`."""

    shape: str
    name: str
    prompts: tuple[tuple[int, ...], ...]
    group: int
    tokens: int
    lengths: tuple[int, ...]
    eos: tuple[int, ...] = ()

    def short(self) -> Case:
        """Return the case to warm up with."""
        return replace(self, tokens=4, lengths=())

    def target(self, token_ids: Sequence[int]) -> int:
        """Return the length a row ends at: a draw by its first two tokens."""
        if not self.lengths:
            return self.tokens
        draw = (token_ids[0] * 31 + token_ids[1]) if len(token_ids) > 1 else 0
        return self.lengths[draw * 2_654_435_761 % 2**32 % len(self.lengths)]

    def stopped(self, token_ids: Sequence[int]) -> bool:
        """Whether a row has reached its length."""
        return len(token_ids) > 1 and len(token_ids) >= self.target(token_ids)


@dataclass(frozen=True, slots=True)
class Run:
    """One engine's run of one case."""

    shape: str
    rows: int
    lengths: str
    engine: str
    seconds: float
    processor_seconds: float
    tokens: int


def main() -> None:
    """Measure what was asked for and print the table."""
    options = parse()
    # Before torch starts threads, which inherit this.
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-options.threads :])
    import torch

    torch.set_num_threads(options.threads)
    runs: list[Run] = []
    for shape in ["policy"] if options.policy else options.shapes:
        model = made(shape, options)
        server = None
        if options.vllm:
            server = Vllm(options.vllm, model, options.vllm_dtype, options.threads)
        for case in make_cases(shape, options):
            engines = samplers(options, model, server, case)
            for sample in samplers(options, model, server, case.short()).values():
                sample(0)
            for repeat in range(options.repeats):
                for name, sample in engines.items():
                    runs.append(measure(case, name, sample, repeat))
                    print(json.dumps(asdict(runs[-1])), file=sys.stderr, flush=True)
        if server is not None:
            server.close()
    print(table(runs, options.engines[0]))
    if options.json:
        report = {"machine": machine(options), "runs": [asdict(run) for run in runs]}
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")


def parse() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["3m", "30m"])
    parser.add_argument("--policy", metavar="DIR", help="RUN/start/policy of the embedded job")
    parser.add_argument(
        "--lengths", nargs="+", choices=("fixed", "varied"), default=["fixed", "varied"]
    )
    parser.add_argument(
        "--engines", nargs="+", choices=ENGINES, default=["generate", "native", "native-bf16"]
    )
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--examples", type=int, default=0, help="tokens all prompts start with")
    parser.add_argument("--tokens", type=int, default=128, help="tokens of a row in `fixed`")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--key-heads", type=int, default=None, help="grouped queries, if fewer")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cache-gib", type=float, default=CACHE_GIB, help="of `native`")
    parser.add_argument("--vllm", metavar="PYTHON", help="interpreter of an environment with vLLM")
    parser.add_argument("--vllm-dtype", default="float32")
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def made(shape: str, options: argparse.Namespace) -> Any:
    """Return the model of a shape, or the policy that was asked for."""
    if not options.policy:
        return random_llama(
            SHAPES[shape], options.device, positions=1024, key_heads=options.key_heads
        )
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(options.policy).to(options.device)


def trained(options: argparse.Namespace) -> Case:
    """Return the embedded job's sampling, by its policy."""
    from transformers import AutoTokenizer

    from pipelines import load_config, prompts, questions
    from pipelines.phases.sample import prompt_name

    config = load_config("arithmetic", ["run_dir=unused"])
    tokenizer = AutoTokenizer.from_pretrained(options.policy)
    form = prompts.find(prompt_name(config))
    drawn = questions.draw(questions.training(config).problems, options.prompts, 0)
    ids = tuple(tuple(tokenizer(form.render(each, tokenizer))["input_ids"]) for each in drawn)
    eos = (tokenizer.eos_token_id,)
    return Case("policy", "its own", ids, options.group, config.max_tokens, (), eos)


def make_cases(shape: str, options: argparse.Namespace) -> list[Case]:
    """Return both workloads of a shape, or the one of a policy.

    The smallest shape is the embedded job's (22 tokens a row).
    """
    if options.policy:
        return [trained(options)]
    vocabulary = SHAPES[shape][-1]
    draw = random.Random(0)
    prompts = tuple(
        tuple(draw.randrange(3, vocabulary) for _ in range(QUESTION_TOKENS[i % 16]))
        for i in range(options.prompts)
    )
    tokens, lengths = options.tokens, SOLUTION_TOKENS
    examples = tuple(draw.randrange(3, vocabulary) for _ in range(options.examples))
    if shape == "0.4m":
        prompts = tuple(prompt[:25] for prompt in prompts)
        tokens, lengths = 22, tuple(range(14, 31))
    prompts = tuple(examples + prompt for prompt in prompts)
    cases = [
        Case(shape, "fixed", prompts, options.group, tokens, ()),
        Case(shape, "varied", prompts, options.group, max(lengths), lengths),
    ]
    return [case for case in cases if case.name in options.lengths]


def samplers(
    options: argparse.Namespace, model: Any, server: Vllm | None, case: Case
) -> dict[str, Callable[[int], int]]:
    """Return for each engine a function of the seed that samples the case and counts tokens."""
    chosen = options.temperature, options.cache_gib
    found = {name: engine(name, model, case, *chosen) for name in options.engines}
    if server is not None:
        found["vllm"] = vllm_engine(server, case)
    return found


def engine(
    name: str, model: Any, case: Case, temperature: float, cache_gib: float = CACHE_GIB
) -> Callable[[int], int]:
    """Return a function of the seed that samples the case and returns the tokens it made."""
    from iterative_grpo.engines import generate, native
    from iterative_grpo.types import Sampling

    def sample(seed: int) -> int:
        sampling = Sampling(case.group, case.tokens, temperature=temperature, seed=seed + 1000)
        stopped = [case.stopped] * len(case.prompts) if case.lengths else []
        if name == "generate":
            rows = generate.sample_ids(
                model,
                case.prompts,
                sampling,
                eos_token_ids=case.eos,
                stopped=stopped,
                batch_tokens=10**9,
            )
        else:
            dtype = "bfloat16" if name.endswith("bf16") else None
            rows = native.sample_ids(
                model,
                case.prompts,
                sampling,
                eos_token_ids=case.eos,
                stopped=stopped,
                dtype=dtype,
                cache_gib=cache_gib,
                share_prefixes=name != "native-whole-prompts",
                fuse_layers=name != "native-own-layers",
                share_branches=name not in ("native-own-rows", "native-graphs"),
                graphs=name == "native-graphs",
            )
        return sum(
            min(len(row.token_ids), case.target(row.token_ids)) for group in rows for row in group
        )

    return sample


def vllm_engine(server: Vllm, case: Case) -> Callable[[int], int]:
    """Return such a function for vLLM: every row a request, with a length drawn for it."""
    rows = [prompt for prompt in case.prompts for _ in range(case.group)]

    def sample(seed: int) -> int:
        draw = random.Random(seed)
        limits = [draw.choice(case.lengths) if case.lengths else case.tokens for _ in rows]
        return server.sample(rows, limits)

    return sample


def measure(case: Case, name: str, sample: Callable[[int], int], seed: int) -> Run:
    """Time one run."""
    start, spent = time.perf_counter(), processor_seconds()
    tokens = sample(seed)
    seconds, spent = time.perf_counter() - start, processor_seconds() - spent
    return Run(case.shape, len(case.prompts) * case.group, case.name, name, seconds, spent, tokens)


def table(runs: Sequence[Run], baseline: str) -> str:
    """Return medians as a Markdown table; speeds are tokens a second, relative to `baseline`."""
    lines = [
        "| shape | rows | lengths | engine | runs | tokens | seconds | CPU s | tokens/s | ratio |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    speeds: dict[tuple[str, str, str], list[Run]] = {}
    for run in runs:
        speeds.setdefault((run.shape, run.lengths, run.engine), []).append(run)
    for (shape, lengths, name), group in speeds.items():
        speed = median(run.tokens / run.seconds for run in group)
        base = speeds.get((shape, lengths, baseline))
        ratio = speed / median(run.tokens / run.seconds for run in base) if base else float("nan")
        seconds = median(run.seconds for run in group)
        spent = median(run.processor_seconds for run in group)
        tokens = median(run.tokens for run in group)
        lines.append(
            f"| {shape} | {group[0].rows} | {lengths} | {name} | {len(group)} "
            f"| {tokens:,.0f} | {seconds:.2f} | {spent:.1f} | {speed:,.0f} | {ratio:.2f}x |"
        )
    return "\n".join(lines)


def machine(options: argparse.Namespace) -> dict[str, Any]:
    """Return what a reader needs to compare figures."""
    import torch
    import transformers

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
        "threads": options.threads,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }


if __name__ == "__main__":
    main()
