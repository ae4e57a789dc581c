"""One iteration of iterative GRPO as a user would stitch it together from libraries.

TRL's `GRPOTrainer` (stock generation, stock log-probabilities), a plain loop of binary
cross-entropy over a transformers sequence classifier, Math-Verify for the truth. It is what
`whole_iteration.py` compares with, so it is written to be fast where a few lines do it: prompts and
rows are sorted by length, generation and scoring are batched, rewards are computed without
gradients, gold answers are parsed once. It does no checks, keeps no records and cannot resume.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from math_verify import parse, verify
from sklearn.metrics import roc_auc_score
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PrinterCallback,
)
from trl import GRPOConfig, GRPOTrainer

PROMPTS_AT_ONCE = 128
"""Prompts of one call of `generate`: their rows fill the products, more wait for the longest."""

ROWS_AT_ONCE = 512
"""Rows of one forward pass of the reward model without gradients."""

Question = tuple[str, str]
"""A prompt and the gold answer."""


@dataclass(frozen=True, slots=True)
class Work:
    """What an iteration does: the same numbers for both arms."""

    sampled: Sequence[Question]
    trained: Sequence[Question]
    evaluated: Sequence[Question]
    group_size: int
    max_tokens: int
    held_out: float
    epochs: int
    batch: int
    reward_learning_rate: float
    steps: int
    prompts: int
    micro_batch: int
    learning_rate: float
    beta: float
    scale: str
    seed: int


@dataclass(slots=True)
class Result:
    """What came of it: seconds by phase, and how good judge and policy are."""

    seconds: dict[str, float] = field(default_factory=dict)
    auroc: float = 0.0
    accuracy: float = 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase."""
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started


def iteration(policy: Path, work: Work, output: Path) -> Result:
    """Sample, label, train the reward model, optimize, evaluate; save both models in `output`."""
    result = Result()
    torch.manual_seed(work.seed)
    with result.phase("sample"):
        tokenizer = AutoTokenizer.from_pretrained(policy, padding_side="left")
        model = AutoModelForCausalLM.from_pretrained(policy).eval()
        answers = generate(
            model, tokenizer, [prompt for prompt, _ in work.sampled], work, sample=True
        )
    with result.phase("label"):
        rows = [
            (number, prompt + text, float(correct))
            for number, ((prompt, gold), texts) in enumerate(
                zip(work.sampled, answers, strict=True)
            )
            for text, correct in zip(texts, judge(texts, [gold] * len(texts)), strict=True)
        ]
    with result.phase("retrain"):
        reward_model, result.auroc = train_reward_model(policy, rows, work)
        reward_model.save_pretrained(output / "reward_model")
    with result.phase("optimize"):
        optimize(policy, reward_model, work, output)
    with result.phase("evaluate"):
        model = AutoModelForCausalLM.from_pretrained(output / "policy").eval()
        prompts = [prompt for prompt, _ in work.evaluated]
        found = [texts[0] for texts in generate(model, tokenizer, prompts, work, sample=False)]
        right = judge(found, [gold for _, gold in work.evaluated])
        result.accuracy = sum(right) / len(right)
    return result


def generate(
    model: Any, tokenizer: Any, prompts: Sequence[str], work: Work, *, sample: bool
) -> list[list[str]]:
    """Return completions of each prompt, prompts of similar length together."""
    ids = tokenizer(list(prompts))["input_ids"]
    order = sorted(range(len(prompts)), key=lambda index: len(ids[index]))
    answers: list[list[str]] = [[] for _ in prompts]
    group = work.group_size if sample else 1
    for begin in range(0, len(order), PROMPTS_AT_ONCE):
        chosen = order[begin : begin + PROMPTS_AT_ONCE]
        batch = tokenizer.pad({"input_ids": [ids[i] for i in chosen]}, return_tensors="pt")
        with torch.inference_mode():
            rows = model.generate(
                **batch,
                do_sample=sample,
                num_return_sequences=group,
                max_new_tokens=work.max_tokens,
                top_k=0,
            )
        new = tokenizer.batch_decode(
            rows[:, batch["input_ids"].size(1) :], skip_special_tokens=True
        )
        for place, index in enumerate(chosen):
            answers[index] = new[place * group : (place + 1) * group]
    return answers


def judge(texts: Sequence[str], golds: Sequence[str]) -> list[bool]:
    """Return whether each text's answer, after ####, is the gold one, by Math-Verify."""
    known = {gold: parse(f"${gold}$") for gold in set(golds)}
    return [
        bool(verify(known[gold], parse(f"${text.rpartition('####')[2].strip()}$")))
        for text, gold in zip(texts, golds, strict=True)
    ]


def train_reward_model(
    policy: Path, rows: Sequence[tuple[int, str, float]], work: Work
) -> tuple[Any, float]:
    """Train a classifier of whole texts; return it with its AUROC on held-out questions."""
    tokenizer = AutoTokenizer.from_pretrained(policy, padding_side="right")
    model = AutoModelForSequenceClassification.from_pretrained(policy, num_labels=1)
    draw = random.Random(work.seed)
    questions = sorted({number for number, _, _ in rows})
    kept = set(draw.sample(questions, round(work.held_out * len(questions))))
    ids = tokenizer([text for _, text, _ in rows])["input_ids"]
    train = [index for index, row in enumerate(rows) if row[0] not in kept]
    held = [index for index, row in enumerate(rows) if row[0] in kept]
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=work.reward_learning_rate, weight_decay=0.0
    )
    model.train()
    for _ in range(work.epochs):
        draw.shuffle(train)
        for begin in range(0, len(train), work.batch):
            chosen = train[begin : begin + work.batch]
            batch = tokenizer.pad({"input_ids": [ids[i] for i in chosen]}, return_tensors="pt")
            labels = torch.tensor([rows[i][2] for i in chosen])
            logits = model(**batch).logits[:, 0]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
    model.eval()
    scores = score(model, tokenizer, [ids[i] for i in held])
    return model, float(roc_auc_score([rows[i][2] for i in held], scores))


def score(model: Any, tokenizer: Any, ids: Sequence[Sequence[int]]) -> list[float]:
    """Return the probability of each text, texts of similar length together."""
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    scores = [0.0] * len(ids)
    for begin in range(0, len(order), ROWS_AT_ONCE):
        chosen = order[begin : begin + ROWS_AT_ONCE]
        batch = tokenizer.pad({"input_ids": [list(ids[i]) for i in chosen]}, return_tensors="pt")
        with torch.inference_mode():
            found = model(**batch).logits[:, 0].sigmoid().tolist()
        for index, value in zip(chosen, found, strict=True):
            scores[index] = value
    return scores


def optimize(policy: Path, reward_model: Any, work: Work, output: Path) -> None:
    """Train the policy with TRL; the truth is logged as a reward of weight 0."""
    tokenizer = AutoTokenizer.from_pretrained(policy, padding_side="left")
    judging = AutoTokenizer.from_pretrained(policy, padding_side="right")

    def learned(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
        texts = [prompt + text for prompt, text in zip(prompts, completions, strict=True)]
        return score(reward_model, judging, judging(texts)["input_ids"])

    def truth(completions: list[str], answer: list[str], **_: Any) -> list[float]:
        return [float(right) for right in judge(completions, answer)]

    rewards: list[Callable[..., list[float]]] = [learned, truth]
    trainer = GRPOTrainer(
        str(policy),
        reward_funcs=rewards,
        args=GRPOConfig(
            output_dir=str(output / "trl"),
            seed=work.seed,
            max_steps=work.steps,
            per_device_train_batch_size=work.micro_batch,
            gradient_accumulation_steps=work.prompts * work.group_size // work.micro_batch,
            num_generations=work.group_size,
            max_completion_length=work.max_tokens,
            learning_rate=work.learning_rate,
            lr_scheduler_type="constant",
            beta=work.beta,
            scale_rewards=work.scale,
            loss_type="grpo",
            use_bias_correction_kl=False,
            reward_weights=[1.0, 0.0],
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            logging_steps=1,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            model_init_kwargs={"dtype": "float32"},
        ),
        train_dataset=Dataset.from_list(
            [{"prompt": prompt, "answer": gold} for prompt, gold in work.trained]
        ),
        processing_class=tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    trainer.save_model(str(output / "policy"))
