"""The seam to TRL: a `GRPOTrainer` with rewards at step ends and credit for each token.

What is overridden, and why (TRL pinned to 1.16; tests/iterative_grpo/test_trl_seam.py guards the
signatures):

- `_tokenize_prompts`: prompts were rendered and tokenised once, in the data phase.
- `_generate_single_turn`: another engine may sample (`engines/`), one group at a time.
- `_calculate_rewards`: completions become records, the reward source scores them.
- `_generate_and_score_completions`: TRL's advantage per output becomes ours per token (B, T).
- `_prepare_inputs`: micro-batches keep a group together and are trimmed to their longest row.
- `_get_per_token_logps_and_entropies`: `logps/` computes a group's prompt once.

The reference is the policy of the phase's start: TRL loads it from the path the policy was loaded
from, so the policy must come from a path; a model object that has been trained since would get
stale weights as its reference in silence.
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from accelerate.utils import gather_object
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from iterative_grpo.batches import split_rows, trim
from iterative_grpo.logps.paths import Logps, Path
from iterative_grpo.normalize import Normalizer
from iterative_grpo.protocols import CreditRule, Engine, RewardSource
from iterative_grpo.rollouts import Rollout, health
from iterative_grpo.steps import TokenSteps
from iterative_grpo.types import Completion, Finish, Problem, Prompt, Sampling, StepRewards


@dataclass(frozen=True, slots=True)
class Credit:
    """How step rewards become token advantages: the rule and the normalisation it is given."""

    rule: CreditRule
    normalize: Normalizer

    def advantages(self, rewards: Sequence[StepRewards], group_size: int) -> list[list[float]]:
        """Return the step advantages of consecutive groups of `group_size` outputs (N, S)."""
        values = [list(reward.values) for reward in rewards]
        groups = [values[i : i + group_size] for i in range(0, len(values), group_size)]
        credited = self.rule.credit(groups, self.normalize)
        return [output for group in credited for output in group]


@dataclass(frozen=True, slots=True)
class Task:
    """The problems of a training phase with their prompts, in the order they are trained on.

    The order is fixed beforehand, one row a visit: TRL's own shuffling does not survive a resume.
    """

    problems: Sequence[Problem]
    prompts: Sequence[Prompt]
    texts: Sequence[str]

    def __post_init__(self) -> None:
        if not len(self.problems) == len(self.prompts) == len(self.texts):
            raise ValueError(
                f"{len(self.problems)} problems, {len(self.prompts)} prompts and "
                f"{len(self.texts)} texts; each problem needs one of each"
            )


class IterativeGRPOTrainer(GRPOTrainer):
    """GRPO under outcome or process supervision, for one policy phase of Algorithm 1.

    `logps_path` may be set to "plain" or "trl" to compare (`logps/`).
    """

    logps_path: Path = "shared"

    def __init__(
        self,
        model: str | PreTrainedModel,
        *,
        args: GRPOConfig,
        task: Task,
        source: RewardSource,
        credit: Credit,
        tokenizer: PreTrainedTokenizerBase,
        truth: Callable[[Sequence[Problem], Sequence[Completion]], list[bool]] | None = None,
        engine: Callable[[PreTrainedModel, PreTrainedTokenizerBase], Engine] | None = None,
        record: Callable[[int, list[Rollout]], None] | None = None,
        callbacks: list[TrainerCallback] | None = None,
        peft_config: Any = None,
        optimizers: tuple[Any, Any] = (None, None),
    ) -> None:
        """Set up one phase.

        Args:
            model: where the policy lies: a path or hub name, or a model loaded from there and not
                trained since.
            args: TRL's settings; `shuffle_dataset` is set to False, the order is `task`'s.
            task: problems and prompts, one row a visit, in training order.
            source: scores completions; all that the trainer knows of rewards.
            credit: turns step rewards into step advantages.
            tokenizer: the policy's, with a pad token.
            truth: verdicts of the same completions, for the log only; never a reward.
            engine: makes the sampler from the live policy; None samples with TRL's own paths
                (`generate`, or vLLM with `args.use_vllm`).
            record: receives (step, this process's rollouts) after every generation.
            callbacks: as in transformers.
            peft_config: as in TRL; the reference is then the policy without the new adapter.
            optimizers: as in transformers.
        """
        rows = [{"prompt": text, "row": row} for row, text in enumerate(task.texts)]
        args.shuffle_dataset = False
        self._task = task
        self._source = source
        self._credit = credit
        self._truth = truth
        self._record = record
        self._token_steps = TokenSteps(tokenizer)
        self._prompt_ids = {
            text: list(prompt.token_ids)
            for text, prompt in zip(task.texts, task.prompts, strict=True)
        }
        self._scored: _Scored | None = None
        self._sampler: Engine | None = None
        self._buffered_inputs: list[dict[str, Any]] | None = None
        self._seconds: defaultdict[str, float] = defaultdict(float)
        super().__init__(
            model=model,
            reward_funcs=[_named_reward],
            args=args,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            callbacks=callbacks,
            peft_config=peft_config,
            optimizers=optimizers,
        )
        if engine is not None:
            self._sampler = engine(self.accelerator.unwrap_model(self.model), tokenizer)

    # -- sampling ---------------------------------------------------------------------------------

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [list(self._prompt_ids[prompt]) for prompt in prompts], None, {}

    def _generate_single_turn(
        self,
        prompt_ids: list[list[int]],
        images: Any,
        multimodal_fields: dict[str, Any],
        num_generations: int,
        has_tool_images: bool = False,
    ) -> tuple[list[list[int]], Any]:
        with self._timed("generate"):
            if self._sampler is not None:
                return self._sample_groups(self._sampler, prompt_ids), None
            sampled: tuple[list[list[int]], Any] = super()._generate_single_turn(
                prompt_ids, images, multimodal_fields, num_generations, has_tool_images
            )
            return sampled

    def _sample_groups(self, engine: Engine, prompt_ids: list[list[int]]) -> list[list[int]]:
        """Sample each run of equal prompts as one group: a group may be cut by a process border."""
        runs: list[tuple[list[int], int]] = []
        for ids in prompt_ids:
            if runs and runs[-1][0] == ids and runs[-1][1] < self.num_generations:
                runs[-1] = (ids, runs[-1][1] + 1)
            else:
                runs.append((ids, 1))
        sampled: list[list[int]] = [[] for _ in prompt_ids]
        starts = [0]
        for _, size in runs:
            starts.append(starts[-1] + size)
        # One call for each size of run: groups that process borders cut have sizes of their own.
        for size in sorted({size for _, size in runs}):
            chosen = [index for index, (_, n) in enumerate(runs) if n == size]
            groups = engine.generate(
                [Prompt(f"{starts[index]}", tuple(runs[index][0])) for index in chosen],
                Sampling(
                    group_size=size,
                    max_tokens=self.max_completion_length,
                    temperature=self.temperature,
                    top_p=self.top_p,
                    top_k=self.top_k or 0,
                    seed=self._sampling_seed(),
                ),
            )
            for index, group in zip(chosen, groups, strict=True):
                for offset, completion in enumerate(group):
                    sampled[starts[index] + offset] = list(completion.token_ids)
        return sampled

    def _sampling_seed(self) -> int:
        # Each generation and each process its own, the same again after a resume.
        step = int(self.state.global_step) * int(self.accelerator.num_processes)
        return int(self.args.seed) * 1_000_003 + step + int(self.accelerator.process_index)

    # -- rewards and credit -----------------------------------------------------------------------

    def _calculate_rewards(
        self,
        inputs: list[dict[str, Any]],
        prompts: list[Any],
        completions: list[Any],
        completion_ids_list: list[list[int]],
    ) -> torch.Tensor:
        problems = [self._task.problems[row["row"]] for row in inputs]
        records = [
            Completion(
                problem_id=problem.id,
                sample=index % self.num_generations,
                text=text,
                token_ids=tuple(ids),
                finish=Finish.STOP if ids[-1] in self.eos_token_ids else Finish.LENGTH,
            )
            for index, (problem, text, ids) in enumerate(
                zip(problems, completions, completion_ids_list, strict=True)
            )
        ]
        with self._timed("score"):
            rewards = self._source.score(problems, records)
        if len(rewards) != len(records):
            raise ValueError(
                f"the reward source returned {len(rewards)} rewards for {len(records)} completions;"
                " score() returns one StepRewards for each completion"
            )
        truth = None
        if self._truth is not None:
            with self._timed("verify"):
                truth = self._truth(problems, records)
        self._scored = _Scored(problems, records, rewards, truth)
        # TRL's tables show one number an output: the mean of its step rewards.
        means = [sum(reward.values) / len(reward.values) for reward in rewards]
        column = torch.tensor(means, dtype=torch.float32, device=self.accelerator.device)
        gathered: torch.Tensor = self.accelerator.gather(column.unsqueeze(1))
        return gathered

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        scored = self._scored
        if scored is None:
            raise RuntimeError("TRL did not ask for rewards; is trl>=1.16,<1.17 installed?")
        self._scored = None
        mode = "train" if self.model.training else "eval"
        group_size = self.num_generations if mode == "train" else self.num_generations_eval
        # A group may span processes, so every process credits all of them and keeps its own.
        everybody: list[StepRewards] = gather_object(list(scored.rewards))
        advantages = self._credit.advantages(everybody, group_size)
        first = self.accelerator.process_index * len(inputs)
        own = advantages[first : first + len(inputs)]
        completion_ids = output["completion_ids"]
        output["advantages"] = self._spread(scored, own, completion_ids)
        rollouts = [
            Rollout(
                problem_id=problem.id,
                sample=completion.sample,
                text=completion.text,
                tokens=len(completion.token_ids),
                finish=completion.finish,
                rewards=reward,
                advantages=tuple(advantage),
                correct=None if scored.truth is None else scored.truth[index],
            )
            for index, (problem, completion, reward, advantage) in enumerate(
                zip(scored.problems, scored.completions, scored.rewards, own, strict=True)
            )
        ]
        gathered: list[Rollout] = gather_object(rollouts)
        for name, value in health(gathered, group_size, self._credit.normalize).items():
            self._metrics[mode][name].append(value)
        if mode == "train" and self._record is not None:
            self._record(int(self.state.global_step) + 1, rollouts)
        return output

    def _spread(
        self, scored: _Scored, advantages: Sequence[Sequence[float]], completion_ids: torch.Tensor
    ) -> torch.Tensor:
        """Put each step's advantage on the step's tokens (B, T); padding gets 0."""
        spread_BT = torch.zeros(completion_ids.shape, dtype=torch.float32)
        for row, (completion, reward, steps) in enumerate(
            zip(scored.completions, scored.rewards, advantages, strict=True)
        ):
            of_tokens = self._token_steps.steps_of_tokens(
                completion.token_ids, completion.text, reward.ends
            )
            spread_BT[row, : len(of_tokens)] = torch.tensor([steps[k] for k in of_tokens])
        return spread_BT.to(completion_ids.device)

    # -- updates ----------------------------------------------------------------------------------

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        """Generate when it is time, and hand out micro-batches that keep groups together.

        TRL shuffles the rows of a generation before it slices them; here the slices are the groups
        in their order, each trimmed to its longest row. The loss is a mean over rows (or tokens)
        of the whole optimizer step, so the order changes nothing in it.
        """
        if not self.model.training:
            prepared: dict[str, Any] = super()._prepare_inputs(generation_batch)
            return prepared
        slices = self.args.steps_per_generation
        if self._step % (slices * self.num_iterations) == 0 or self._buffered_inputs is None:
            batch = self._generate_and_score_completions(generation_batch)
            self._buffered_inputs = [trim(part) for part in split_rows(batch, slices)]
        inputs: dict[str, Any] = self._buffered_inputs[self._step % slices]
        return inputs

    @cached_property
    def _logps(self) -> Logps:
        return Logps(self.temperature, self.accelerator.autocast)

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **media: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        stock = super()._get_per_token_logps_and_entropies
        scores = None
        if compute_aux_loss or any(value is not None for value in media.values()):
            self._logps.say("log-probabilities come from TRL: it knows experts' loss and images")
        else:
            scores = self._logps(
                model,
                input_ids,
                attention_mask,
                logits_to_keep,
                wanted=self.logps_path,
                entropy=compute_entropy,
                stock=lambda *rows: stock(model, *rows)[0],
            )
        if scores is not None:
            return *scores, None
        from_trl: tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None] = stock(
            model,
            input_ids,
            attention_mask,
            logits_to_keep,
            batch_size,
            compute_entropy,
            compute_aux_loss,
            **media,
        )
        return from_trl

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Run one micro-batch, and time it apart from the sampling and scoring it may start."""
        outside = sum(self._seconds.values()) - self._seconds["train"]
        started = time.perf_counter()
        loss: torch.Tensor = super().training_step(*args, **kwargs)
        outside = sum(self._seconds.values()) - self._seconds["train"] - outside
        self._seconds["train"] += time.perf_counter() - started - outside
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the seconds that each part took since the last log."""
        if self.model.training:
            logs.update({f"time/{part}": seconds for part, seconds in self._seconds.items()})
            self._seconds.clear()
        super().log(logs, start_time)

    @contextlib.contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[part] += time.perf_counter() - started


@dataclass(frozen=True, slots=True)
class _Scored:
    """What this process's completions got, between scoring and credit."""

    problems: Sequence[Problem]
    completions: Sequence[Completion]
    rewards: Sequence[StepRewards]
    truth: Sequence[bool] | None


def _named_reward(**_: Any) -> list[float]:
    raise RuntimeError("rewards come from the reward source, TRL's reward functions are not used")


_named_reward.__name__ = "source"
