"""What every engine must do, run for each of them."""

from __future__ import annotations

import copy
import itertools
import math
from collections import Counter
from collections.abc import Sequence
from types import ModuleType

import pytest
import torch
from scipy.stats import chisquare
from transformers import PreTrainedModel

from iterative_grpo import timing
from iterative_grpo.engines._endings import PromptTooLong
from iterative_grpo.protocols import Engine
from iterative_grpo.types import Completion, Finish, Prompt, Sampling
from tests.iterative_grpo.engines import tiny


def greedy_by_hand(model: PreTrainedModel, prompt: Prompt, length: int) -> tuple[int, ...]:
    """Take the best token of a whole forward again and again: no cache, no padding, no engine."""
    ids: tuple[int, ...] = ()
    for _ in range(length):
        ids += (int(tiny.plain_logps(model, prompt, (*ids, 0))[-1].argmax()),)
    return ids


def distribution(logps: torch.Tensor, sampling: Sampling) -> list[float]:
    """Return the sampling distribution of one position, filter by filter, in plain Python."""
    weights = [math.exp(x / sampling.temperature) for x in logps.tolist()]
    order = sorted(range(len(weights)), key=lambda i: -weights[i])
    if sampling.top_k:
        order = order[: sampling.top_k]
    total = sum(weights[i] for i in order)
    kept: dict[int, float] = {}
    for i in order:
        if sum(kept.values()) >= sampling.top_p:
            break
        kept[i] = weights[i] / total
    share = sum(kept.values())
    return [kept.get(i, 0.0) / share for i in range(len(weights))]


def engine(module: ModuleType, model: PreTrainedModel, tokenizer: object = None) -> Engine:
    loaded = module.load(model, tiny.NoEos() if tokenizer is None else tokenizer)
    assert isinstance(loaded, Engine)
    return loaded


@pytest.mark.parametrize("lengths", [(7,), (5, 5, 5), (3, 12, 1, 30)])
def test_greedy_tokens_are_those_of_whole_forwards(
    module: ModuleType, model: PreTrainedModel, lengths: Sequence[int]
) -> None:
    prompts = tiny.prompts(*lengths)
    groups = engine(module, model).generate(prompts, Sampling(2, 12, temperature=0))
    expected = [greedy_by_hand(model, prompt, 12) for prompt in prompts]
    assert [[c.token_ids for c in group] for group in groups] == [[ids, ids] for ids in expected]


def test_greedy_tokens_are_those_of_generate_beyond_eos(module: ModuleType) -> None:
    model = tiny.model("llama", eos=[5, 14])
    prompts = tiny.prompts(*range(2, 40))
    groups = engine(module, model).generate(prompts, Sampling(1, 12, temperature=0))
    finishes = set()
    for prompt, (completion,) in zip(prompts, groups, strict=True):
        output = model.eval().generate(
            torch.tensor([prompt.token_ids]), max_new_tokens=12, do_sample=False, pad_token_id=0
        )
        assert completion.token_ids == tuple(output[0, len(prompt.token_ids) :].tolist())
        finishes.add(completion.finish)
    assert finishes == {Finish.STOP, Finish.LENGTH}


DISTRIBUTIONS = {
    "plain": Sampling(4000, 2, seed=1),
    "cold": Sampling(4000, 2, temperature=0.6, seed=2),
    "top-k": Sampling(4000, 2, temperature=1.7, top_k=5, seed=3),
    "top-p": Sampling(4000, 2, top_p=0.7, seed=4),
    "all": Sampling(4000, 2, top_p=0.8, top_k=6, temperature=1.2, seed=5),
}


def assert_joint_distribution(
    model: PreTrainedModel, prompt: Prompt, sampling: Sampling, group: Sequence[Completion]
) -> None:
    counts = Counter(completion.token_ids for completion in group)

    first = distribution(tiny.plain_logps(model, prompt, (0,))[0], sampling)
    joint: dict[tuple[int, int], float] = {}
    for a, p in enumerate(first):
        if p == 0:
            continue
        second = distribution(tiny.plain_logps(model, prompt, (a, 0))[1], sampling)
        joint.update({(a, b): p * q for b, q in enumerate(second) if q > 0})
    assert set(counts) <= set(joint)

    expected = {pair: p * sampling.group_size for pair, p in joint.items()}
    common = [pair for pair, n in expected.items() if n >= 5]
    rare = [pair for pair in expected if pair not in set(common)]
    cells = [(counts[pair], expected[pair]) for pair in common]
    cells.append((sum(counts[p] for p in rare) + 1, sum(expected[p] for p in rare) + 1))
    observed, wanted = zip(*cells, strict=True)
    assert len(common) > 10
    assert chisquare(observed, wanted).pvalue > 1e-3


@pytest.mark.parametrize("sampling", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
def test_two_sampled_tokens_have_the_exact_joint_distribution(
    module: ModuleType, sampling: Sampling
) -> None:
    model = tiny.model("llama")
    prompt = tiny.prompts(6)[0]
    (group,) = engine(module, model).generate([prompt], sampling)
    assert_joint_distribution(model, prompt, sampling, group)


def test_samples_of_a_group_and_of_equal_prompts_are_independent(module: ModuleType) -> None:
    model = tiny.model("llama")
    prompt = tiny.prompts(6)[0]
    groups = engine(module, model).generate([prompt, prompt], Sampling(20, 8))
    assert len({c.token_ids for group in groups for c in group}) > 35


def test_a_seed_repeats_a_run_and_another_does_not(module: ModuleType) -> None:
    model = tiny.model("qwen2")
    prompts = tiny.prompts(4, 9)
    loaded = engine(module, model)
    first = loaded.generate(prompts, Sampling(3, 8, seed=7))
    assert loaded.generate(prompts, Sampling(3, 8, seed=7)) == first
    assert loaded.generate(prompts, Sampling(3, 8, seed=8)) != first


def test_each_eos_id_ends_a_completion_and_is_kept(module: ModuleType) -> None:
    model = tiny.model("llama", eos=tiny.END)
    groups = engine(module, model, tiny.tokenizer()).generate(
        tiny.prompts(5, 8), Sampling(40, 30, temperature=2.0)
    )
    ends = Counter()
    for completion in itertools.chain(*groups):
        inner, last = completion.token_ids[:-1], completion.token_ids[-1]
        assert not {tiny.EOS, tiny.END} & set(inner)
        assert (last in (tiny.EOS, tiny.END)) == (completion.finish is Finish.STOP)
        assert (len(completion.token_ids) == 30) or completion.finish is Finish.STOP
        assert completion.text.split() == [f"w{i}" for i in completion.token_ids if i >= 3]
        ends[last if completion.finish is Finish.STOP else None] += 1
    # The tokenizer names one id and the model's generation configuration the other.
    assert min(ends[tiny.EOS], ends[tiny.END]) > 3


def test_a_length_of_one_token(module: ModuleType) -> None:
    (group,) = engine(module, tiny.model("gpt2")).generate(tiny.prompts(4), Sampling(5, 1))
    assert [(len(c.token_ids), c.finish) for c in group] == [(1, Finish.LENGTH)] * 5


def test_stop_strings_end_ids_where_they_complete_and_text_before(module: ModuleType) -> None:
    model = tiny.model("llama")
    sampling = Sampling(60, 12, stop=("w7", "4 w"), temperature=1.5)
    groups = engine(module, model).generate(tiny.prompts(3, 6), sampling)
    stopped = 0
    for completion in itertools.chain(*groups):
        whole = tiny.NoEos().decode(list(completion.token_ids), skip_special_tokens=True)
        found = [whole.index(stop) for stop in sampling.stop if stop in whole]
        if completion.finish is Finish.LENGTH:
            assert not found
            assert completion.text == whole
            continue
        stopped += 1
        assert completion.text == whole[: min(found)]
        shorter = tiny.NoEos().decode(list(completion.token_ids[:-1]), skip_special_tokens=True)
        assert not any(stop in shorter for stop in sampling.stop)
    assert 10 < stopped < 120


def test_a_row_that_stops_changes_no_other_row(module: ModuleType) -> None:
    model = tiny.model("llama")
    prompts = tiny.prompts(*range(3, 23))
    loaded = engine(module, model)
    free = loaded.generate(prompts, Sampling(1, 20, temperature=0))
    # The fourth and fifth words of one row: the stop string of two tokens ends that row at least.
    stop = " ".join(free[5][0].text.split()[3:5])
    held = loaded.generate(prompts, Sampling(1, 20, temperature=0, stop=(stop,)))
    stopped = 0
    for (whole,), (cut,) in zip(free, held, strict=True):
        before, found, _ = whole.text.partition(stop)
        assert cut.text == before
        assert cut.token_ids == whole.token_ids[: len(cut.token_ids)]
        assert cut.finish is (Finish.STOP if found else Finish.LENGTH)
        # Words are tokens here; a stop string that ends within a word takes the whole token.
        assert len(cut.token_ids) == (len(before.split()) + 2 if found else 20)
        stopped += bool(found)
    assert 0 < stopped < len(prompts)


def test_ids_alone_end_where_the_caller_says(module: ModuleType) -> None:
    model = tiny.model("qwen2")
    prompts = [p.token_ids for p in tiny.prompts(4, 9, 6)]

    def stopped(ids: Sequence[int]) -> bool:
        return len(ids) >= 3 + ids[0] % 7

    *groups, free = module.sample_ids(
        model,
        prompts,
        Sampling(5, 8),
        eos_token_ids=(tiny.EOS,),
        stopped=[stopped, stopped, None],
    )
    assert [len(group) for group in groups] == [5, 5]
    assert all(len(row.token_ids) == 8 or row.token_ids[-1] == tiny.EOS for row in free)
    lengths = set()
    for row in itertools.chain(*groups):
        ids = row.token_ids
        full = min(8, 3 + ids[0] % 7)
        assert tiny.EOS not in ids[:-1]
        assert len(ids) == full or ids[-1] == tiny.EOS
        lengths.add(len(ids))
    assert len(lengths) > 3


def test_sampling_counts_as_generation(module: ModuleType) -> None:
    with timing.clock() as clock:
        groups = engine(module, tiny.model("llama")).generate(tiny.prompts(3, 5), Sampling(2, 4))
    spent = clock.parts["generate"]
    assert spent.tokens == sum(len(c.token_ids) for group in groups for c in group)
    assert spent.seconds > 0


def test_no_prompts_give_no_groups(module: ModuleType) -> None:
    assert engine(module, tiny.model("llama")).generate([], Sampling(3, 4)) == []


def test_a_prompt_that_does_not_fit_is_refused_before_sampling(module: ModuleType) -> None:
    model = tiny.model("llama")
    calls = []
    model.register_forward_pre_hook(lambda *_: calls.append(1))
    loaded = engine(module, model)
    with pytest.raises(PromptTooLong, match=r"p1: a prompt of 81 tokens.*context of 96.*1 of 2"):
        loaded.generate(tiny.prompts(80, 81), Sampling(1, 16))
    with pytest.raises(PromptTooLong, match=r"p1: a prompt of 81 tokens and max_tokens 16"):
        loaded.generate(tiny.prompts(88, 81), [Sampling(1, 8), Sampling(1, 16)])
    assert not calls
    (completion,) = loaded.generate(tiny.prompts(80), Sampling(1, 16))[0]
    assert len(completion.token_ids) == 16


def test_prompts_that_continue_each_other(module: ModuleType) -> None:
    model = tiny.model("qwen2")
    question, first, second = (p.token_ids for p in tiny.prompts(10, 9, 9))
    ids = [question, question + first[:4], question + first, question + second, question[:3]]
    prompts = [Prompt("q", token_ids) for token_ids in ids]
    groups = engine(module, model).generate(prompts, Sampling(2, 8, temperature=0))
    for prompt, group in zip(prompts, groups, strict=True):
        assert [c.token_ids for c in group] == [greedy_by_hand(model, prompt, 8)] * 2


def test_prompts_that_share_more_or_less_of_their_start(module: ModuleType) -> None:
    model = tiny.model("qwen2")
    question, *steps = (p.token_ids for p in tiny.prompts(40, 6, 5, 9, 7))
    ids = [question + a + b for a in steps for b in steps] + [question[:20] + a for a in steps]
    prompts = [Prompt("q", token_ids) for token_ids in ids]
    groups = engine(module, model).generate(prompts, Sampling(2, 6, temperature=0))
    for prompt, group in zip(prompts, groups, strict=True):
        assert [c.token_ids for c in group] == [greedy_by_hand(model, prompt, 6)] * 2


@pytest.mark.parametrize("sampling", [Sampling(3, 10, seed=3), Sampling(1, 10, temperature=0)])
def test_reported_logps_are_those_of_a_plain_forward(
    module: ModuleType, model: PreTrainedModel, sampling: Sampling
) -> None:
    prompts = tiny.prompts(4, 15, 9)
    groups = engine(module, model).generate(prompts, sampling)
    for prompt, completion in zip(
        [p for p in prompts for _ in range(sampling.group_size)],
        itertools.chain(*groups),
        strict=True,
    ):
        if module.__name__.endswith("generate"):
            assert completion.logps == ()
            continue
        expected = tiny.plain_logps(model, prompt, completion.token_ids)
        chosen = expected.gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]
        torch.testing.assert_close(
            torch.tensor(completion.logps, dtype=torch.float64), chosen, atol=1e-5, rtol=0
        )


def test_the_model_and_the_random_state_are_given_back(
    module: ModuleType, model: PreTrainedModel
) -> None:
    frozen = next(iter(model.modules()))
    list(model.modules())[3].training = False
    flags = [m.training for m in model.modules()]
    implementation = model.config._attn_implementation
    config, defaults = copy.deepcopy(model.config.to_dict()), model.generation_config
    told = defaults.to_dict()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    state = torch.random.get_rng_state()

    engine(module, model).generate(tiny.prompts(5, 9), Sampling(3, 6))

    assert frozen.training
    assert [m.training for m in model.modules()] == flags
    assert model.config._attn_implementation == implementation
    assert model.config.to_dict() == config
    assert model.generation_config is defaults
    assert defaults.to_dict() == told
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()] == hooks
    assert torch.equal(torch.random.get_rng_state(), state)


def test_dropout_is_off_while_sampling_a_model_in_training(module: ModuleType) -> None:
    model = tiny.model("gpt2")
    assert any(m.p > 0 for m in model.modules() if isinstance(m, torch.nn.Dropout))
    prompt = tiny.prompts(5)[0]
    runs: list[Completion] = [
        engine(module, model).generate([prompt], Sampling(1, 20, temperature=0, seed=seed))[0][0]
        for seed in range(3)
    ]
    assert len({run.token_ids for run in runs}) == 1


def test_defaults_of_the_model_do_not_leak_into_sampling(module: ModuleType) -> None:
    model = tiny.model("llama")
    prompt = tiny.prompts(5)[0]
    expected = greedy_by_hand(model, prompt, 20)
    model.generation_config.update(repetition_penalty=3.0, top_k=1, temperature=0.01)
    (group,) = engine(module, model).generate([prompt], Sampling(1, 20, temperature=0))
    assert group[0].token_ids == expected
    (group,) = engine(module, model).generate([prompt], Sampling(30, 5))
    assert len({c.token_ids for c in group}) > 10


def test_an_adapter_s_model_keeps_its_defaults(module: ModuleType) -> None:
    peft = pytest.importorskip("peft")
    model = tiny.model("llama", eos=[5, 14])
    settings = peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"])
    adapted = peft.get_peft_model(model, settings)
    engine(module, adapted).generate(tiny.prompts(5), Sampling(1, 4))
    assert adapted.merge_and_unload().generation_config.eos_token_id == [5, 14]


def test_weights_changed_between_calls_are_the_weights_sampled(module: ModuleType) -> None:
    model = tiny.model("llama")
    prompt = tiny.prompts(5)[0]
    loaded = engine(module, model)
    loaded.generate([prompt], Sampling(1, 8, temperature=0))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    (group,) = loaded.generate([prompt], Sampling(1, 8, temperature=0))
    assert group[0].token_ids == greedy_by_hand(model, prompt, 8)
