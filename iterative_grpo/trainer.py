"""The seam to TRL: a `GRPOTrainer` with rewards at step ends and credit for each token.

What is overridden, and why (TRL pinned to 1.16; tests/iterative_grpo/test_trl_seam.py guards the
signatures):

- `_tokenize_prompts`: prompts were rendered and tokenised once, in the data phase.
- `_generate_single_turn`: another engine may sample (`engines/`), one group at a time.
- `_calculate_rewards`: completions become records, the reward source scores them.
- `_generate_and_score_completions`: TRL's advantage per output becomes ours per token (B, T).
- `_prepare_inputs`: micro-batches keep a group together and are trimmed to their longest row.
- `_get_per_token_logps_and_entropies`: `logps/` computes a group's prompt once.
- `_compute_loss`, `_generate`: metrics of all processes come together in one collective a log, and
  with the rewards (`deferred_metrics.py`, `generation_metrics.py`); outputs that an engine has
  decoded are not decoded again (`rows.py`).

The reference is the policy as it is given: a copy of it. Where none can be made (`reference.py`),
TRL loads the reference from the path that the policy was loaded from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import add_fused_lm_head

from iterative_grpo import timing
from iterative_grpo.credit import Credit
from iterative_grpo.divergence import Initial, Moved, moved, together
from iterative_grpo.engines._endings import eos_token_ids
from iterative_grpo.engines._quiet import without_defaults
from iterative_grpo.health import health
from iterative_grpo.logps.paths import Logps, Path
from iterative_grpo.protocols import Engine, RewardSource
from iterative_grpo.rollouts import Rollout
from iterative_grpo.sharding import Sharding, largest
from iterative_grpo.steps import TokenSteps
from iterative_grpo.trl_seam import reference
from iterative_grpo.trl_seam.batches import split_rows, trim
from iterative_grpo.trl_seam.deferred_metrics import DeferredMetrics
from iterative_grpo.trl_seam.generation_metrics import GenerationMetrics
from iterative_grpo.trl_seam.kl_control import AdaptiveKL, KLControl
from iterative_grpo.trl_seam.rows import EngineRows, records_of_trl
from iterative_grpo.trl_seam.shares import Scored, Share
from iterative_grpo.trl_seam.step_times import StepTimes
from iterative_grpo.trl_seam.task import Batch, Task
from iterative_grpo.types import Completion, Problem, Sampling

__all__ = ["Credit", "IterativeGRPOTrainer", "Task"]


class IterativeGRPOTrainer(GRPOTrainer):
    """GRPO under outcome or process supervision, for one policy phase of Algorithm 1.

    To compare: `logps_path` "prompts", "plain" or "trl" (`logps/`), `defer_metrics` False.
    """

    logps_path: Path = "shared"
    defer_metrics: bool = True

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
        initial: Initial | None = None,
        kl_control: KLControl | None = None,
        callbacks: list[TrainerCallback] | None = None,
        peft_config: Any = None,
    ) -> None:
        """Set up one phase.

        Args:
            model: the policy, or the path or hub name where it lies. One that cannot be copied
                (`reference.copied`) must not have been trained since it was loaded.
            args: TRL's settings; `shuffle_dataset` is set to False, the order is `task`'s.
            task: problems and prompts, one row a visit, in training order.
            source: scores completions; all that the trainer knows of rewards.
            credit: turns step rewards into step advantages.
            tokenizer: the policy's, with a pad token.
            truth: verdicts of the same completions, for the log only; never a reward.
            engine: makes the sampler from the live policy; None samples with TRL's own paths
                (`generate`, or vLLM with `args.use_vllm`).
            record: receives (step, this process's rollouts) after every generation.
            initial: the policy that the run began with, to log the distance from it.
            kl_control: moves the KL coefficient after each step; None keeps `args.beta`.
            callbacks: as in transformers.
            peft_config: as in TRL; the reference is then the policy without the new adapter.
        """
        task.check_stop(engine=engine is not None, masked=args.mask_truncated_completions)
        rows = task.rows()
        args.shuffle_dataset = False
        self._task = task
        self._source = source
        self._credit = credit
        self._truth = truth
        self._record = record
        self._initial = initial
        self._token_steps = TokenSteps(tokenizer)
        self._prompt_ids = {
            text: list(prompt.token_ids)
            for text, prompt in zip(task.texts, task.prompts, strict=True)
        }
        self._scored: Scored | None = None
        self._rows: EngineRows | None = None
        self._buffered_inputs: list[dict[str, Any]] | None = None
        self._times = StepTimes()
        self._deferred = DeferredMetrics()
        self._generation = GenerationMetrics()
        with reference.copied(model):
            super().__init__(
                model=model,
                reward_funcs=[_named_reward],
                args=args,
                train_dataset=Dataset.from_list(rows),
                processing_class=tokenizer,
                callbacks=[self._times, *(callbacks or ())],
                peft_config=peft_config,
            )
        # TRL wants a Dataset, and it is read as often as there are micro-batches: a list is faster.
        self.train_dataset, self.data_collator = rows, Batch
        most = partial(largest, self.accelerator)
        self._logps = Logps(self.temperature, self.accelerator.autocast, most)
        self._sharding = Sharding(self.accelerator, self.accelerator.unwrap_model(self.model))
        if initial is not None:
            # As TRL prepares its reference: its path to log-probabilities needs the head.
            add_fused_lm_head(initial.model, temperature=self.temperature)
            self._initial = replace(initial, model=self._sharding.frozen(initial.model))
        if kl_control is not None:
            self.add_callback(AdaptiveKL(self, kl_control))
        if engine is not None:
            policy = self._sharding.to_sample()
            self._rows = EngineRows(engine(policy, tokenizer))
            # Those that engines stop at: TRL leaves out what the model's own configuration names.
            self.eos_token_ids = list(eos_token_ids(policy, tokenizer))

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
    ) -> tuple[Sequence[Sequence[int] | np.ndarray], Any]:
        if self._rows is not None:
            sampling = Sampling(
                group_size=self.num_generations,
                max_tokens=self.max_completion_length,
                temperature=self.temperature,
                top_p=self.top_p,
                top_k=self.top_k or 0,
                stop=self._task.stop,
                seed=self._sampling_seed(),
            )
            with self._sharding.sampling():
                return self._rows.sample(prompt_ids, sampling), None
        policy = self.accelerator.unwrap_model(self.model)
        with timing.part("generate") as spent, without_defaults(policy):
            sampled: tuple[list[list[int]], Any] = super()._generate_single_turn(
                prompt_ids, images, multimodal_fields, num_generations, has_tool_images
            )
            spent.tokens += sum(map(len, sampled[0]))
        return sampled

    def _generate(self, prompts: list[Any]) -> Any:
        decoded = nullcontext() if self._rows is None else self._rows.decoded(self)
        with self._generation.alone(self), decoded:
            return super()._generate(prompts)

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
        if self._rows is not None:
            records = self._rows.records(problems, self.num_generations)
        else:
            records = records_of_trl(
                problems, completions, completion_ids_list, self.eos_token_ids, self.num_generations
            )
        with timing.part("score"):
            rewards = self._source.score(problems, records)
        if len(rewards) != len(records):
            raise ValueError(
                f"the reward source returned {len(rewards)} rewards for {len(records)} completions;"
                " score() returns one StepRewards for each completion"
            )
        truth = None
        if self._truth is not None:
            with timing.part("verify", tokens=sum(map(len, completion_ids_list))):
                truth = self._truth(problems, records)
        # A group may span processes, so every process credits all of them and keeps its own. What
        # is gathered here serves credit, TRL's tables and the log: one collective a generation.
        share = Share(
            [
                Rollout(
                    problem_id=problem.id,
                    sample=completion.sample,
                    text=completion.text,
                    tokens=len(completion.token_ids),
                    finish=completion.finish,
                    rewards=reward,
                    advantages=(),
                    correct=None if truth is None else truth[index],
                )
                for index, (problem, completion, reward) in enumerate(
                    zip(problems, records, rewards, strict=True)
                )
            ],
            self._moved(inputs, records),
            self._generation.own,
        )
        shares: list[Share] = gather_object([share])
        self._scored = Scored(records, shares)
        # TRL's tables show one number an output: the mean of its step rewards.
        means = [sum(r.rewards.values) / len(r.rewards.values) for r in self._scored.rollouts]
        column = torch.tensor(means, dtype=torch.float32, device=self.accelerator.device)
        return column.unsqueeze(1)

    def _moved(self, inputs: list[dict[str, Any]], records: list[Completion]) -> Moved | None:
        """Return this process's part of the distance from the initial policy, if it is asked for.

        Every process runs the same number of forward passes, as sharded models need it.
        """
        if self._initial is None:
            return None
        count = max(1, self._initial.outputs // int(self.accelerator.num_processes))
        rows = [
            (self._task.prompts[row["row"]].token_ids, record.token_ids)
            for row, record in zip(inputs, records, strict=True)
        ][:count]
        with torch.no_grad():
            return moved(
                lambda model, *batch: self._get_per_token_logps_and_entropies(model, *batch)[0],
                self.model,
                self._initial.model,
                rows,
                self.processing_class.pad_token_id,
                self.accelerator.device,
            )

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        with self._generation.own_texts(self):
            output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        scored = self._scored
        if scored is None:
            raise RuntimeError("TRL did not ask for rewards; is trl>=1.16,<1.17 installed?")
        self._scored = None
        mode = "train" if self.model.training else "eval"
        group_size = self.num_generations if mode == "train" else self.num_generations_eval
        advantages = self._credit.advantages([r.rewards for r in scored.rollouts], group_size)
        rollouts = [
            replace(rollout, advantages=tuple(values))
            for rollout, values in zip(scored.rollouts, advantages, strict=True)
        ]
        self._generation.correct(self, (share.lengths for share in scored.shares))
        first = self.accelerator.process_index * len(inputs)
        own = rollouts[first : first + len(inputs)]
        ids = output["completion_ids"]
        spread = [
            self._token_steps.spread(completion, each.rewards.ends, each.advantages, ids.size(1))
            for completion, each in zip(scored.completions, own, strict=True)
        ]
        output["advantages"] = torch.from_numpy(np.stack(spread)).to(ids.device)
        figures = health(rollouts, group_size)
        distance = together(share.moved for share in scored.shares)
        if distance is not None:
            figures["kl_initial"] = distance
        self._metrics[mode]["reward_std"].pop()  # TRL's is over all groups, where questions differ
        for name, value in figures.items():
            self._metrics[mode][name].append(value)
        if mode == "train" and self._record is not None:
            self._record(int(self.state.global_step) + 1, own)
        return output

    # -- updates ----------------------------------------------------------------------------------

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        """Generate when it is time, and hand out micro-batches that keep groups together.

        TRL shuffles the rows of a generation before it slices them; here the slices are the groups
        in their order, each trimmed to its longest row. The loss is a mean over rows (or tokens)
        of the whole optimizer step, so the order changes nothing in it; `bnpo` alone is a mean of
        micro-batches' means.
        """
        if not self.model.training:
            prepared: dict[str, Any] = super()._prepare_inputs(generation_batch)
            return prepared
        slices = self.args.steps_per_generation
        if self._step % (slices * self.num_iterations) == 0 or self._buffered_inputs is None:
            with timing.part(timing.OTHER):
                batch = self._generate_and_score_completions(generation_batch)
                self._buffered_inputs = [trim(part) for part in split_rows(batch, slices)]
        inputs: dict[str, Any] = self._buffered_inputs[self._step % slices]
        return inputs

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
        # Without a gradient: the reference's, the old policy's if updates repeat, the distance's.
        work = "forward-backward" if torch.is_grad_enabled() else "reference"
        stock = super()._get_per_token_logps_and_entropies
        with timing.part(work, tokens=int(attention_mask.sum())):
            scores = None
            if compute_aux_loss or any(value is not None for value in media.values()):
                self._logps.say(
                    "log-probabilities come from TRL: it knows experts' loss and images"
                )
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

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        with self._deferred.keeping(self):
            loss: torch.Tensor = super()._compute_loss(model, inputs)
        return loss

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Run one micro-batch; the sampling and scoring that it may start are timed apart."""
        with timing.part("forward-backward"):
            loss: torch.Tensor = super().training_step(*args, **kwargs)
        return loss

    def _clip_grad_norm(self, *args: Any, **kwargs: Any) -> Any:
        with timing.part("optimizer"):
            return super()._clip_grad_norm(*args, **kwargs)

    def finished(self) -> Any:
        """Return the trained policy, None on all but the first process of a sharded one.

        All processes have to call it: shards are put together.
        """
        return self._sharding.whole()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the KL coefficient, what each part took since the last log, and deferred metrics."""
        if self.model.training:
            if "loss" in logs:
                logs["beta"] = self.beta
            logs.update(self._times.since_last())
        self._deferred.merge(self)
        super().log(logs, start_time)


def _named_reward(**_: Any) -> list[float]:
    raise RuntimeError("rewards come from the reward source, TRL's reward functions are not used")


_named_reward.__name__ = "source"
