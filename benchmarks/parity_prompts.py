"""Our prompts beside lm-eval's, byte for byte."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import parity_lm_eval
from pipelines import datasets, prompts

FORMATS = (
    ("gsm8k", "lm_eval_gsm8k", False),
    ("gsm8k_cot", "lm_eval_gsm8k_cot", False),
    ("gsm8k_cot", "gsm8k_8shot", False),
    ("gsm8k_cot", "gsm8k_8shot_chat", True),
    ("minerva_math", "lm_eval_minerva_math", False),
    ("minerva_math", "minerva_4shot_chat", True),
)
"""lm-eval's task, our format, and whether both go through a chat template, turn by turn."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """How many prompts of a format are lm-eval's; `first` is the sha256 of the first one."""

    task: str
    name: str
    same: int
    compared: int
    stop_same: bool
    first: str


def compare(data: Path, limit: int | None) -> list[Prompts]:
    """Render every test question both ways."""
    found = []
    for task, name, chat in FORMATS:
        made = parity_lm_eval.task(task, data)
        form = prompts.find(name, data)
        problems = datasets.load(parity_lm_eval.FOLDER[task], "test", path=data).problems[:limit]
        template: dict[str, Any] = {}
        if chat:
            template = {
                "apply_chat_template": True,
                "fewshot_as_multiturn": True,
                "chat_template": lambda turns, add_generation_prompt: _Turns().apply_chat_template(
                    turns, tokenize=False, add_generation_prompt=add_generation_prompt
                ),
            }
        shots = made.config.num_fewshot
        texts = [form.render(problem, _Turns()) for problem in problems]  # type: ignore[arg-type]
        theirs = [
            made.fewshot_context(row, shots, **template)
            for row, _ in zip(made.test_docs(), problems, strict=limit is None)
        ]
        found.append(
            Prompts(
                task=task,
                name=name,
                same=sum(a == b for a, b in zip(texts, theirs, strict=True)),
                compared=len(texts),
                stop_same=set(form.STOP) == set(made.config.generation_kwargs["until"]),
                first=hashlib.sha256(texts[0].encode()).hexdigest(),
            )
        )
    return found


class _Turns:
    """A tokenizer's chat template that shows where turns begin."""

    chat_template = "written below"
    name_or_path = ""

    def get_chat_template(self) -> str:
        return self.chat_template

    def apply_chat_template(
        self,
        turns: list[dict[str, str]],
        *,
        tokenize: bool,
        add_generation_prompt: bool,
        chat_template: str = "",
    ) -> str:
        text = "".join(f"<{turn['role']}>{turn['content']}</{turn['role']}>" for turn in turns)
        return text + ("<assistant>" if add_generation_prompt else "")
