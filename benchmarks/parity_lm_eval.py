"""lm-eval's tasks on local files: its own prompts, filters and metrics, nothing rewritten."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.parity_rows import Row
from iterative_grpo import stops

FEWSHOT_SEED = 1234
"""What lm-eval seeds its examples with unless told otherwise (`--seed`, the fourth number)."""

YAML = {
    "gsm8k": "gsm8k/gsm8k.yaml",
    "gsm8k_cot": "gsm8k/gsm8k-cot.yaml",
    "minerva_math": "minerva_math/minerva_math_algebra.yaml",
}
# The seven subjects' files of minerva_math differ in the subject alone.
FOLDER = {"gsm8k": "gsm8k", "gsm8k_cot": "gsm8k", "minerva_math": "math"}


def version() -> str:
    """Return the installed lm-eval's version.

    Raises SystemExit with a way out where it is missing.
    """
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("lm_eval")
    except PackageNotFoundError:
        raise SystemExit(
            "lm-eval is not installed here: pip install -e '.[parity]' in an environment of its own"
        ) from None


def task(name: str, data: Path) -> Any:
    """Return a task of lm-eval as its YAML file has it, on the rows of a folder."""
    version()
    os.environ |= {"HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}
    warnings.filterwarnings("ignore", category=SyntaxWarning)
    import datasets
    import lm_eval.tasks
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    datasets.disable_progress_bars()
    folder = data.resolve() / FOLDER[name]
    config = load_yaml(Path(lm_eval.tasks.__file__).parent / YAML[name])
    config.pop("tag", None)
    files = {split: str(folder / f"{split}.jsonl") for split in ("train", "test")}
    config |= {
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": files},
    }
    made = ConfigurableTask(config=config)
    made.set_fewshot_seed(FEWSHOT_SEED)
    return made


def gsm8k_scores(made: Any, rows: Sequence[Row]) -> dict[str, list[tuple[bool, str]]]:
    """Return (right, what was extracted) of every row, for each of the task's filters."""
    from lm_eval.api.instance import Instance

    instances = [
        Instance("generate_until", {"question": row.question, "answer": row.solution}, (), 0)
        for row in rows
    ]
    for instance, row in zip(instances, rows, strict=True):
        instance.resps = [_generated(made, row)]
    scores = {}
    for ensemble in made._filters:
        ensemble.apply(instances)
        name = ensemble.name
        scores[name] = [
            (
                bool(made.process_results(each.doc, [each.filtered_resps[name]])["exact_match"]),
                str(each.filtered_resps[name]),
            )
            for each in instances
        ]
    return scores


def math_verify_scores(made: Any, rows: Sequence[Row]) -> list[tuple[bool, str]]:
    """Return (right, nothing) of every row by minerva_math's `math_verify`."""
    found = []
    for row in rows:
        answer = {"problem": row.question, "solution": row.solution, "answer": row.gold}
        results = made.process_results(answer, [_generated(made, row)])
        found.append((bool(results["math_verify"]), ""))
    return found


def parsed(text: str) -> str:
    """Return what Math-Verify reads in a text."""
    from math_verify import parse

    return str(parse(text))


def _generated(made: Any, row: Row) -> str:
    """Return what generation would have returned: lm-eval ends an answer at its stop strings."""
    return stops.before(row.response, made.config.generation_kwargs["until"])
