"""The reference engine: transformers' own `generate`, for every model that has one.

Slow (it copies its cache at every token and carries finished rows to the end) and plain: the other
engines are tested against it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from iterative_grpo import timing
from iterative_grpo.context import positions
from iterative_grpo.engines import _endings
from iterative_grpo.engines._endings import Sampled
from iterative_grpo.engines._quiet import borrowed
from iterative_grpo.engines._requests import Stopped, per_prompt
from iterative_grpo.protocols import Samplings
from iterative_grpo.types import Completion, Prompt, Sampling

BATCH_TOKENS = 65_536


class Engine:
    """Samples with `model.generate`, left-padded, in batches bounded by a token budget."""

    def __init__(self, model: Any, tokenizer: Any, batch_tokens: int = BATCH_TOKENS) -> None:
        check_options(batch_tokens=batch_tokens)
        self.model = model
        self.tokenizer = tokenizer
        self.batch_tokens = batch_tokens

    @timing.generation
    def generate(self, prompts: Sequence[Prompt], sampling: Samplings) -> list[list[Completion]]:
        """Return one group of `group_size` completions for each prompt, in order.

        Prompts of one distribution and seed share batches, and with them the random numbers.
        `logps` stay empty: `generate` would have to keep the scores of every step for them.

        Raises:
            ValueError: if several samplings are given, and not one for each prompt.
            PromptTooLong: before anything is sampled, if a prompt does not fit the context.
        """
        samplings = per_prompt(prompts, sampling)
        _endings.check_prompts(prompts, samplings, positions(self.model.config))
        eos = _endings.eos_token_ids(self.model, self.tokenizer)
        endings = _endings.endings(samplings, self.tokenizer, eos)
        rows = sample_ids(
            self.model,
            [prompt.token_ids for prompt in prompts],
            samplings,
            eos_token_ids=eos,
            stopped=[own.check for own in endings],
            batch_tokens=self.batch_tokens,
        )
        return _endings.completions(prompts, rows, endings)


def check_options(*, batch_tokens: int = BATCH_TOKENS) -> None:
    """Raise ValueError for options of `load` that nothing could be sampled with."""
    if batch_tokens < 1:
        raise ValueError(f"batch_tokens is {batch_tokens}, must be at least 1")


def load(model: Any, tokenizer: Any, *, batch_tokens: int = BATCH_TOKENS) -> Engine:
    """Return the engine for a live model.

    Args:
        model: a transformers model with `generate`; weights may change between calls.
        tokenizer: decodes completions.
        batch_tokens: bound of rows times (prompt + completion) tokens in one call of `generate`.
    """
    return Engine(model, tokenizer, batch_tokens)


def sample_ids(
    model: Any,
    prompts: Sequence[Sequence[int]],
    sampling: Samplings,
    *,
    eos_token_ids: Sequence[int],
    stopped: Sequence[Stopped | None] = (),
    batch_tokens: int = BATCH_TOKENS,
) -> list[list[Sampled]]:
    """Sample a group of token ids for each prompt: the layer below records and text.

    The caller's random number generators are as before afterwards: inside, they start from each
    seed anew.

    Args:
        model: a transformers model with `generate`.
        prompts: token ids of each prompt, at least one.
        sampling: how to sample, for all prompts or each of them; its `stop` strings are not read
            here, see `stopped`.
        eos_token_ids: a row ends with the first of these.
        stopped: for each prompt, tells from a row's new ids whether it may end, for stop strings;
            none by default.
        batch_tokens: bound of rows times (prompt + completion) tokens in one call.
    """
    import torch

    samplings = per_prompt(prompts, sampling)
    alike: dict[Sampling, list[int]] = {}
    for index, own in enumerate(samplings):
        # Group sizes, limits and stop strings may differ within a call of `generate`.
        alike.setdefault(replace(own, group_size=1, max_tokens=1, stop=()), []).append(index)
    checks = stopped or [None] * len(prompts)
    devices = [model.device] if model.device.type == "cuda" else []
    rows: list[list[Sampled]] = [[] for _ in prompts]
    context = positions(model.config)
    with borrowed(model), torch.random.fork_rng(devices=devices):
        for drawn, members in alike.items():
            torch.manual_seed(drawn.seed)
            sizes = {i: (len(prompts[i]), samplings[i]) for i in members}
            for batch in _batches(sizes, batch_tokens, context):
                sampled = _call(
                    model,
                    [prompts[i] for i in batch],
                    [samplings[i] for i in batch],
                    eos_token_ids,
                    [checks[i] for i in batch],
                )
                for index, ids in zip(batch, sampled, strict=True):
                    rows[index].append(Sampled(_through_eos(ids, eos_token_ids)))
    return rows


def _batches(
    sizes: Mapping[int, tuple[int, Sampling]], batch_tokens: int, context: int | None
) -> Iterator[list[int]]:
    """Yield the prompt index of each row, cut so that a padded batch keeps to the budget.

    All rows of a batch are carried to its largest limit, so that similar limits go together, and
    the longest prompt must have room for it in the context.
    """
    batch: list[int] = []
    longest = limit = 0
    for index, (length, sampling) in sorted(sizes.items(), key=lambda x: x[1][1].max_tokens):
        for _ in range(sampling.group_size):
            longest, limit = max(longest, length), sampling.max_tokens
            grown = longest + limit
            if batch and (
                grown * (len(batch) + 1) > batch_tokens or (context is not None and grown > context)
            ):
                yield batch
                batch, longest = [], length
            batch.append(index)
    if batch:
        yield batch


def _call(
    model: Any,
    prompts: Sequence[Sequence[int]],
    samplings: Sequence[Sampling],
    eos_token_ids: Sequence[int],
    stopped: Sequence[Stopped | None],
) -> list[list[int]]:
    """Return the new ids of rows with one distribution; padding behind EOS stays.

    They reach to the row's limit, or to where `stopped` ended it.
    """
    import torch
    from transformers import GenerationConfig, StoppingCriteriaList

    # Any id serves as padding: before a prompt it is masked, behind EOS it is cut off.
    pad = eos_token_ids[0] if eos_token_ids else 0
    width = max(map(len, prompts))
    input_ids = torch.tensor([[pad] * (width - len(ids)) + list(ids) for ids in prompts])
    mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts])
    reached = [sampling.max_tokens for sampling in samplings]
    settings = GenerationConfig.from_dict(
        {
            "max_new_tokens": max(reached),
            "eos_token_id": list(eos_token_ids) or None,
            "pad_token_id": pad,
            "use_cache": True,
            **_distribution(samplings[0]),
        }
    )
    criteria = StoppingCriteriaList()
    if any(stopped) or len(set(reached)) > 1:
        criteria.append(_stopping_criteria(stopped, width, reached))
    output = model.generate(
        input_ids=input_ids.to(model.device),
        attention_mask=mask.to(model.device),
        generation_config=settings,
        stopping_criteria=criteria,
    )
    new_ids: list[list[int]] = output[:, width:].tolist()
    return [ids[:end] for ids, end in zip(new_ids, reached, strict=True)]


def _distribution(sampling: Sampling) -> dict[str, Any]:
    if sampling.temperature == 0:
        return {"do_sample": False}
    return {
        "do_sample": True,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
    }


def _stopping_criteria(stopped: Sequence[Stopped | None], width: int, reached: list[int]) -> Any:
    import torch
    from transformers import StoppingCriteria

    class OwnEnds(StoppingCriteria):
        """Ends rows at their limit or where their new ids say so, and notes where.

        Here, since transformers is heavy.
        """

        def __call__(
            self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any
        ) -> torch.Tensor:
            length = input_ids.shape[1] - width
            done = [
                length >= end or (check is not None and check(ids))
                for ids, end, check in zip(
                    input_ids[:, width:].tolist(), reached, stopped, strict=True
                )
            ]
            reached[:] = [
                min(end, length) if over else end for end, over in zip(reached, done, strict=True)
            ]
            return torch.tensor(done, device=input_ids.device)

    return OwnEnds()


def _through_eos(ids: Sequence[int], eos_token_ids: Sequence[int]) -> tuple[int, ...]:
    end = next((i + 1 for i, token in enumerate(ids) if token in eos_token_ids), None)
    return tuple(ids[:end])
