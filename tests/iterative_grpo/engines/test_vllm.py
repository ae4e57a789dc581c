"""The vLLM engine: its errors everywhere, its results where vLLM is installed."""

from __future__ import annotations

import importlib.util
import itertools
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from iterative_grpo.engines import _endings, vllm
from iterative_grpo.engines._endings import PromptTooLong
from iterative_grpo.types import Completion, Finish, Sampling
from tests.iterative_grpo.engines import tiny

INSTALLED = importlib.util.find_spec("vllm") is not None


def test_a_live_model_is_refused() -> None:
    with pytest.raises(TypeError, match=r"checkpoints.*live LlamaForCausalLM.*'native' engine"):
        vllm.load(tiny.model("llama"), tiny.NoEos())  # type: ignore[arg-type]


@pytest.mark.skipif(INSTALLED, reason="vLLM is installed here")
def test_a_missing_vllm_is_named_with_ways_out(tmp_path: Path) -> None:
    with pytest.raises(ImportError, match=r"pip install vllm, .*'native' engine"):
        vllm.load(tmp_path, tiny.NoEos())


@pytest.mark.parametrize("before", [None, "4,7"])
def test_each_process_shows_vllm_its_own_gpu(
    before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seen() -> str | None:
        with vllm._alone():
            return os.environ.get("CUDA_VISIBLE_DEVICES")

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if before is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", before)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert seen() == before  # one process
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert seen() == ("1" if before is None else "7")
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == before
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert seen() == before


@pytest.mark.parametrize("before", [None, "True"])
def test_vllm_is_not_told_of_a_launchers_store(
    before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With it, `torch.distributed.init_process_group("tcp://...")` waits for a store to be served.
    name = "TORCHELASTIC_USE_AGENT_STORE"
    monkeypatch.delenv(name, raising=False)
    if before is not None:
        monkeypatch.setenv(name, before)

    def start() -> None:
        with vllm._alone():
            assert name not in os.environ
            raise MemoryError

    with pytest.raises(MemoryError):
        start()
    assert os.environ.get(name) == before


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    return llama(128)


def llama(width: int) -> PreTrainedModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=width,
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
    return vllm.load(folder, tiny.NoEos())


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


REQUESTS = {
    "sampled": Sampling(3, 25, seed=4),
    "greedy": Sampling(2, 40, temperature=0),
    "filtered": Sampling(5, 3, temperature=1.5, top_k=4, seed=5),
    "stop strings": Sampling(6, 30, temperature=0.7, top_p=0.9, stop=("7 w", "w11"), seed=4),
    "greedy with stop strings": Sampling(2, 25, temperature=0, stop=("w8", "w9")),
}


@pytest.mark.slow
def test_a_request_does_not_change_with_the_others(engine: vllm.Engine) -> None:
    prompts = tiny.prompts(4, 9, 9, 17, 2)
    together = engine.generate(prompts, list(REQUESTS.values()))
    for prompt, sampling, group in zip(prompts, REQUESTS.values(), together, strict=True):
        (alone,) = engine.generate([prompt], sampling)
        assert [replace(c, logps=()) for c in group] == [replace(c, logps=()) for c in alone]
        assert len(group) == sampling.group_size
        logps, expected = (torch.tensor([x for c in g for x in c.logps]) for g in (group, alone))
        torch.testing.assert_close(logps, expected, atol=1e-4, rtol=0)


def shortest(free: Completion, stop: tuple[str, ...]) -> int | None:
    """Return how many ids the first stop string takes, one id after the other."""
    for size in range(1, len(free.token_ids) + 1):
        text = tiny.NoEos().decode(list(free.token_ids[:size]), skip_special_tokens=True)
        if any(string in text for string in stop):
            return size
    return None


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_row_leaves_vllm_at_its_stop_string(
    engine: vllm.Engine, monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    prompts = tiny.prompts(*range(3, 15))
    free = engine.generate(prompts, Sampling(3, 60, temperature=temperature, seed=1))
    # Part of a word, and a piece that goes over the border of two tokens.
    stop = ("w1", "7 w", "8 w", "5 w")
    sampled = 0
    step = engine.llm.llm_engine.step

    def counted() -> Any:
        nonlocal sampled
        outputs = step()
        sampled += sum(len(output.outputs[0].token_ids) for output in outputs)
        return outputs

    monkeypatch.setattr(engine.llm.llm_engine, "step", counted)
    cut = engine.generate(prompts, Sampling(3, 60, temperature=temperature, seed=1, stop=stop))
    stopped = 0
    for whole, part in zip(itertools.chain(*free), itertools.chain(*cut), strict=True):
        size = shortest(whole, stop)
        if size is None:
            assert part == whole
            continue
        stopped += 1
        assert part.finish is Finish.STOP
        assert part.token_ids == whole.token_ids[:size]
        assert part.logps == pytest.approx(whole.logps[:size], abs=1e-4)
        assert part.text == min((whole.text.split(string)[0] for string in stop), key=len)
    assert stopped > 20
    distinct = cut if temperature else [group[:1] for group in cut]
    assert sampled == sum(len(c.token_ids) for group in distinct for c in group)
    assert not engine.llm.llm_engine.has_unfinished_requests()


@pytest.mark.slow
def test_an_interrupted_call_leaves_no_requests_behind(
    engine: vllm.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampling = Sampling(4, 40, seed=1, stop=("w11",))
    prompts = tiny.prompts(4, 9)
    expected = engine.generate(prompts, sampling)
    with monkeypatch.context() as patch:
        patch.setattr(_endings.Endings, "stopped", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            engine.generate(prompts, sampling)
    assert not engine.llm.llm_engine.has_unfinished_requests()
    assert engine.generate(prompts, sampling) == expected


@pytest.mark.slow
def test_more_prompt_tokens_than_vllm_takes_in_a_step(
    engine: vllm.Engine, model: PreTrainedModel
) -> None:
    budget = engine.llm.llm_engine.vllm_config.scheduler_config.max_num_batched_tokens
    prompts = tiny.prompts(*[101] * (budget // 101 + 20))
    for prompt, (completion,) in zip(
        prompts, engine.generate(prompts, Sampling(1, 3, seed=6)), strict=True
    ):
        expected = tiny.plain_logps(model, prompt, completion.token_ids)
        chosen = expected.gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]
        reported = torch.tensor(completion.logps, dtype=torch.float64)
        torch.testing.assert_close(reported, chosen, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_a_vllm_that_ends_while_sampling_says_so(tmp_path: Path) -> None:
    if not INSTALLED or torch.cuda.is_available():
        pytest.skip("needs vLLM on a CPU, which has no kernel for heads of 24 dimensions")
    llama(96).save_pretrained(tmp_path)
    unfit = vllm.load(tmp_path, tiny.NoEos(), gpu_memory_utilization=0.2)
    try:
        with pytest.raises(vllm.Ended, match="printed above; mend that, or use the 'native'"):
            unfit.generate(tiny.prompts(3), Sampling(group_size=1, max_tokens=4))
    finally:
        unfit.close()


def test_as_many_samplings_as_prompts(engine: vllm.Engine) -> None:
    with pytest.raises(ValueError, match=r"2 prompts.*1 samplings.*one for each"):
        engine.generate(tiny.prompts(4, 5), [Sampling(1, 4)])


@pytest.mark.slow
def test_nothing_and_too_much(engine: vllm.Engine) -> None:
    assert engine.generate([], Sampling(2, 4)) == []
    with pytest.raises(PromptTooLong, match=r"p0: a prompt of 120 tokens"):
        engine.generate(tiny.prompts(120), Sampling(1, 16))
