"""One policy update: stock TRL against ours, on the same stored rollouts.

    python benchmarks/update.py --data ../shared/data --groups 8 16 --repeats 5 --threads 2

An update is what follows sampling and scoring: the reference's log-probabilities of all rows, then
for each micro-batch (one group) the loss and its gradient, then clipping and AdamW. Prompts are
GSM8K's questions, completions its worked solutions (of other questions: G different ones each),
under a tokenizer trained on them; the model is random. All arms run in turns in one process, so
that a busy machine is busy for all. Peak memory is measured in a process of its own for each arm.

Arms: `stock` is TRL's trainer; `trl`, `plain`, `prompts` and `shared` are ours by path. `trl` only
trims micro-batches; `shared` gains on `prompts` where a group repeats itself. Gradients are
compared before the first step. Model FLOPs utilisation is the work that the needed tokens take, as
a share of what large products of this type reach on this device (`bounds.py`).
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import bounds
from update_report import Memory, Run, machine, summary, table
from update_rollouts import SHAPES, arguments, make


def main() -> None:
    """Measure what was asked for and print the table."""
    options = parse()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(options.threads)
    if options.memory_arm:
        print(json.dumps(asdict(peak_memory(options))))
        return
    options.peak = bounds.products(options.device, getattr(torch, options.dtype))
    runs: list[Run] = []
    reports = []
    for group in options.groups:
        with tempfile.TemporaryDirectory() as folder:
            policy = Path(folder) / "policy"
            rollouts = make(options, group, policy)
            arms = {name: Arm(name, options, policy, rollouts, group) for name in options.arms}
            options.parameters = next(iter(arms.values())).parameters
            gradients = {name: arm.gradient_of_update() for name, arm in arms.items()}
            for repeat in range(-options.warm_up, options.repeats):
                for name, arm in arms.items():
                    run = arm.update()
                    if repeat >= 0:
                        runs.append(run)
                        print(name, group, f"{run.total:.2f} s", file=sys.stderr, flush=True)
            del arms
            memory = {
                name: memory_of(options, name, group, policy)
                for name in (options.arms if options.memory else ())
            }
        reports.append(summary(options, group, runs, gradients, memory, rollouts))
    print(table(reports))
    if options.json:
        found = {"machine": machine(options), "groups": reports, "runs": [asdict(r) for r in runs]}
        Path(options.json).write_text(json.dumps(found, indent=1) + "\n")


def parse() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with gsm8k/train.jsonl")
    parser.add_argument("--shape", choices=SHAPES, default="22m")
    parser.add_argument("--groups", type=int, nargs="+", default=[8, 16], help="G")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["stock", "plain", "shared"])
    parser.add_argument("--groups-in-micro-batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--warm-up", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--no-memory", dest="memory", action="store_false")
    parser.add_argument("--memory-arm", help=argparse.SUPPRESS)
    parser.add_argument("--policy", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


# -- arms -----------------------------------------------------------------------------------------

ARMS = ("stock", "trl", "plain", "prompts", "shared")


class Arm:
    """A trainer with its policy, reference and optimizer, and the rollouts it updates on."""

    def __init__(
        self,
        name: str,
        options: argparse.Namespace,
        policy: Path,
        rollouts: dict[str, Any],
        group: int,
    ) -> None:
        import torch

        self.name = name
        self.group = group
        self.rollouts = rollouts
        self.cuda = options.device == "cuda"
        self.rows = group * options.groups_in_micro_batch
        self.parts = len(rollouts["prompt_ids"]) // self.rows
        self.trainer = trainer(name, options, policy, self.rows, self.parts, group)
        self.trainer.current_gradient_accumulation_steps = self.parts
        self.model = self.trainer.model
        torch.manual_seed(1)
        with torch.no_grad():
            # The reference differs from the policy, so that the KL term takes part.
            for parameter in self.model.parameters():
                parameter.add_(0.02 * parameter.std() * torch.randn_like(parameter))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-6)

    @property
    def parameters(self) -> int:
        """Return the parameters that each token is multiplied with: all, the tied head once."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def update(self) -> Run:
        """Run one update and return its times."""
        import torch

        self.model.train()
        started = self.now()
        batch = self.with_reference()
        referenced = self.now()
        self.backward(batch)
        differentiated = self.now()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        stepped = self.now()
        return Run(
            self.name,
            self.group,
            referenced - started,
            differentiated - referenced,
            stepped - differentiated,
        )

    def gradient_of_update(self) -> Any:
        """Return the gradient of an update as one vector, in float64 on the CPU."""
        import torch

        self.model.train()
        self.backward(self.with_reference())
        found = [whole(p.grad).flatten() for p in self.model.parameters()]
        gradient = torch.cat(found).double().cpu()
        self.optimizer.zero_grad(set_to_none=True)
        return gradient

    def with_reference(self) -> dict[str, Any]:
        """Return the rollouts with the reference's log-probabilities."""
        import torch

        batch = dict(self.rollouts)
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
        mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
        with torch.no_grad():
            batch["ref_per_token_logps"], _, _ = self.trainer._get_per_token_logps_and_entropies(
                self.trainer.ref_model,
                ids,
                mask,
                batch["completion_ids"].size(1),
                batch_size=self.rows,
            )
        return batch

    def backward(self, batch: dict[str, Any]) -> None:
        """Accumulate the gradient over micro-batches, cut as the trainer cuts them."""
        from trl.trainer.utils import shuffle_sequence_dict, split_tensor_dict

        from iterative_grpo.trl_seam.batches import split_rows, trim

        if self.name == "stock":
            parts = split_tensor_dict(shuffle_sequence_dict(batch), self.parts)
        else:
            parts = [trim(part) for part in split_rows(batch, self.parts)]
        for part in parts:
            self.trainer._compute_loss(self.model, part).backward()

    def now(self) -> float:
        """Return the time at which all work so far is done."""
        import torch

        if self.cuda:
            torch.cuda.synchronize()
        return time.perf_counter()


def whole(gradient: Any) -> Any:
    """Return a gradient, put together if it is in shards."""
    return gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient


def trainer(
    name: str, options: argparse.Namespace, policy: Path, rows: int, parts: int, group: int
) -> Any:
    """Return the trainer of an arm, with its reference."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOTrainer

    from iterative_grpo.advantages.outcome import Rule
    from iterative_grpo.normalize import Normalizer
    from iterative_grpo.trainer import Credit, IterativeGRPOTrainer, Task
    from iterative_grpo.types import Problem, Prompt

    dtype = getattr(torch, options.dtype)
    args = arguments(
        policy,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=parts,
        num_generations=group,
        use_cpu=options.device != "cuda",
        model_init_kwargs={"dtype": options.dtype} if name == "stock" else None,
    )
    tokenizer = AutoTokenizer.from_pretrained(policy)
    if name == "stock":
        stock = GRPOTrainer(
            str(policy),
            reward_funcs=[no_reward],
            args=args,
            train_dataset=Dataset.from_list([{"prompt": "1+1="}] * rows),
            processing_class=tokenizer,
        )
        stock.model.to(options.device)
        return stock
    problem = Problem("toy/0", "1+1=", "2", "toy")
    prompt = Prompt(problem.id, tuple(tokenizer(problem.question)["input_ids"]))
    ours = IterativeGRPOTrainer(
        AutoModelForCausalLM.from_pretrained(policy, dtype=dtype),
        args=args,
        task=Task([problem] * rows, [prompt] * rows, [problem.question] * rows),
        source=NoSource(),
        credit=Credit(Rule(), Normalizer()),
        tokenizer=tokenizer,
    )
    ours.logps_path = name
    ours.model.to(options.device)
    logging.getLogger("iterative_grpo.logps.paths").addFilter(refuse)
    return ours


def refuse(record: logging.LogRecord) -> bool:
    """End a comparison in which an arm leaves the path that it is named for."""
    raise SystemExit(record.getMessage())


def no_reward(**_: Any) -> list[float]:
    """Stand where TRL wants a reward: rollouts are stored with their advantages."""
    raise RuntimeError("nothing is scored here")


class NoSource:
    """Stands where our trainer wants a reward source."""

    def score(self, problems: Any, completions: Any) -> Any:
        """Score nothing."""
        raise RuntimeError("nothing is scored here")


# -- memory ---------------------------------------------------------------------------------------


def memory_of(options: argparse.Namespace, arm: str, group: int, policy: Path) -> Memory:
    """Measure an arm's memory in a process of its own."""
    command = [sys.executable, __file__, "--memory-arm", arm, "--policy", str(policy)]
    for name in ("data", "shape", "prompts", "groups_in_micro_batch", "threads", "device", "dtype"):
        command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    # Blocks of a megabyte go back to the system when freed, so that resident means in use.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_ARENA_MAX": "2"}
    done = subprocess.run(
        [*command, "--groups", str(group)],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return Memory(**json.loads(done.stdout.splitlines()[-1]))


def peak_memory(options: argparse.Namespace) -> Memory:
    """Return this process's memory over an update that finds the optimizer's state made."""
    import gc

    import torch

    (group,) = options.groups
    rollouts = make(options, group, options.policy)
    arm = Arm(options.memory_arm, options, options.policy, rollouts, group)
    for parameter in arm.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    arm.optimizer.step()
    arm.optimizer.zero_grad(set_to_none=True)
    gc.collect()
    if options.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        arm.update()
        return Memory(before, torch.cuda.max_memory_allocated())
    # Linux: 5 resets the peak of resident memory (proc_pid_clear_refs(5)).
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    arm.update()
    return Memory(before, resident("VmHWM"))


def resident(field: str) -> int:
    """Return a size of this process in bytes, from /proc/self/status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/self/status has no {field}; memory is measured on Linux only")


if __name__ == "__main__":
    main()
