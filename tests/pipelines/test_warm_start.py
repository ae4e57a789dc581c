import math
import random

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from torch.nn.utils import parameters_to_vector
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from pipelines.datasets import arithmetic, load
from pipelines.making import ModelShape, make_policy, make_tokenizer
from pipelines.warm_start import Progress, WarmStart, WarmStartFailed, _Log, _loss, _pad, _tokenize
from pipelines.warm_start import warm_start as train

PROBLEMS = load("arithmetic", "train", limit=200).problems
PAIRS = [(f"{each.question}\n", arithmetic.demonstration(each)) for each in PROBLEMS]
TOKENIZER = make_tokenizer("words", [prompt + text for prompt, text in PAIRS], 80)


def made(context: int = 96) -> LlamaForCausalLM:
    return make_policy(TOKENIZER, ModelShape(32, 2, 2, context=context), seed=0)


def weights(model: LlamaForCausalLM) -> torch.Tensor:
    return parameters_to_vector(model.parameters()).detach()


def reference_loss(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, pairs: list[tuple[str, str]]
) -> float:
    """Score each pair alone, token by token: completions and EOS."""
    total, count = 0.0, 0
    for prompt, text in pairs:
        before = tokenizer(prompt)["input_ids"]
        after = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
        with torch.no_grad():
            logps = model(torch.tensor([before + after])).logits[0].log_softmax(-1)
        for place, token in enumerate(after):
            total -= float(logps[len(before) + place - 1, token])
            count += 1
    return total / count


def test_the_loss_is_that_of_completions_and_eos_alone() -> None:
    model = made()
    rows = _tokenize(model, TOKENIZER, PAIRS[:7])
    loss = _loss(model, *_pad(rows, torch.device("cpu")))
    assert len({len(row.ids) for row in rows}) > 1
    assert loss.item() == pytest.approx(reference_loss(model, TOKENIZER, PAIRS[:7]), rel=1e-5)


def test_a_prompt_begins_as_the_tokenizer_begins_texts_and_a_completion_does_not() -> None:
    tokenizer = make_tokenizer("words", [prompt + text for prompt, text in PAIRS], 80)
    known = [("<bos>", tokenizer.bos_token_id)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing("<bos> $A", None, known)
    rows, plain_rows = (_tokenize(made(), each, PAIRS[:5]) for each in (tokenizer, TOKENIZER))
    for row, plain in zip(rows, plain_rows, strict=True):
        assert row.ids == (tokenizer.bos_token_id, *plain.ids)
        assert row.prompt == plain.prompt + 1


def test_a_pair_may_fill_the_context() -> None:
    (row,) = _tokenize(made(), TOKENIZER, PAIRS[:1])
    assert _tokenize(made(context=len(row.ids)), TOKENIZER, PAIRS[:1]) == [row]
    with pytest.raises(ValueError, match=f"pair 0 has {len(row.ids)} tokens"):
        _tokenize(made(context=len(row.ids) - 1), TOKENIZER, PAIRS[:1])


def test_it_learns_and_ends_in_evaluation_mode() -> None:
    model = made()
    before = reference_loss(model, TOKENIZER, PAIRS[:20])
    result = train(model, TOKENIZER, PAIRS, WarmStart(steps=100, fall_steps=30))
    assert result.steps == 100
    assert result.accuracy is None
    assert not result.reached
    after = reference_loss(model, TOKENIZER, PAIRS[:20])
    assert after < 0.45 * before
    assert result.loss == pytest.approx(after, rel=0.25)
    assert not model.training
    assert model.config._attn_implementation == "sdpa"


def test_the_seed_fixes_the_result_and_leaves_the_generators_alone() -> None:
    random.seed(1)
    torch.manual_seed(1)
    expected = (random.random(), torch.rand(2).tolist())
    random.seed(1)
    torch.manual_seed(1)
    models = [made() for _ in range(3)]
    for model, seed in zip(models, (4, 4, 5), strict=True):
        train(model, TOKENIZER, PAIRS, WarmStart(steps=8, fall_steps=2, seed=seed))
    assert (random.random(), torch.rand(2).tolist()) == expected
    assert torch.equal(weights(models[0]), weights(models[1]))
    assert not torch.equal(weights(models[0]), weights(models[2]))


def test_the_rates_rise_stay_and_fall_in_equal_steps() -> None:
    log = _Log(WarmStart(steps=10, rise_steps=4, fall_steps=5), None)
    factors = []
    while log.step < log.last:
        factors.append(log.rate_factor())
        log.stepped(1.0)
    expected = [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2]
    assert factors == pytest.approx(expected)


@pytest.mark.parametrize(
    "other", [WarmStart(steps=1, learning_rate=1e-4), WarmStart(steps=1, optimizer="adamw")]
)
def test_rate_and_optimizer_are_those_asked_for(other: WarmStart) -> None:
    trained = []
    for settings in (WarmStart(steps=1), other):
        model = made()
        train(model, TOKENIZER, PAIRS[:4], settings)
        trained.append(weights(model))
    assert not torch.equal(*trained)


def test_accuracy_decides_when_the_rates_fall() -> None:
    scores = iter([0.1, 0.2, 0.6, 0.9])
    seen: list[Progress] = []
    settings = WarmStart(steps=200, validate_every=5, stop_at=0.6, fall_steps=7)
    result = train(made(), TOKENIZER, PAIRS, settings, lambda: next(scores), seen.append)
    assert result.steps == 15 + 7
    assert result.reached
    assert result.accuracy == 0.9
    assert [each.accuracy for each in result.history] == [0.1, 0.2, 0.6, 0.9]
    assert [each.step for each in result.history] == [5, 10, 15, 22]
    assert seen[0].steps == 200
    assert seen[-1].steps == 22


def test_without_the_accuracy_all_steps_are_taken() -> None:
    settings = WarmStart(steps=20, validate_every=5, stop_at=0.6, fall_steps=8)
    result = train(made(), TOKENIZER, PAIRS, settings, lambda: 0.1)
    assert result.steps == 20
    assert not result.reached
    assert [each.step for each in result.history] == [5, 10, 20]


def test_an_accuracy_that_is_reached_at_the_end_adds_no_steps() -> None:
    scores = iter([0.1, 0.1, 0.9])
    settings = WarmStart(steps=20, validate_every=5, stop_at=0.6, fall_steps=8)
    result = train(made(), TOKENIZER, PAIRS, settings, lambda: next(scores))
    assert (result.steps, result.reached) == (20, True)


def test_a_step_is_by_the_gradient_of_its_own_batch() -> None:
    """Where nothing moves and each batch has all pairs, every step has the same gradient."""
    gradients = []
    for steps in (1, 3):
        model = made()
        still = WarmStart(
            steps=steps,
            batch=8,
            learning_rate=1e-12,
            muon_learning_rate=1e-12,
            max_grad_norm=1e9,
            bf16=False,
        )
        train(model, TOKENIZER, PAIRS[:8], still)
        gradients.append(model.model.norm.weight.grad)
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-6)


def test_the_validator_sees_the_model_in_evaluation_mode() -> None:
    model = made()
    modes: list[bool] = []

    def validate() -> float:
        modes.append(model.training)
        return 0.0

    train(model, TOKENIZER, PAIRS, WarmStart(steps=4, validate_every=2, fall_steps=0), validate)
    assert modes == [False, False]


def test_pairs_that_cannot_be_learnt_are_refused() -> None:
    with pytest.raises(ValueError, match="no pairs of prompt and completion"):
        train(made(), TOKENIZER, [], WarmStart())
    with pytest.raises(ValueError, match=r"pair 0 has .* more than the model's context of 16"):
        train(made(context=16), TOKENIZER, PAIRS, WarmStart())


def test_a_loss_that_is_no_number_ends_it() -> None:
    model = made()
    with torch.no_grad():
        model.lm_head.weight[5] = math.nan
    with pytest.raises(WarmStartFailed, match="step 1 is nan; lower the learning rates"):
        train(model, TOKENIZER, PAIRS, WarmStart(steps=4, fall_steps=0))
