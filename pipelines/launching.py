"""Starting a phase: in this process, or in processes of its own that give their memory back."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from iterative_grpo import plugins, timing
from pipelines import failures, lifeline, questions, times, world
from pipelines.config import Config, Launch
from pipelines.progress import Progress
from pipelines.quiet import quiet
from pipelines.runs import Job


def starter(config: Config) -> Callable[[Job], None]:
    """Return what runs a job as `launch` says."""
    return {"inline": in_turn, "accelerate": launched}[config.launch.mode]


def in_turn(job: Job) -> None:
    """Run a phase in this process, unless TRL's vLLM samples in it.

    That one keeps memory, a port and a group of processes for as long as its process lives, and
    the next iteration's would meet them.
    """
    if job.phase != "optimize" or job.config.optimize.vllm == "off":
        inline(job)
        return
    import torch

    torch.cuda.empty_cache()  # what earlier phases have left there is of no use to another process
    launched(job)


def inline(job: Job) -> None:
    """Run a phase in this process."""
    with timing.clock() as clock:
        with timing.part(timing.INPUT_OUTPUT):
            from transformers import set_seed

            phase = plugins.find("pipelines.phases", job.phase, "phase")
        quiet()
        few_threads(job.config)
        if job.config.optimize.bf16:
            less_exact()
        # A phase draws the same numbers whether it follows others here or is resumed alone.
        set_seed(job.seed)
        phase.run(job)
    let_go()
    if world.current(job.config.launch.processes).first:
        times.write(job.output, clock)


def let_go() -> None:
    """Free what a phase has left on a GPU: trainer and models hold each other.

    Nothing else would: running out of a GPU's memory calls no garbage collector of Python's.
    """
    import torch

    if torch.cuda.is_initialized():
        gc.collect()


def few_threads(config: Config) -> None:
    """Give small models two threads: more only wait for each other. OMP_NUM_THREADS overrides."""
    import torch

    if config.policy.make is not None and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(2, torch.get_num_threads()))


def less_exact() -> None:
    """Let a GPU multiply float32 as TF32, where autocast does not reach."""
    import torch

    if _has_accelerator():
        torch.set_float32_matmul_precision("high")


def launched(job: Job) -> None:
    """Run a phase with `accelerate launch`."""
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "job.json"
        spec.write_text(json.dumps(to_spec(job)), encoding="utf-8")
        command = [*launcher(job.config.launch), "-m", "pipelines.launching", str(spec)]
        environment = dict(os.environ)
        if not _has_accelerator():
            # Without it, accelerate starts single processes that know nothing of each other.
            environment["ACCELERATE_USE_CPU"] = "true"
        with lifeline.held(Path(folder)):
            # The launcher inherits the lock of the run's folder, which therefore stays in use until
            # the launcher has seen its last worker end, even if this process is killed.
            done = subprocess.run(command, env=environment, check=False, close_fds=False)
        if not done.returncode:
            return
        name = f"phase {job.phase} of iteration {job.iteration}"
        told = failures.left(Path(folder))
    if told is not None:
        raise failures.PhaseFailed(f"{name}: {told}", told.code)
    raise failures.PhaseFailed(
        f"{name} failed; its message stands above. The same command resumes at this phase"
    )


def launcher(launch: Launch) -> list[str]:
    """Return accelerate's command line."""
    command = [sys.executable, "-m", "pipelines.launcher"]
    if launch.config_file is not None:
        return [*command, "--config_file", str(launch.config_file)]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command += ["--num_processes", str(launch.processes), "--main_process_port", "0"]
    # The flag means "several local processes"; on CPUs they then speak gloo.
    return [*command, "--multi_gpu"] if launch.processes > 1 else command


def to_spec(job: Job) -> dict[str, object]:
    """Return a job as JSON."""
    return {
        "phase": job.phase,
        "iteration": job.iteration,
        "config": job.config.model_dump(mode="json"),
        "inputs": {name: str(path) for name, path in job.inputs.items()},
        "output": str(job.output),
        "questions": questions.as_found(job.config),
    }


def main(spec: Path) -> int:
    """Run the phase that a job file describes, as one of its processes; return the exit code."""
    lifeline.follow(spec.parent)
    try:
        work(spec)
    except Exception as error:
        code = failures.exit_code(error)
        if code is None:
            raise  # a defect: Python shows where
        failures.leave(spec.parent, int(os.environ.get("RANK", "0")), error, code)
        return code
    return 0


def work(spec: Path) -> None:
    """Run this process's part of the phase that a job file describes."""
    from accelerate import PartialState

    raw = json.loads(spec.read_text(encoding="utf-8"))
    asked = raw["config"]["launch"]["config_file"] is not None
    world.settle(raw["phase"] if asked else None)
    # Not told of it, it calls each of several processes on CPUs the only one.
    state = PartialState(cpu=not _has_accelerator(), timeout=world.PATIENCE)
    questions.take_over(raw["questions"])
    job = Job(
        phase=raw["phase"],
        iteration=raw["iteration"],
        config=Config.model_validate(raw["config"]),
        inputs={name: Path(path) for name, path in raw["inputs"].items()},
        output=Path(raw["output"]),
        progress=Progress(quiet=not state.is_main_process),
    )
    inline(job)
    world.leave()


def _has_accelerator() -> bool:
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
