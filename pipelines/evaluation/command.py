"""The command `evaluate`: a model by itself, on tasks, into a folder that it can go on in."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from iterative_grpo import plugins
from pipelines import policies, runs, world
from pipelines.artifacts import LOG, differences, fingerprint_of, read_json, write_json
from pipelines.caller import undisturbed
from pipelines.config import PolicySettings
from pipelines.evaluate_settings import EvaluateSettings
from pipelines.evaluation import pictures, scoring, terminal
from pipelines.evaluation.evaluating import answers_of, evaluate, scores_of
from pipelines.evaluation.rendering import Rendered, render
from pipelines.evaluation.tasks import load_tasks
from pipelines.progress import Progress
from pipelines.quiet import quiet as quiet_libraries

MADE_WITH = "made_with.json"

RECORD = "evaluation.json"

CHOICE = ("k", "reward_model", "reward_convention", "reward_dtype", "splitter")
"""Settings that may change until the figures are there: the answers do not depend on them."""


class OtherEvaluation(ValueError):
    """A folder whose answers were made with other settings, another model or other data."""


@undisturbed()
def evaluate_model(
    settings: EvaluateSettings,
    policy: PolicySettings,
    *,
    data: Path | None = None,
    output: Path | None = None,
    engine: str = "native",
    engine_options: Mapping[str, Any] = policies.NO_OPTIONS,
    seed: int = 0,
    verifier: str | None = None,
    quiet: bool = False,
) -> list[dict[str, Any]]:
    """Evaluate a model, print what was asked and found, and return the figures of each task.

    Args:
        settings: tasks, samples, and what is made of them.
        policy: the model, and the prompt format if not each task's own.
        data: folder of JSON Lines; none: the hub.
        output: where everything goes. A folder of the same evaluation goes on or is shown again;
            any other that is not empty is refused. None takes evaluations/NAME.
        engine: the sampler's name.
        engine_options: what it is loaded with, which decides how it samples and not what.
        seed: chooses the questions of limited tasks, and seeds the samples.
        verifier: the convention of answers; none: each task's own.
        quiet: no progress.

    Raises:
        OtherEvaluation: `output` holds something else.
        ValueError: an unknown name, data or prompts that do not fit; nothing was generated yet.
    """
    quiet_libraries()
    place = world.joined()
    started = time.perf_counter()
    policies.check_engine(engine, engine_options)
    plugins.check("iterative_grpo.splitters", settings.splitter, "splitter")
    if verifier is not None:
        verifier = plugins.check("verifiers.conventions", verifier, "verifier")
    loaded = load_tasks(settings.tasks, data, settings.limit, seed, policy.prompt, verifier)
    model = str(policy.model)
    scorer = scoring.load(settings)  # first: an engine may take the memory that is free
    with contextlib.ExitStack() as stack:
        sampler = stack.enter_context(policies.sampled(model, policy, engine, engine_options))
        context = sampler.context
        tasks = [render(it, sampler.tokenizer, context, settings.max_tokens) for it in loaded]
        made_with = identity(tasks, settings, policy, engine, seed)
        name = f"{Path(model).name}-{fingerprint_of(made_with)[:8]}"
        folder = output or Path("evaluations") / name
        if place.first:
            stack.enter_context(claimed(folder, made_with))
            for rendered in tasks:
                terminal.show_task(rendered)
        place.wait()
        progress = Progress(quiet=quiet or not place.first)
        found = evaluate(tasks, sampler.engine, scorer, settings, seed, folder, place, progress)
        if place.first:
            keep(folder, made_with, tasks, found, time.perf_counter() - started)
            pictures.draw(found, folder)
            terminal.show_figures(found, folder)
    return found


def identity(
    tasks: Sequence[Rendered],
    settings: EvaluateSettings,
    policy: PolicySettings,
    engine: str,
    seed: int,
) -> dict[str, Any]:
    """Return all that the figures depend on, as JSON."""
    return {
        "model": policy.model,
        "model_fingerprint": policies.identity(str(policy.model)),
        "dtype": policy.dtype,
        "engine": engine,
        "seed": seed,
        "reward_model_fingerprint": settings.reward_model
        and policies.identity(settings.reward_model),
        "evaluate": settings.model_dump(mode="json"),
        "tasks": {
            rendered.task.name: {
                "fingerprint": rendered.task.fingerprint,
                "content": rendered.task.content,
                "verifier": rendered.task.verifier,
                **rendered.as_row(),
            }
            for rendered in tasks
        },
    }


@contextlib.contextmanager
def claimed(folder: Path, made_with: Mapping[str, Any]) -> Iterator[None]:
    """Hold a folder that is this evaluation's own, new or begun before.

    Raises OtherEvaluation if it holds anything else (nothing in it is changed), RunError if another
    process works in it.
    """
    stored = folder / LOG / MADE_WITH
    foreign = folder.exists() and any(it.name not in (LOG, "lock") for it in folder.iterdir())
    if foreign and not stored.exists():
        raise OtherEvaluation(
            f"{folder} is not empty and holds no evaluation; give --output another folder"
        )
    stored.parent.mkdir(parents=True, exist_ok=True)
    with runs.lock(folder / "lock"):
        if stored.exists():
            before = read_json(stored, f"{folder} away, or give --output another folder")
            part = _as_stored if (folder / RECORD).exists() else _answers
            different = differences(part(before), part(made_with))
            if different:
                raise OtherEvaluation(
                    f"{folder} holds another evaluation: {'; '.join(different)}. Set them back to "
                    "go on with it, or give --output another folder"
                )
            if _as_stored(before) != _as_stored(made_with):
                forget_scores(folder)
        write_json(stored, made_with)
        yield


def _as_stored(made_with: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return all that finished figures depend on, as its file gives it back."""
    stored: Mapping[str, Any] = json.loads(json.dumps(made_with))
    return stored


def _answers(made_with: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what the answers depend on: not who chooses among them, nor of how many."""
    kept = {key: value for key, value in made_with.items() if key != "reward_model_fingerprint"}
    asked = {key: made_with["evaluate"][key] for key in made_with["evaluate"] if key not in CHOICE}
    return {**kept, "evaluate": asked}


def forget_scores(folder: Path) -> None:
    """Remove what another reward model gave the samples of an evaluation that is not finished."""
    for place in (folder, folder / LOG):
        for item in place.glob("*.scores.*"):
            if item.is_dir():
                shutil.rmtree(item)
            else:
                item.unlink()


def keep(
    folder: Path,
    made_with: Mapping[str, Any],
    tasks: Sequence[Rendered],
    found: Sequence[Mapping[str, Any]],
    total: float,
) -> None:
    """Write the record of the whole evaluation; one that is there is of the same answers."""
    if (folder / RECORD).exists():
        read_json(folder / RECORD, "it away to write it again")
        return
    seconds: dict[str, Counter[str]] = {}
    for rendered in tasks:
        seconds[rendered.task.name] = Counter(answers_of(folder, rendered).seconds())
        if made_with["reward_model_fingerprint"]:
            seconds[rendered.task.name].update(scores_of(folder, rendered).seconds())
    write_json(
        folder / RECORD,
        {
            **made_with,
            "versions": runs.versions(),
            "seconds": {"last_start": total, **seconds},
            "figures": list(found),
        },
    )
