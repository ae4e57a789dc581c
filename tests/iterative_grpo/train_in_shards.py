"""A few training steps with an engine and the initial policy, on processes that may shard it.

accelerate launch ... train_in_shards.py POLICY OUTPUT SETTINGS (JSON: engine, path, and TRL's)
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.distributed.fsdp import FSDPModule
from transformers import AutoModelForCausalLM

from benchmarks import shards_on_cpu
from iterative_grpo import plugins
from iterative_grpo.divergence import Initial
from iterative_grpo.rollouts import Rollout
from pipelines import world


def main(
    policy: Path, output: Path, engine: str | None, path: str, more: dict[str, object]
) -> None:
    from tests.iterative_grpo.test_trainer import G, make

    initial = AutoModelForCausalLM.from_pretrained(policy).requires_grad_(False)
    rollouts: list[tuple[int, list[Rollout]]] = []
    trainer = make(
        policy,
        output,
        engine=engine and plugins.find("iterative_grpo.engines", engine).load,
        initial=Initial(initial, G),
        rollouts=rollouts,
        logging_steps=1,
        **more,
    )
    trainer.logps_path = path
    held: list[bool] = []
    trainer.training_step = partial(watched, trainer, trainer.training_step, held)
    trainer.train()
    found = {
        "kind": str(trainer.accelerator.distributed_type.value),
        "steps": [log for log in trainer.state.log_history if "loss" in log],
        "texts": [rollout.text for _, rows in rollouts for rollout in rows],
        "gradients are in shards": all(held),
        "gathered by layers": all(
            isinstance(model.model.layers[0], FSDPModule)
            for model in (trainer.ref_model, trainer._initial.model)
            if isinstance(model, FSDPModule)
        ),
        "said": sorted(trainer._logps._said),
    }
    finished = trainer.finished()
    with trainer._sharding.sampling():
        if engine is not None and finished is not None:
            model = trainer._rows.engine.model
            sampled = dict(model.named_parameters())
            found["sampled is finished"] = all(
                torch.equal(sampled[name], weight.to(sampled[name].dtype))
                for name, weight in finished.named_parameters()
            )
            found["frequencies"] = str(model.model.rotary_emb.inv_freq.dtype)
    if finished is not None:
        digest = hashlib.sha256()
        for weight in finished.parameters():
            digest.update(weight.detach().cpu().numpy().tobytes())
        found["weights"] = digest.hexdigest()
    rank = trainer.accelerator.process_index
    (output / f"found-{rank}.json").write_text(json.dumps(found), encoding="utf-8")
    if rank == 0:
        finished.save_pretrained(output / "after")


def watched(
    trainer: Any, step: Callable[..., torch.Tensor], held: list[bool], *batch: Any
) -> torch.Tensor:
    loss = step(*batch)
    # What a process keeps of a gradient that was not exchanged is beside the parameters.
    held.append(all(p.grad is not None for p in trainer.model.parameters()))
    return loss


if __name__ == "__main__":
    if world.sharded():
        shards_on_cpu.allow()
        world.settle("optimize")
    settings = json.loads(sys.argv[3])
    main(
        Path(sys.argv[1]), Path(sys.argv[2]), settings.pop("engine"), settings.pop("path"), settings
    )
    world.leave()
