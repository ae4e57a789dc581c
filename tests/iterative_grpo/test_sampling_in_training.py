"""Sampling in training: by the run's settings, and ended by every id that the policy names."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from iterative_grpo import plugins
from iterative_grpo.advantages.sum import Rule
from iterative_grpo.engines import _fused, native
from iterative_grpo.normalize import Normalizer
from iterative_grpo.protocols import Engine, Samplings
from iterative_grpo.trainer import Credit, IterativeGRPOTrainer, Task
from iterative_grpo.types import Completion, Problem, Prompt, Sampling
from tests.iterative_grpo.logps.making import VOCABULARY, decoder
from tests.iterative_grpo.logps.test_against_trl import NoSource, arguments, our_trainer
from tests.iterative_grpo.test_trainer import G, PolicyMaker, generation, make


@pytest.mark.parametrize(
    "defaults",
    [{"suppress_tokens": list(range(2, 40))}, {"min_new_tokens": 99}, {"no_repeat_ngram_size": 1}],
    ids=str,
)
def test_a_checkpoint_s_own_defaults_do_not_reach_it(
    defaults: dict[str, object], tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    drawn = []
    for name, given in (("plain", {}), ("told", defaults)):
        policy = tmp_path / name
        decoder("llama", torch.float32, spread=0.2).save_pretrained(policy)
        tiny_tokenizer.save_pretrained(policy)
        model = AutoModelForCausalLM.from_pretrained(policy)
        model.generation_config.update(**given)
        model.generation_config.save_pretrained(policy)
        trainer = our_trainer(policy, tiny_tokenizer, arguments(tmp_path, 1), "shared")
        before = trainer.model.generation_config
        torch.manual_seed(0)
        drawn.append(trainer._generate_single_turn([[2, 3, 4]] * 12, None, {}, 4)[0])
        assert trainer.model.generation_config is before
    assert drawn[0] == drawn[1]
    assert len({token for ids in drawn[0] for token in ids}) > VOCABULARY / 2


Groups = list[list[Completion]]


class Recording:
    """An engine that keeps what it was asked for."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.asked: list[Sampling] = []

    def generate(self, prompts: Sequence[Prompt], sampling: Samplings) -> list[list[Completion]]:
        self.asked += [sampling] if isinstance(sampling, Sampling) else sampling
        return self.engine.generate(prompts, sampling)


def test_an_engine_is_asked_for_the_runs_settings(tiny_policy: PolicyMaker, tmp_path: Path) -> None:
    settings = {"temperature": 0.8, "top_p": 0.9, "top_k": 7, "max_completion_length": 5}
    trainer = make(
        tiny_policy(0, torch.float32),
        tmp_path,
        engine=lambda model, tokenizer: Recording(native.load(model, tokenizer)),
        stop=("3",),
        seed=3,
        **settings,
    )
    generation(trainer)
    own = Sampling(G, 5, 0.8, 0.9, 7, ("3",), trainer._sampling_seed())
    assert trainer._rows is not None
    assert trainer._rows.engine.asked == [own] * 2


@pytest.mark.parametrize("name", ["native", "generate"])
def test_in_mixed_precision_it_samples_what_other_phases_would(
    name: str, tiny_policy: PolicyMaker, tmp_path: Path
) -> None:
    policy = tiny_policy(0, torch.float32)
    load = plugins.find("iterative_grpo.engines", name).load
    seen: list[tuple[Sequence[Prompt], Samplings, list[list[Completion]], bool]] = []

    class Watched:
        def __init__(self, model: Any, tokenizer: Any) -> None:
            self.model, self.engine = model, load(model, tokenizer)

        def generate(self, prompts: Sequence[Prompt], sampling: Samplings) -> Groups:
            found: Groups = self.engine.generate(prompts, sampling)
            seen.append((prompts, sampling, found, _fused.supports(self.model)))
            return found

    trainer = make(policy, tmp_path, engine=Watched, bf16=True)
    weights = {key: weight.data_ptr() for key, weight in trainer.model.named_parameters()}
    trainer.train()
    own = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.bfloat16)
    finished = load(own, trainer.processing_class)
    prompts, sampling, first, fused = seen[0]
    assert finished.generate(prompts, sampling) == first
    assert finished.generate(*seen[1][:2]) != seen[1][2]  # of a policy that has learnt
    assert fused
    assert not _fused.supports(trainer.model)  # as accelerate gives it back
    for key, weight in trainer.model.named_parameters():
        assert (weight.dtype, weight.data_ptr()) == (torch.float32, weights[key])


def test_each_generation_and_process_draws_numbers_of_its_own(
    tiny_policy: PolicyMaker, tmp_path: Path
) -> None:
    trainer = make(tiny_policy(0, torch.float32), tmp_path)
    seeds = []
    for trainer.args.seed, trainer.state.global_step, rank in itertools.product(
        (1, 2), range(3), range(2)
    ):
        trainer.accelerator = SimpleNamespace(num_processes=2, process_index=rank)
        seeds.append(trainer._sampling_seed())
    assert len(set(seeds)) == len(seeds) == 12


def test_trl_tells_truncation_by_every_id_that_ends_an_engine_s_output(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    """TRL counts the ids of the generation configuration and of the tokenizer alone."""
    model = decoder("llama", torch.float32)
    model.generation_config.eos_token_id, model.config.eos_token_id = 5, [5, 14]
    problem = Problem("toy/0", "1", "2", "toy")
    trainer = IterativeGRPOTrainer(
        model,
        args=arguments(tmp_path, 1),
        task=Task([problem] * 12, [Prompt("toy/0", (2,))] * 12, ["1"] * 12),
        source=NoSource(),
        credit=Credit(Rule(), Normalizer()),
        tokenizer=tiny_tokenizer,
        engine=native.load,
    )
    assert trainer.eos_token_ids == sorted([5, 14, int(tiny_tokenizer.eos_token_id)])
