"""The command `iterative-grpo`. Heavy imports wait until a command needs them.

Exit codes: 0 done; 1 failed while working (the same command resumes); 2 refused before any work
was lost: settings, data, models or files; 130 interrupted; 143 terminated.
"""

from __future__ import annotations

import argparse
import io
import os
import select
import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines import failures
from pipelines.caller import Terminated, heeding_sigterm

DONE, FAILED, REFUSED, INTERRUPTED, TERMINATED = 0, failures.FAILED, failures.REFUSED, 130, 143

READER_LEFT = 128 + 13
"""What a shell reports of a command that wrote to a pipe nobody reads (SIGPIPE)."""

SHARED = (
    "limit",
    "max_tokens",
    "samples",
    "temperature",
    "top_p",
    "splitter",
    "reward_model",
    "reward_convention",
    "reward_dtype",
)
"""Options of `evaluate` that are settings of the same name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    open_streams()
    options = parse(arguments)
    try:
        with heeding_sigterm():
            code: int = options.action(options)
            sys.stdout.flush()
    except Terminated:
        print("\nterminated; the same command resumes", file=sys.stderr)
        return TERMINATED
    except KeyboardInterrupt:
        print("\ninterrupted; the same command resumes", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if isinstance(error, BrokenPipeError) and reader_left():
            return READER_LEFT
        failed = failures.exit_code(error)
        if failed is None:
            raise  # a defect: Python shows where
        print(f"error: {failures.message(error)}", file=sys.stderr)
        return failed
    return code


def open_streams() -> None:
    """Give streams that the caller closed a place: files opened later would get their numbers.

    Under their own numbers, which the processes that this one launches inherit. What a model wrote
    and an output's encoding does not have is escaped.
    """
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, "w"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as Python has it for stderr


def reader_left() -> bool:
    """Whether who reads our output, such as `head`, has gone; what is left to say is dropped."""
    left = [stream for stream in (sys.stdout, sys.stderr) if _is_broken(stream.fileno())]
    for stream in left:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return bool(left)


def _is_broken(pipe: int) -> bool:
    # Asked of the system: a second write need not fail, what the first one held is gone.
    if not hasattr(select, "poll"):
        return False
    ends = select.poll()
    ends.register(pipe, select.POLLOUT)  # macOS looks at nothing where nothing is asked
    gone = select.POLLERR | select.POLLHUP
    return any(event & gone for _, event in ends.poll(0))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; overrides may stand after options too, which argparse cannot do."""
    grammar = parser()
    options, rest = grammar.parse_known_args(arguments)
    if rest and ("overrides" not in options or any(word.startswith("-") for word in rest)):
        grammar.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.overrides += rest
    return options


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar."""
    top = argparse.ArgumentParser(
        prog="iterative-grpo",
        description="Iterative GRPO with outcome or process supervision (arXiv:2402.03300).",
        epilog="Exit codes: 0 done, 1 failed (the same command resumes), 2 refused, "
        "130 interrupted, 143 terminated.",
    )
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run Algorithm 1, or go on with a run")
    run.add_argument("config", type=Path, help="YAML file, or the name of a shipped one")
    run.add_argument(
        "overrides", nargs="*", default=[], metavar="key.path=value", help="settings to change"
    )
    run.add_argument(
        "--dry-run",
        action="store_true",
        help="print the plan, check settings, data and models as a run does, and stop",
    )
    run.add_argument("--quiet", action="store_true", help="print nothing, unless it fails")
    run.set_defaults(action=do_run)

    evaluate = commands.add_parser(
        "evaluate", help="accuracy of a model: greedy, pass@k, maj@k, rm@k; resumes"
    )
    evaluate.add_argument("model", help="path or hub name")
    evaluate.add_argument("--tasks", default="gsm8k", help="comma-separated, e.g. gsm8k,math500")
    evaluate.add_argument("--data", type=Path, help="folder of JSON Lines; default: the hub")
    evaluate.add_argument(
        "--output", type=Path, help="folder for figures and answers; default: evaluations/NAME"
    )
    evaluate.add_argument("--prompt", help="prompt format; default: each task's own")
    evaluate.add_argument("--verifier", help="convention of answers; default: each task's own")
    evaluate.add_argument("--engine", default="native", help="sampler")
    evaluate.add_argument(
        "--engine-option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="what it is loaded with, e.g. cache_gib=16; may be repeated",
    )
    evaluate.add_argument("--limit", type=int, help="questions of each task at most")
    evaluate.add_argument(
        "--max-tokens", type=int, help="of an answer; default: 1024, or what fits the context"
    )
    evaluate.add_argument("--samples", type=int, default=0, help="of each question, beside greedy")
    evaluate.add_argument("--temperature", type=float, default=0.7, help="of the samples")
    evaluate.add_argument("--top-p", type=float, default=1.0, help="of the samples")
    evaluate.add_argument("--k", help="comma-separated; default: powers of two up to --samples")
    evaluate.add_argument("--reward-model", help="path of one that chooses among samples (rm@k)")
    evaluate.add_argument(
        "--reward-convention", help="a file of reward_models/published; default: one made here"
    )
    evaluate.add_argument(
        "--reward-dtype",
        default="auto",
        choices=("float32", "bfloat16", "auto"),
        help="of the reward model's weights; default: as they are stored",
    )
    evaluate.add_argument("--splitter", default="lines", help="steps the reward model is read at")
    evaluate.add_argument("--seed", type=int, default=0, help="of limited tasks and of samples")
    evaluate.add_argument("--pad-token", help="for tokenizers that name no pad token")
    evaluate.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "auto"))
    evaluate.add_argument("--quiet", action="store_true", help="no progress")
    evaluate.set_defaults(action=do_evaluate)

    verify = commands.add_parser("verify", help="verdicts for a file of responses and answers")
    verify.add_argument("file", type=Path, help="JSON Lines with response and answer")
    verify.add_argument("--output", type=Path, help="where verdicts go; default: beside FILE")
    verify.add_argument(
        "--convention",
        default="math",
        help="how answers are marked, a file of verifiers/conventions: gsm8k, gsm8k_strict, math, "
        "or one of your own",
    )
    verify.add_argument("--timeout", type=float, default=0.8, help="seconds for one answer")
    verify.add_argument("--workers", type=int, help="processes; default: one a core")
    verify.add_argument("--overwrite", action="store_true", help="replace an existing output")
    verify.set_defaults(action=do_verify)

    report = commands.add_parser("report", help="plots and a page about a run")
    report.add_argument("run", type=Path, help="a run's folder")
    report.set_defaults(action=do_report)

    compare = commands.add_parser("compare", help="two evaluations, question by question")
    compare.add_argument("first", type=Path, metavar="A", help="a run's or evaluation's folder")
    compare.add_argument("second", type=Path, metavar="B", help="the one to measure against A")
    compare.add_argument("--iteration", type=int, help="of runs; default: the last evaluated")
    compare.add_argument(
        "--common", action="store_true", help="only what both answered, where that differs"
    )
    compare.add_argument("--output", type=Path, help="folder for the page and the figures")
    compare.set_defaults(action=do_compare)

    credit = commands.add_parser(
        "compare-credit", help="what each credit rule makes of a run's rollouts"
    )
    credit.add_argument("run", type=Path, help="a run's folder")
    credit.add_argument("--iteration", type=int, help="whose rollouts; default: the last with any")
    credit.add_argument("--limit", type=int, default=8, help="solutions with table and picture")
    credit.set_defaults(action=do_compare_credit)

    configs = commands.add_parser("configs", help="list the shipped configurations")
    configs.set_defaults(action=do_configs)
    return top


def do_run(options: argparse.Namespace) -> int:
    """Run or resume Algorithm 1."""
    from pipelines import settings

    config = settings.load(settings.locate(options.config), options.overrides)
    from pipelines.running import rehearse, run

    (rehearse if options.dry_run else run)(config, quiet=options.quiet)
    return DONE


def do_evaluate(options: argparse.Namespace) -> int:
    """Evaluate a model on tasks, or go on with it."""
    from pipelines import settings, world
    from pipelines.config import PolicySettings
    from pipelines.conflicts import no_folder
    from pipelines.evaluate_settings import EvaluateSettings
    from pipelines.evaluation.command import evaluate_model

    if options.seed < 0:
        raise settings.ConfigError(f"--seed is {options.seed}, must be 0 or more")
    for wrong in no_folder("--data", options.data):
        raise settings.ConfigError(wrong)
    raw = {name: value for name, value in vars(options).items() if name in SHARED}
    raw |= {"tasks": options.tasks.split(","), "k": options.k and options.k.split(",")}
    world.settle(None)
    evaluate_model(
        settings.check(EvaluateSettings, raw),
        PolicySettings(
            model=options.model,
            prompt=options.prompt,
            pad_token=options.pad_token,
            dtype=options.dtype,
        ),
        data=options.data,
        output=options.output,
        engine=options.engine,
        engine_options=settings.given(options.engine_option),
        seed=options.seed,
        verifier=options.verifier,
        quiet=options.quiet,
    )
    return DONE


def do_verify(options: argparse.Namespace) -> int:
    """Verify a file of responses."""
    from verifiers.report import verify_file

    output = options.output or options.file.parent / f"{options.file.stem}.verdicts.jsonl"
    summary = verify_file(
        options.file,
        output,
        convention=options.convention,
        timeout=options.timeout,
        workers=options.workers,
        overwrite=options.overwrite,
    )
    print(summary.table())
    return DONE


def do_report(options: argparse.Namespace) -> int:
    """Draw a run's pictures and write its page."""
    from pipelines import metrics, report
    from pipelines.report.run import damage, read

    read(options.run)  # refuses a folder that is no run, before anything is written to it
    for note in damage(options.run):
        print(f"note: {note}")
    metrics.publish(options.run)
    files = report.write(options.run)
    print(report.summary(options.run))
    for reason in files.left_out:
        print(f"left out: {reason}")
    return DONE


def do_compare(options: argparse.Namespace) -> int:
    """Compare two evaluations on the same questions."""
    from pipelines import comparison

    done = comparison.compare(
        options.first,
        options.second,
        iteration=options.iteration,
        common=options.common,
        output=options.output,
    )
    print(done.text)
    print(f"{done.folder}: {', '.join(file.name for file in done.files)}")
    return DONE


def do_compare_credit(options: argparse.Namespace) -> int:
    """Apply every credit rule to stored rollouts, offline."""
    from pipelines import credit

    done = credit.compare(options.run, options.iteration, options.limit)
    print(done.text)
    print(f"{done.folder}: {', '.join(file.name for file in done.files)}")
    return DONE


def do_configs(options: argparse.Namespace) -> int:
    """List the shipped configurations with their first line."""
    from pipelines import settings

    for file in sorted(settings.SHIPPED.glob("*.yaml")):
        first = file.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
        print(f"{file.stem:16} {first}\n{'':16} {file}")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
