"""The vLLM engine: its errors everywhere, its results where vLLM is installed."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from iterative_grpo.engines import vllm
from iterative_grpo.engines._endings import PromptTooLong
from iterative_grpo.types import Finish, Sampling
from tests.iterative_grpo.engines import tiny

INSTALLED = importlib.util.find_spec("vllm") is not None


def test_a_live_model_is_refused() -> None:
    with pytest.raises(TypeError, match=r"checkpoints.*live LlamaForCausalLM.*'native' engine"):
        vllm.load(tiny.model("llama"), tiny.NoEos())  # type: ignore[arg-type]


@pytest.mark.skipif(INSTALLED, reason="vLLM is installed here")
def test_a_missing_vllm_is_named_with_ways_out(tmp_path: Path) -> None:
    with pytest.raises(ImportError, match=r"iterative-grpo\[vllm\].*'native' engine"):
        vllm.load(tmp_path, tiny.NoEos())


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        initializer_range=0.2,
        bos_token_id=None,
        eos_token_id=[5, 9],
        pad_token_id=0,
    )
    return LlamaForCausalLM(config)


@pytest.fixture(scope="module")
def engine(model: PreTrainedModel, tmp_path_factory: pytest.TempPathFactory) -> vllm.Engine:
    if not INSTALLED:
        pytest.skip("vLLM is not installed here")
    folder = tmp_path_factory.mktemp("checkpoint")
    model.save_pretrained(folder)
    return vllm.load(folder, tiny.NoEos(), dtype="float32", gpu_memory_utilization=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("sampling", [Sampling(3, 12, seed=2), Sampling(2, 12, temperature=0)])
def test_tokens_and_logps_are_those_of_the_checkpoint(
    engine: vllm.Engine, model: PreTrainedModel, sampling: Sampling
) -> None:
    prompts = tiny.prompts(4, 9, 9, 17, 2, 11)
    groups = engine.generate(prompts, sampling)
    assert [len(group) for group in groups] == [sampling.group_size] * len(prompts)
    for prompt, group in zip(prompts, groups, strict=True):
        for index, completion in enumerate(group):
            assert (completion.problem_id, completion.sample) == (prompt.problem_id, index)
            expected = tiny.plain_logps(model, prompt, completion.token_ids)
            chosen = expected.gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]
            reported = torch.tensor(completion.logps, dtype=torch.float64)
            torch.testing.assert_close(reported, chosen, atol=1e-4, rtol=0)
            assert not {5, 9} & set(completion.token_ids[:-1])
            assert (completion.token_ids[-1] in (5, 9)) == (completion.finish is Finish.STOP)
            if sampling.temperature == 0:
                assert completion.token_ids == tuple(expected.argmax(-1).tolist())
    rows = [completion.token_ids for completion in itertools.chain(*groups)]
    if sampling.temperature > 0:
        assert len(set(rows)) == len(rows)
        assert engine.generate(prompts, sampling) == groups


@pytest.mark.slow
def test_nothing_and_too_much(engine: vllm.Engine) -> None:
    assert engine.generate([], Sampling(2, 4)) == []
    with pytest.raises(PromptTooLong, match=r"p0: a prompt of 120 tokens"):
        engine.generate(tiny.prompts(120), Sampling(1, 16))
