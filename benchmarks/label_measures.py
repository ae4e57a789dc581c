"""What `labels.py` measures: labelers on the same solutions, and reward models trained on each."""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from benchmarks.label_report import NAMES, Figures, table
from iterative_grpo import plugins
from iterative_grpo.context import positions
from iterative_grpo.engines import native
from iterative_grpo.protocols import Samplings, Splitter
from iterative_grpo.types import Completion, Problem, Prompt, Sampling, StepRewards
from reward_models.labels import exact, first_error, monte_carlo
from reward_models.protocols import Continuing, Labeler, Tools
from reward_models.types import LabelCost, LabeledSolution

if TYPE_CHECKING:
    from reward_models.model import RewardModel

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "pipelines" / "configs" / "arithmetic.yaml"


def main() -> None:
    """Measure every seed, print the table."""
    options = parse()
    import torch

    from pipelines.quiet import quiet

    quiet()
    torch.set_num_threads(1)
    started = time.process_time()
    figures: list[Figures] = []
    for seed in options.seeds:
        figures += measure(seed, options)
    seconds = time.process_time() - started
    print(table(figures, seconds, options))
    if options.json:
        found = {"options": vars(options), "figures": [it.as_row() for it in figures]}
        options.json.write_text(json.dumps(found, indent=1, default=str) + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(prog="labels.py", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=_seeds, default=_seeds("0-2"), help="for example 0-2")
    parser.add_argument(
        "--runs", type=Path, default=ROOT / "runs" / "labels", help="where runs lie"
    )
    parser.add_argument("--pattern", default="{seed}", help="name of a seed's run in that folder")
    parser.add_argument("--problems", type=int, default=500, help="questions that labels are for")
    parser.add_argument("--test", type=int, default=300, help="questions to measure on")
    parser.add_argument("--group", type=int, default=8, help="solutions of a question")
    parser.add_argument("--continuations", type=int, default=8, help="N, of a prefix at most")
    parser.add_argument("--labelers", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument(
        "--whole-prompts", action="store_true", help="compute what prompts share for each of them"
    )
    parser.add_argument("--json", type=Path, help="write all figures here")
    return parser.parse_args()


def _seeds(text: str) -> list[int]:
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


@dataclass(frozen=True, slots=True)
class Solutions:
    """Sampled solutions, cut into lines; row i belongs to problems[i]."""

    problems: list[Problem]
    completions: list[Completion]
    ends: list[tuple[int, ...]]
    truth: list[LabeledSolution]


class Counted:
    """An engine that counts what it reads before it samples.

    `asked` are the tokens of all prompts, `read` those that the model computed.
    """

    def __init__(self, engine: native.Engine, model: Any) -> None:
        self.engine = engine
        self.asked = self.read = 0
        model.get_input_embeddings().register_forward_hook(self._count)

    def _count(self, module: Any, args: tuple[Any, ...], output: Any) -> None:
        # Rows that are sampled go on by one token each; prompts are read many at a time.
        if args[0].shape[1] > 1:
            self.read += args[0].numel()

    def generate(self, prompts: Sequence[Prompt], sampling: Samplings) -> list[list[Completion]]:
        """Pass on, and count."""
        self.asked += sum(len(prompt.token_ids) for prompt in prompts)
        return self.engine.generate(prompts, sampling)

    def remembering(self) -> AbstractContextManager[None]:
        """Pass on."""
        return self.engine.remembering()


class Place:
    """A seed's policy and all that sampling and judging need."""

    def __init__(self, seed: int, options: argparse.Namespace) -> None:
        from pipelines import building, policies, settings, verifying

        self.options, self.seed = options, seed
        folder = options.runs / options.pattern.format(seed=seed)
        own = [f"seed={seed}", f"run_dir={folder}", "supervision=process"]
        self.config = settings.load(CONFIG, own)
        self.policy = start(self.config)
        self.model, self.tokenizer = policies.load(self.policy, self.config.policy)
        share = not options.whole_prompts
        engine = native.load(self.model, self.tokenizer, share_prefixes=share)
        self.engine = Counted(engine, self.model)
        self.verify = verifying.verifier(self.config)
        check = verifying.step_check(self.config)
        self.labeler = exact.build(Tools(self.verify, iteration=1, check_steps=check))
        self.splitter = building.splitter(self.config)

    def prompts(self, problems: Sequence[Problem]) -> dict[str, Prompt]:
        """Return the rendered prompt of each problem."""
        from pipelines.phases import sample

        rendered = sample.prompts_of(
            self.config, problems, self.tokenizer, positions(self.model.config)
        )
        return {prompt.problem_id: prompt for prompt in rendered}

    def sampling(self, group: int, seed: int) -> Sampling:
        """Return how the policy is sampled, for solutions and continuations alike."""
        return Sampling(group, self.config.max_tokens, seed=1_000_003 * self.seed + seed)

    def solutions(self, problems: Sequence[Problem], group: int, seed: int) -> Solutions:
        """Sample solutions, and label them by the exact step check."""
        prompts = self.prompts(problems)
        groups = self.engine.generate(
            [prompts[problem.id] for problem in problems], self.sampling(group, seed)
        )
        completions = [completion for group_ in groups for completion in group_]
        asked = [problem for problem in problems for _ in range(group)]
        ends = [self.splitter.split(completion.text) for completion in completions]
        truth, _ = self.labeler.label(asked, completions, ends)
        return Solutions(asked, completions, ends, truth)


def start(config: Any) -> Path:
    """Return the policy's folder after its warm start; make it where there is none."""
    from pipelines import launching
    from pipelines.phases import start as start_phase
    from pipelines.progress import Progress
    from pipelines.runs import Run

    folder: Path = config.run_dir / "start" / "policy"
    if not folder.is_dir():
        with Run(config, Progress(), launching.inline) as opened:
            opened.do(start_phase.PHASE, 0)
    return folder


def measure(seed: int, options: argparse.Namespace) -> list[Figures]:
    """Return the figures of all labelers for one seed."""
    from pipelines.datasets import arithmetic

    place = Place(seed, options)
    # Other questions than a run's own: a seed of their own, and the splits share none.
    fresh, test, validation = (
        list(itertools.islice(arithmetic.make(split, 7_000 + seed), count))
        for split, count in (
            ("train", options.problems),
            ("test", options.test),
            ("validation", options.test // 3),
        )
    )
    train = place.solutions(fresh, options.group, 1)
    held = place.solutions(test, options.group, 2)
    tuning = place.solutions(validation, options.group, 3)
    found = []
    known = labelers(place)
    for name in options.labelers:
        label = known[name]
        place.engine.asked = place.engine.read = 0
        begun = time.process_time()
        rows, cost = label(train)
        seconds = time.process_time() - begun
        figures = Figures(
            labeler=name,
            seed=seed,
            cost=cost,
            read=place.engine.read,
            asked=place.engine.asked,
            seconds=seconds,
            policy=fmean(row.correct for row in held.truth),
            label_auroc=step_auroc([row.labels for row in rows], train.truth, last=False),
            **judged(place, rows, held, tuning),
        )
        found.append(figures)
        print(figures.line(), file=sys.stderr, flush=True)
    return found


Label = Callable[[Solutions], tuple[list[LabeledSolution], LabelCost]]


def labelers(place: Place) -> dict[str, Label]:
    """Return the labelers that are compared, by what the table calls them."""

    def by(make: Callable[[Continuing], Labeler]) -> Label:
        def label(rows: Solutions) -> tuple[list[LabeledSolution], LabelCost]:
            return make(continuing(place, rows)).label(rows.problems, rows.completions, rows.ends)

        return label

    def monte(**more: Any) -> Callable[[Continuing], Labeler]:
        return lambda tools: monte_carlo.Labeler(place.verify, tools, 1, "", **more)

    return {
        "exact": lambda rows: (rows.truth, LabelCost()),
        "naive": lambda rows: by(monte(share=False, confidence=1))(apart(rows)),
        "shared": by(monte(confidence=1)),
        "default": by(monte()),
        "first_error": by(lambda tools: first_error.Labeler(place.verify, tools, 1, "")),
    }


def continuing(place: Place, rows: Solutions) -> Continuing:
    """Return what continues prefixes with the policy."""
    prompts = place.prompts(list({problem.id: problem for problem in rows.problems}.values()))
    sampling = place.sampling(place.options.continuations, 4)
    return Continuing(place.engine, prompts, sampling, place.tokenizer)


def apart(rows: Solutions) -> Solutions:
    """Give every solution a problem of its own, so that equal prefixes are continued each."""
    names = [f"{problem.id}#{row}" for row, problem in enumerate(rows.problems)]
    return replace(
        rows,
        problems=[replace(p, id=name) for p, name in zip(rows.problems, names, strict=True)],
        completions=[
            replace(c, problem_id=name) for c, name in zip(rows.completions, names, strict=True)
        ],
    )


def judged(
    place: Place, rows: list[LabeledSolution], held: Solutions, tuning: Solutions
) -> dict[str, Any]:
    """Train a process reward model on labels as the main job does, and measure it."""
    from pipelines import building
    from reward_models.first_errors import best_threshold, first_errors
    from reward_models.model import RewardModel
    from reward_models.training import train

    settings = place.config.reward_model
    model = RewardModel.from_backbone(place.policy, seed=place.seed)
    train(model, rows, settings=building.training(settings, settings.first, place.seed))
    scores, chosen = (
        model.score(
            [row.question for row in part.truth], [row.text for row in part.truth], part.ends
        )
        for part in (held, tuning)
    )
    threshold = best_threshold(chosen, [row.labels for row in tuning.truth])
    errors = first_errors(scores, [row.labels for row in held.truth], threshold=threshold)
    return {
        "flipped": flips(place, model, held),
        "auroc": step_auroc(scores, held.truth, last=True),
        "auroc_before": step_auroc(scores, held.truth, last=False),
        "f1": errors.f1 or 0.0,
        "accuracy_wrong": errors.accuracy_wrong or 0.0,
        "accuracy_right": errors.accuracy_right or 0.0,
        "threshold": threshold,
    }


def flips(place: Place, model: RewardModel, held: Solutions) -> dict[str, dict[str, float]]:
    """Return by credit rule and cut in how many outputs the first token's advantage turns."""
    from iterative_grpo.normalize import Normalizer
    from reward_models.segmentation import measure
    from reward_models.sources.model import Source

    count = 64 * place.options.group
    problems, completions = held.problems[:count], held.completions[:count]

    @functools.cache
    def score(splitter: Splitter) -> list[StepRewards]:
        return Source(model, splitter).score(problems, completions)

    found = {}
    for rule in plugins.names("iterative_grpo.advantages"):
        shifts = measure(
            score,
            place.splitter,
            [completion.text for completion in completions],
            [problem.id for problem in problems],
            plugins.find("iterative_grpo.advantages", rule).Rule(),
            Normalizer(),
        )
        found[rule] = {shift.cut: shift.flipped for shift in shifts}
    found["reward"] = {shift.cut: shift.reward_max for shift in shifts}
    return found


def step_auroc(
    rows: Sequence[Sequence[float]], truth: Sequence[LabeledSolution], *, last: bool
) -> float:
    """Return the AUROC over all steps, or over those before the last, whose label is sampled."""
    from sklearn.metrics import roc_auc_score

    cut = None if last else -1
    values = [value for row in rows for value in row[:cut]]
    right = [label >= 0.5 for row in truth for label in row.labels[:cut]]
    return float(roc_auc_score(right, values))
