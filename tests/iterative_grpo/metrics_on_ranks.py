"""What is logged and which collectives it takes, deferred and TRL's way, as a script.

accelerate launch ... metrics_on_ranks.py POLICY OUTPUT
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from iterative_grpo.advantages.sum import Rule
from iterative_grpo.normalize import Normalizer
from iterative_grpo.splitters.lines import Splitter
from iterative_grpo.trainer import Credit, IterativeGRPOTrainer, Task
from iterative_grpo.trl_seam.rows import EngineRows
from iterative_grpo.types import Problem, Prompt
from pipelines import world
from tests.iterative_grpo.test_trainer import DigitSource, G, arguments
from tests.iterative_grpo.train_on_ranks import GivenEngine

ACCUMULATION = 4
STEPS = 2

CASES: dict[str, dict[str, Any]] = {
    "grpo": {},
    "every second step": {"logging_steps": 2},
    # A row without tokens has no mean: NaN, which the extremes leave out.
    "empty rows": {"max_completion_length": 4, "mask_truncated_completions": True},
    "entropy bonus": {"loss_type": "dapo", "entropy_coef": 0.01},
    # A table has a row for every output of every process.
    "table": {"log_completions": True, "num_completions_to_print": 0},
    # Deferred, it goes on behind the first step.
    "resumed": {"num_iterations": 1, "save_strategy": "steps", "save_steps": 1},
    # The loss itself needs the other processes.
    "entropy quantile": {"top_entropy_quantile": 0.5},
    "adaptive entropy": {"entropy_coef": 0.01, "use_adaptive_entropy": True},
}

COLLECTIVES = ("all_reduce", "all_gather", "all_gather_into_tensor", "all_gather_object")
COLLECTIVES += ("broadcast", "broadcast_object_list", "reduce", "gather", "barrier")

counts: Counter[str] = Counter()


def count(name: str) -> None:
    """Count calls of a function of torch.distributed by who asked for them."""
    original: Callable[..., Any] = getattr(torch.distributed, name)

    def counted(*args: Any, **kwargs: Any) -> Any:
        counts[asker(sys._getframe(1))] += 1
        return original(*args, **kwargs)

    setattr(torch.distributed, name, counted)


def asker(frame: FrameType | None) -> str:
    """Return the function of a trainer, or of this project, that a call comes from."""
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.stem in ("grpo_trainer", "trainer") or path.parent.name == "trl_seam":
            return f"{path.stem}.{frame.f_code.co_name}"
        frame = frame.f_back
    return "elsewhere"


def run(policy: str, output: Path, defer: bool, more: dict[str, Any]) -> dict[str, Any]:
    trainer = prepare(policy, output, defer, more)
    counts.clear()
    trainer.train()
    found = dict(counts)
    if not more:
        trainer.evaluate(trainer.train_dataset)
    if defer and "save_steps" in more:
        trainer = prepare(policy, output, defer, more)
        trainer.train(resume_from_checkpoint=str(output / "out" / "checkpoint-1"))
    return {"logs": trainer.state.log_history, "collectives": found}


def prepare(policy: str, output: Path, defer: bool, more: dict[str, Any]) -> IterativeGRPOTrainer:
    tokenizer = AutoTokenizer.from_pretrained(policy)
    problems = [Problem(f"toy/{i}", f"{i}+{i}=", str(2 * i), "toy") for i in range(8)]
    prompts = [Prompt(p.id, tuple(tokenizer(p.question)["input_ids"])) for p in problems]
    settings = {
        "per_device_train_batch_size": G,
        "per_device_eval_batch_size": G,
        "gradient_accumulation_steps": ACCUMULATION,
        "max_steps": STEPS,
        "logging_steps": 1,
        # The second update of a generation has ratios that differ from one, and are clipped.
        "num_iterations": 2,
    }
    trainer = IterativeGRPOTrainer(
        AutoModelForCausalLM.from_pretrained(policy),
        args=arguments(output, **{**settings, **more}),
        task=Task(problems, prompts, [p.question for p in problems]),
        source=DigitSource(Splitter()),
        credit=Credit(Rule(), Normalizer()),
        tokenizer=tokenizer,
    )
    trainer.defer_metrics = defer
    # Other outputs on each process, of other lengths.
    trainer._rows = EngineRows(GivenEngine(tokenizer, first=3 * trainer.accelerator.process_index))
    return trainer


def main(policy: str, output: Path) -> None:
    for name in COLLECTIVES:
        count(name)
    results = {
        f"{name}: {way}": run(policy, output, way == "deferred", more)
        for name, more in CASES.items()
        for way in ("TRL", "deferred")
    }
    rank = torch.distributed.get_rank()
    (output / f"results-{rank}.json").write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
    world.leave()
