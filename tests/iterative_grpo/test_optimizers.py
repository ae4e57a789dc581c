import copy

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from iterative_grpo import optimizers
from iterative_grpo.optimizers import MuonAdamW, build, hidden_matrices, orthogonalize

CONFIG = LlamaConfig(
    vocab_size=20,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=2,
    tie_word_embeddings=True,
    pad_token_id=0,
)


def names(model: nn.Module, params: list[nn.Parameter]) -> set[str]:
    wanted = {id(each) for each in params}
    return {name for name, each in model.named_parameters() if id(each) in wanted}


def test_hidden_matrices_are_the_linear_layers_between_embedding_and_head() -> None:
    layer = [
        *(f"self_attn.{which}_proj.weight" for which in "qkvo"),
        *(f"mlp.{which}_proj.weight" for which in ("gate", "up", "down")),
    ]
    expected = {f"model.layers.{number}.{name}" for number in (0, 1) for name in layer}
    tied = LlamaForCausalLM(CONFIG)
    assert names(tied, hidden_matrices(tied)) == expected
    untied = LlamaForCausalLM(LlamaConfig(**{**CONFIG.to_dict(), "tie_word_embeddings": False}))
    assert names(untied, hidden_matrices(untied)) == expected
    scorer = LlamaForSequenceClassification(CONFIG)
    assert names(scorer, hidden_matrices(scorer)) == expected


class Outward(nn.Module):
    """Layers that lead out of a model, and one in it."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(6, 4)
        self.inner = nn.Linear(4, 4)
        self.classifier, self.head, self.out = nn.Linear(4, 2), nn.Linear(4, 2), nn.Linear(4, 6)
        self.out.weight = self.table.weight


def test_layers_that_lead_out_and_what_is_tied_to_an_embedding_are_not_hidden() -> None:
    model = Outward()
    assert names(model, hidden_matrices(model)) == {"inner.weight"}


def test_frozen_parameters_are_left_alone() -> None:
    model = LlamaForCausalLM(CONFIG)
    for param in model.model.layers[0].parameters():
        param.requires_grad = False
    optimizer = build(model, kind="muon", lr=1e-3)
    held = {id(each) for group in optimizer.param_groups for each in group["params"]}
    assert held == {id(each) for each in model.parameters() if each.requires_grad}


def make_loss(model: LlamaForCausalLM, step: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(step)
    ids = torch.randint(1, 20, (4, 9), generator=generator)
    loss = model(ids, labels=ids).loss
    assert isinstance(loss, torch.Tensor)
    return loss


@pytest.mark.parametrize("stacked", [optimizers.STACKED, 900, 1])
def test_steps_equal_those_of_torchs_muon_and_adamw(
    stacked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacks: list[int] = []

    def watched(matrices_NRC: torch.Tensor) -> torch.Tensor:
        stacks.append(len(matrices_NRC))
        return orthogonalize(matrices_NRC)

    monkeypatch.setattr(optimizers, "STACKED", stacked)
    monkeypatch.setattr(optimizers, "orthogonalize", watched)
    torch.manual_seed(0)
    ours = LlamaForCausalLM(CONFIG)
    theirs = copy.deepcopy(ours)
    optimizer = build(ours, kind="muon", lr=3e-3, muon_lr=0.02, weight_decay=0.1)
    hidden = hidden_matrices(theirs)
    vectors = [each for each in theirs.parameters() if each.ndim < 2]
    oracles = [
        torch.optim.Muon(hidden, lr=0.02, weight_decay=0.1),
        torch.optim.AdamW([theirs.lm_head.weight], lr=3e-3, betas=(0.9, 0.95), weight_decay=0.1),
        torch.optim.AdamW(vectors, lr=3e-3, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    for step in range(4):
        for model, steppers in ((ours, [optimizer]), (theirs, oracles)):
            loss = make_loss(model, step)
            for each in steppers:
                each.zero_grad()
            loss.backward()
            for each in steppers:
                each.step()
    # Eight matrices of 16 x 16 and six of 16 x 24.
    assert stacks[: len(stacks) // 4] == {1: [1] * 14, 900: [3, 3, 2, 2, 2, 2]}.get(stacked, [8, 6])
    for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        # Newton-Schulz runs in bfloat16 there, here in what is fast: 2**-8 of a step's length.
        tolerance = 4 * 0.02 * 2**-6 if one.ndim == 2 and "embed" not in name else 1e-5
        assert torch.allclose(one, other, atol=tolerance, rtol=0), name


@pytest.mark.parametrize("shape", [(12, 12), (8, 30), (30, 8)])
def test_orthogonalize_keeps_singular_vectors_and_brings_values_near_one(
    shape: tuple[int, int],
) -> None:
    torch.manual_seed(1)
    batch = torch.randn(3, *shape)
    result = orthogonalize(batch, torch.float32)
    for matrix, other in zip(batch, result, strict=True):
        u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
        inside = u.T @ other @ vh.T
        values = inside.diagonal()
        assert torch.allclose(inside, values.diag(), atol=2e-3)
        assert values.min() > 0.3
        assert values.max() < 1.3


def test_a_zero_gradient_moves_nothing() -> None:
    assert torch.equal(orthogonalize(torch.zeros(2, 4, 6)), torch.zeros(2, 4, 6))


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_a_loaded_state_goes_on_as_the_unbroken_run(kind: str) -> None:
    torch.manual_seed(0)
    whole = LlamaForCausalLM(CONFIG)
    broken = copy.deepcopy(whole)

    def run(model: LlamaForCausalLM, optimizer: torch.optim.Optimizer, steps: range) -> None:
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (step + 1))
        for step in steps:
            optimizer.zero_grad()
            make_loss(model, step).backward()
            optimizer.step()
            schedule.step()

    optimizer = build(whole, kind=kind, lr=1e-2)
    run(whole, optimizer, range(3))
    first = build(broken, kind=kind, lr=1e-2)
    run(broken, first, range(3))
    second = build(broken, kind=kind, lr=1e-2)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for group in (*optimizer.param_groups, *second.param_groups):
        group["lr"] = 0.004
    for step in (7, 8):
        for model, each in ((whole, optimizer), (broken, second)):
            each.zero_grad()
            make_loss(model, step).backward()
            each.step()
    for one, other in zip(whole.parameters(), broken.parameters(), strict=True):
        assert torch.equal(one, other)


def test_schedules_reach_every_group() -> None:
    model = LlamaForCausalLM(CONFIG)
    optimizer = build(model, kind="muon", lr=3e-3, muon_lr=0.02)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0)
    assert isinstance(optimizer, MuonAdamW)
    before = [param.detach().clone() for param in model.parameters()]
    make_loss(model, 0).backward()
    optimizer.step()
    schedule.step()
    assert all(
        torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True)
    )


def test_both_kinds_take_the_same_defaults_of_adamw() -> None:
    for kind in ("adamw", "muon"):
        first, *others = build(LlamaForCausalLM(CONFIG), kind=kind, lr=3e-3).param_groups
        assert first["lr"] == (0.02 if kind == "muon" else 3e-3)
        assert {group["lr"] for group in others} == {3e-3}
        told = build(Outward(), kind=kind, lr=3e-3, betas=(0.8, 0.9), weight_decay=0.1)
        assert first["betas"] == (0.9, 0.95)
        assert {group["betas"] for group in told.param_groups} == {(0.8, 0.9)}
        for group in told.param_groups:
            matrices = {each.ndim >= 2 for each in group["params"]}
            assert matrices == {group["weight_decay"] == 0.1}


def test_a_closures_loss_comes_back_and_what_has_no_gradient_stays() -> None:
    model = Outward()
    before = model.head.weight.detach().clone()
    optimizer = build(model, kind="muon", lr=1e-2)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        found = model.inner(model.table(torch.tensor([1, 2]))).square().sum()
        found.backward()
        return found

    expected = loss()
    assert torch.equal(optimizer.step(loss), expected)
    assert torch.equal(model.head.weight, before)
    assert bool(loss() < expected)


def test_unknown_kinds_and_empty_models_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown optimizer 'sgd'; known: adamw, muon"):
        build(LlamaForCausalLM(CONFIG), kind="sgd", lr=1e-3)
    with pytest.raises(ValueError, match="no trainable parameters"):
        build(nn.ReLU(), kind="muon", lr=1e-3)
