"""A run from configuration to report, and its rehearsal: what the command `run` calls."""

from __future__ import annotations

from pathlib import Path

from pipelines.caller import undisturbed
from pipelines.config import Config
from pipelines.progress import Progress
from pipelines.runs import Run


@undisturbed()
def rehearse(config: Config, *, quiet: bool = False) -> None:
    """Print what a run would do, and check settings, data and models as it does; write nothing.

    The tokenizer of a policy made on the spot is made here, too, for its prompts to be checked.
    What a run's folder was made with is compared phase by phase, when the run gets there.
    """
    from pipelines import preflight, unloaded
    from pipelines.phases import start
    from pipelines.plan import plan

    print(plan(config), flush=True)
    progress = Progress(quiet=quiet)
    preflight.check(config, progress)
    if config.policy.make is not None and not unloaded.started(config):
        for line in start.rehearse(config):
            progress.note(line)


@undisturbed()
def run(config: Config, *, quiet: bool = False) -> Path:
    """Run Algorithm 1 (or go on with it) and report; return the final policy's folder.

    Everything lies in `config.run_dir`. The same configuration again resumes at the phase that was
    cut off, or after the last iteration if more are asked for.
    """
    from pipelines import decontamination, launching, preflight, questions, report
    from pipelines.iterate import iterate

    progress = Progress(quiet=quiet)
    preflight.check(config, progress)
    found = {"decontamination.json": decontamination.record(questions.contamination(config))}
    with Run(config, progress, launching.starter(config), found) as opened:
        policy = iterate(opened)
        opened.record()  # where every phase had finished before
        report.write(opened.path)
    if not quiet:
        print(report.summary(config.run_dir))
    return policy.path / "policy"
