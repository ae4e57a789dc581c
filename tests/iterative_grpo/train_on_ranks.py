"""One training step whose rollouts are given, as a script for one or several processes.

accelerate launch ... train_on_ranks.py POLICY OUTPUT ROWS_A_PROCESS
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from iterative_grpo.advantages.sum import Rule
from iterative_grpo.engines._requests import per_prompt
from iterative_grpo.normalize import Normalizer
from iterative_grpo.protocols import Samplings
from iterative_grpo.rollouts import Rollout
from iterative_grpo.splitters.lines import Splitter
from iterative_grpo.trainer import Credit, IterativeGRPOTrainer, Task
from iterative_grpo.trl_seam.rows import EngineRows
from iterative_grpo.types import Completion, Finish, Problem, Prompt
from pipelines import world
from tests.iterative_grpo.test_trainer import DigitSource, G, arguments

OUTPUTS = ["1\n22\n3ab", "ab\ncd", "7", "a1\nb\n9\n99", "00\na", "cd\n5\nef", "", "8\n8\n8", "h\n1"]


class GivenEngine:
    """Answers each prompt with the next of a fixed list, wherever and however often it is asked."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, first: int) -> None:
        self.tokenizer = tokenizer
        self.next = first

    def generate(self, prompts: Sequence[Prompt], sampling: Samplings) -> list[list[Completion]]:
        groups = []
        for prompt, own in zip(prompts, per_prompt(prompts, sampling), strict=True):
            group = []
            for sample in range(own.group_size):
                row = self.next + int(prompt.problem_id) + sample
                answer = self.tokenizer(OUTPUTS[row % len(OUTPUTS)])["input_ids"]
                whole = (*answer, self.tokenizer.eos_token_id)
                ids = whole[: own.max_tokens]
                text = str(self.tokenizer.decode(list(ids), skip_special_tokens=True))
                finish = Finish.STOP if ids == whole else Finish.LENGTH
                group.append(Completion(prompt.problem_id, sample, text, ids, finish))
            groups.append(group)
        return groups


def main(policy: str, output: Path, rows: int) -> None:
    tokenizer = AutoTokenizer.from_pretrained(policy)
    problems = [Problem(f"toy/{i}", f"{i}+{i}=", str(2 * i), "toy") for i in range(3)]
    prompts = [Prompt(p.id, tuple(tokenizer(p.question)["input_ids"])) for p in problems]
    mine: list[dict[str, object]] = []

    def record(step: int, rollouts: list[Rollout]) -> None:
        mine.extend(rollout.as_row(step=step) for rollout in rollouts)

    trainer = IterativeGRPOTrainer(
        AutoModelForCausalLM.from_pretrained(policy),
        args=arguments(
            output,
            per_device_train_batch_size=rows,
            gradient_accumulation_steps=1,
            num_generations=G,
            max_steps=1,
        ),
        task=Task(problems, prompts, [p.question for p in problems]),
        source=DigitSource(Splitter()),
        credit=Credit(Rule(), Normalizer()),
        tokenizer=tokenizer,
        record=record,
    )
    rank = trainer.accelerator.process_index
    trainer._rows = EngineRows(GivenEngine(tokenizer, first=rank * rows))
    trainer.train()
    (output / f"rollouts-{rank}.json").write_text(json.dumps(mine), encoding="utf-8")
    if rank == 0:
        trainer.accelerator.unwrap_model(trainer.model).save_pretrained(output / "after")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    world.leave()
