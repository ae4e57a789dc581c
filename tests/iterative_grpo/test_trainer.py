"""The trainer against stock TRL, against plain autograd, and against its own reference."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from trl import GRPOConfig, GRPOTrainer
from trl.trainer import grpo_trainer

from iterative_grpo import plugins, timing
from iterative_grpo.advantages.sum import Rule
from iterative_grpo.divergence import Initial, kl
from iterative_grpo.normalize import Normalizer
from iterative_grpo.protocols import Splitter
from iterative_grpo.rollouts import Rollout
from iterative_grpo.trainer import Credit, IterativeGRPOTrainer, Task
from iterative_grpo.trl_seam import reference
from iterative_grpo.trl_seam.batches import split_rows, trim
from iterative_grpo.trl_seam.kl_control import KLControl
from iterative_grpo.types import Completion, Finish, Problem, Prompt, StepRewards
from tests.iterative_grpo.logps.making import exact

PolicyMaker = Callable[[int, torch.dtype], Path]
G = 4


class DigitSource:
    """A reward that any text has: for each step, the share of its characters that are digits."""

    def __init__(self, splitter: Splitter) -> None:
        self.splitter = splitter

    def score(
        self, problems: Sequence[Problem], completions: Sequence[Completion]
    ) -> list[StepRewards]:
        rewards = []
        for completion in completions:
            ends = self.splitter.split(completion.text)
            starts = (0, *ends)
            values = tuple(
                sum(c.isdigit() for c in completion.text[a:b]) / max(b - a, 1)
                for a, b in zip(starts, ends, strict=False)
            )
            rewards.append(StepRewards(ends, values))
        return rewards


def digit_reward(completions: list[str], **_: Any) -> list[float]:
    """The same reward of whole texts, as stock TRL takes it."""
    return [sum(c.isdigit() for c in text) / max(len(text), 1) for text in completions]


def arguments(folder: Path, **more: Any) -> GRPOConfig:
    settings: dict[str, Any] = {
        "output_dir": str(folder / "out"),
        "per_device_train_batch_size": 2 * G,
        "gradient_accumulation_steps": 2,
        "num_generations": G,
        "max_completion_length": 10,
        "beta": 0.04,
        "loss_type": "grpo",
        "use_bias_correction_kl": False,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "max_steps": 2,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
        "shuffle_dataset": False,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    return GRPOConfig(**{**settings, **more})


def make(
    policy: Path,
    folder: Path,
    splitter: str = "whole",
    rollouts: list[tuple[int, list[Rollout]]] | None = None,
    engine: Any = None,
    initial: Initial | None = None,
    kl_control: KLControl | None = None,
    stop: tuple[str, ...] = (),
    model: PreTrainedModel | None = None,
    **more: Any,
) -> IterativeGRPOTrainer:
    tokenizer = AutoTokenizer.from_pretrained(policy)
    problems = [Problem(f"toy/{i}", f"{i}+{i}=", str(2 * i), "toy") for i in range(8)]
    prompts = [Prompt(p.id, tuple(tokenizer(p.question)["input_ids"])) for p in problems]
    found = plugins.find("iterative_grpo.splitters", splitter).Splitter()
    return IterativeGRPOTrainer(
        model or AutoModelForCausalLM.from_pretrained(policy),
        args=arguments(folder, **more),
        task=Task(problems, prompts, [p.question for p in problems], stop),
        source=DigitSource(found),
        credit=Credit(Rule(), Normalizer()),
        tokenizer=tokenizer,
        record=None if rollouts is None else (lambda step, rows: rollouts.append((step, rows))),
        engine=engine,
        initial=initial,
        kl_control=kl_control,
    )


def stock(policy: Path, folder: Path, **more: Any) -> GRPOTrainer:
    from datasets import Dataset

    return GRPOTrainer(
        AutoModelForCausalLM.from_pretrained(policy),
        reward_funcs=[digit_reward],
        args=arguments(folder, **more),
        train_dataset=Dataset.from_list([{"prompt": f"{i}+{i}="} for i in range(8)]),
        processing_class=AutoTokenizer.from_pretrained(policy),
    )


def generation(trainer: GRPOTrainer) -> dict[str, Any]:
    """One generation of the first two problems, as `_prepare_inputs` would ask for it."""
    trainer.model.train()
    torch.manual_seed(7)
    rows = [trainer.train_dataset[i] for i in range(2) for _ in range(G)]
    return dict(trainer._generate_and_score_completions(rows))


def test_outcome_advantages_are_stock_trls(tiny_policy: PolicyMaker, tmp_path: Path) -> None:
    policy = tiny_policy(0, torch.float32)
    ours = generation(make(policy, tmp_path))
    theirs = generation(stock(policy, tmp_path))
    torch.testing.assert_close(ours["completion_ids"], theirs["completion_ids"])
    spread = theirs["advantages"][:, None] * theirs["completion_mask"]
    torch.testing.assert_close(ours["advantages"], spread, rtol=1e-5, atol=1e-6)


def test_loss_and_gradients_are_stock_trls(tiny_policy: PolicyMaker, tmp_path: Path) -> None:
    policy = tiny_policy(0, torch.float32)
    gradients, losses = [], []
    for trainer in (make(policy, tmp_path), stock(policy, tmp_path)):
        trainer.current_gradient_accumulation_steps = 1
        loss = trainer._compute_loss(trainer.model, generation(trainer))
        loss.backward()
        losses.append(loss.detach())
        gradients.append(torch.cat([p.grad.flatten() for p in trainer.model.parameters()]))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-6, atol=1e-6)
    # Elements whose sum cancels keep their terms' rounding, so all are compared as one vector.
    assert float((gradients[0] - gradients[1]).norm() / gradients[1].norm()) < 2e-6


def test_process_loss_and_gradients_are_plain_autograds(
    tiny_policy: PolicyMaker, tmp_path: Path
) -> None:
    """Equation 21 of the paper written out on one row at a time, in float64."""
    policy = tiny_policy(0, torch.float64)
    trainer = make(policy, tmp_path, splitter="lines", model_init_kwargs=None)
    exact(trainer.model)
    batch = generation(trainer)
    trainer.current_gradient_accumulation_steps = 1
    # A reference that differs from the policy, so that the KL term takes part.
    reference = exact(AutoModelForCausalLM.from_pretrained(tiny_policy(1, torch.float64)))

    def logps(model: Any, row: int) -> torch.Tensor:
        prompt = batch["prompt_ids"][row][batch["prompt_mask"][row].bool()]
        completion = batch["completion_ids"][row][batch["completion_mask"][row].bool()]
        ids = torch.cat([prompt, completion])[None]
        scores = model(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        return scores.gather(-1, completion[:, None]).squeeze(-1)

    with torch.no_grad():
        width = batch["completion_ids"].size(1)
        batch["ref_per_token_logps"] = torch.stack(
            [
                torch.nn.functional.pad(row, (0, width - len(row)))
                for row in (logps(reference, r) for r in range(2 * G))
            ]
        )
    batch["advantages"] = batch["advantages"].double()
    loss = trainer._compute_loss(trainer.model, trim(batch))
    loss.backward()
    ours = torch.cat([p.grad.flatten() for p in trainer.model.parameters()])

    plain = exact(AutoModelForCausalLM.from_pretrained(policy))
    total = torch.zeros((), dtype=torch.float64)
    for row in range(2 * G):
        new = logps(plain, row)
        length = len(new)
        log_ratio = logps(reference, row).detach() - new
        kl = log_ratio.exp() - log_ratio - 1
        ratio = (new - new.detach()).exp()
        advantages = batch["advantages"][row, :length]
        clipped = torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
        total = total - (clipped - 0.04 * kl).mean() / (2 * G)
    total.backward()
    expected = torch.cat([p.grad.flatten() for p in plain.parameters()])
    assert ours.dtype is torch.float64
    assert batch["advantages"].unique().numel() > 4
    torch.testing.assert_close(loss.detach(), total.detach(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-11)


def test_process_advantages_lie_on_the_sampled_tokens(
    tiny_policy: PolicyMaker, tmp_path: Path
) -> None:
    rollouts: list[tuple[int, list[Rollout]]] = []
    trainer = make(tiny_policy(0, torch.float32), tmp_path, "lines", rollouts)
    batch = generation(trainer)
    ((_, rows),) = rollouts
    for row, rollout in enumerate(rows):
        length = int(batch["completion_mask"][row].sum())
        got = batch["advantages"][row, :length].tolist()
        # One token a character here: the step of a token is read off the text.
        expected = []
        for position in range(length):
            step = sum(end <= position for end in rollout.rewards.ends)
            expected.append(rollout.advantages[min(step, len(rollout.advantages) - 1)])
        assert got == pytest.approx(expected, rel=1e-6)
        assert not batch["advantages"][row, length:].any()
    assert any(len(r.rewards.ends) > 1 for r in rows)


def test_one_end_makes_a_process_step_bitwise_an_outcome_step(
    tiny_policy: PolicyMaker, tmp_path: Path
) -> None:
    policy = tiny_policy(0, torch.float32)
    weights = []
    for name in ("whole", "separator"):
        trainer = make(policy, tmp_path / name, name)
        trainer.train()
        weights.append(torch.cat([p.flatten() for p in trainer.model.parameters()]))
    assert torch.equal(weights[0], weights[1])


def test_training_moves_the_policy_and_the_reference_stays(
    tiny_policy: PolicyMaker, tmp_path: Path
) -> None:
    policy = tiny_policy(0, torch.float32)
    trainer = make(policy, tmp_path)
    before = [p.clone() for p in trainer.model.parameters()]
    trainer.train()
    saved = AutoModelForCausalLM.from_pretrained(policy)
    for kept, own in zip(saved.parameters(), trainer.ref_model.parameters(), strict=True):
        assert torch.equal(kept, own)
    assert any(
        not torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True)
    )


def test_the_reference_is_the_policy_that_was_given_read_once(
    tiny_policy: PolicyMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its path holds: a policy that was changed in memory is its own reference."""
    path = tiny_policy(0, torch.float32)
    policy = AutoModelForCausalLM.from_pretrained(path).train()
    with torch.no_grad():
        policy.get_input_embeddings().weight.mul_(1.5)
    monkeypatch.setattr(PreTrainedModel, "from_pretrained", None)
    trainer = make(path, tmp_path, model=policy)
    assert trainer.ref_model is not policy
    assert not trainer.ref_model.training
    for own, other in zip(policy.parameters(), trainer.ref_model.parameters(), strict=True):
        assert torch.equal(own, other)
        assert own.data_ptr() != other.data_ptr()


def test_a_policy_of_an_earlier_trainer_is_copied_with_its_own_weights(
    tiny_policy: PolicyMaker, tmp_path: Path
) -> None:
    """TRL gives a policy a `forward` that is bound to it, which a copy of it must not keep."""
    path = tiny_policy(0, torch.float32)
    policy = AutoModelForCausalLM.from_pretrained(path)
    for turn in ("first", "second"):
        trainer = make(path, tmp_path / turn, model=policy)
        for own, other in zip(policy.parameters(), trainer.ref_model.parameters(), strict=True):
            assert torch.equal(own, other)
        before = trainer.ref_model(input_ids=torch.tensor([[3, 4, 5]])).logits
        trainer.train()
        after = trainer.ref_model(input_ids=torch.tensor([[3, 4, 5]])).logits
        assert torch.equal(before, after)


def marked(policy: Any, mark: str) -> Any:
    """Make a policy one that cannot be copied, and say how."""
    weight = policy.get_input_embeddings().weight
    if mark == "meta":
        policy.to("meta")
    elif mark == "quantised":
        policy.is_quantized = True
    elif mark == "replaced":
        policy.forward = policy.forward
    else:  # as DeepSpeed's third stage and FSDP2 mark their parts
        setattr(weight, {"deepspeed": "ds_id", "fsdp": "full_tensor"}[mark], 0)
    return policy


@pytest.mark.parametrize("mark", ["meta", "quantised", "replaced", "deepspeed", "fsdp"])
def test_a_policy_that_cannot_be_copied_leaves_its_reference_to_trl(
    mark: str, tiny_policy: PolicyMaker
) -> None:
    path = tiny_policy(0, torch.float32)
    policy = AutoModelForCausalLM.from_pretrained(path)
    load = grpo_trainer.create_model_from_path
    with reference.copied(policy):
        assert grpo_trainer.create_model_from_path is not load
    assert grpo_trainer.create_model_from_path is load
    for other in (marked(policy, mark), str(path)):
        with reference.copied(other):
            assert grpo_trainer.create_model_from_path is load


def test_each_iteration_starts_at_its_own_reference(
    tiny_policy: PolicyMaker, tmp_path: Path
) -> None:
    """At step 0 the reference's log-probabilities are the policy's, not iteration 0's."""
    path = tiny_policy(0, torch.float32)
    ids = torch.randint(2, 20, (3, 12), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    seen = []
    for iteration in range(3):
        trainer = make(path, tmp_path / str(iteration))
        with torch.no_grad():
            policy, *_ = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, 6)
            of_reference, *_ = trainer._get_per_token_logps_and_entropies(
                trainer.ref_model, ids, mask, 6
            )
        assert torch.equal(policy, of_reference)
        seen.append(of_reference)
        trainer.train()
        path = tmp_path / f"after-{iteration}"
        trainer.model.save_pretrained(path)
        trainer.processing_class.save_pretrained(path)
    assert not torch.allclose(seen[0], seen[1])
    assert not torch.allclose(seen[1], seen[2])


@pytest.mark.parametrize("outputs", [3, 4, 6])
def test_the_distance_from_the_initial_policy_is_that_of_the_named_outputs(
    outputs: int, tiny_policy: PolicyMaker, tmp_path: Path
) -> None:
    policy, other = tiny_policy(0, torch.float32), tiny_policy(1, torch.float32)
    initial = AutoModelForCausalLM.from_pretrained(other)
    trainer = make(policy, tmp_path, initial=Initial(initial, outputs), temperature=1.0)
    batch = generation(trainer)
    (found,) = trainer._metrics["train"]["kl_initial"]
    rows = []
    for row in range(outputs):
        prompt, completion = (
            batch[f"{part}_ids"][row][batch[f"{part}_mask"][row].bool()].tolist()
            for part in ("prompt", "completion")
        )
        text = Completion(str(row), 0, "", tuple(completion), Finish.STOP)
        rows.append((Prompt(str(row), tuple(prompt)), [text]))
    expected = kl(trainer.model, initial, [p for p, _ in rows], [c for _, c in rows])
    assert found == pytest.approx(expected, rel=1e-4)
    assert found > 0.1
    # The measurement draws nothing and changes nothing of what is trained on.
    without = generation(make(policy, tmp_path))
    assert torch.equal(batch["completion_ids"], without["completion_ids"])
    assert torch.equal(batch["advantages"], without["advantages"])


def test_the_distance_is_that_at_the_runs_temperature_on_every_path(
    tiny_policy: PolicyMaker, tmp_path: Path
) -> None:
    found = []
    for path in ("shared", "trl"):
        initial = AutoModelForCausalLM.from_pretrained(tiny_policy(1, torch.float32))
        trainer = make(
            tiny_policy(0, torch.float32), tmp_path, initial=Initial(initial, 3), temperature=0.6
        )
        trainer.logps_path = path
        generation(trainer)
        found += trainer._metrics["train"]["kl_initial"]
    assert found[1] == pytest.approx(found[0], rel=1e-4)


@pytest.mark.parametrize(("outputs", "own"), [(1, 1), (6, 3)])
def test_a_process_measures_its_part_of_the_distance(
    outputs: int, own: int, tiny_policy: PolicyMaker, tmp_path: Path
) -> None:
    class Pair:
        num_processes = 2

        def __init__(self, accelerator: Any) -> None:
            self.accelerator = accelerator

        def __getattr__(self, name: str) -> Any:
            return getattr(self.accelerator, name)

    policy = tiny_policy(0, torch.float32)
    initial = AutoModelForCausalLM.from_pretrained(policy)
    trainer = make(policy, tmp_path, initial=Initial(initial, outputs))
    trainer.accelerator = Pair(trainer.accelerator)
    rows = [Completion("", 0, "", (5, 6, 7, 8)[:n], Finish.STOP) for n in (2, 3, 1, 4)]
    with timing.clock() as clock:
        part = trainer._moved([trainer.train_dataset[0]] * 4, rows)
    assert part is not None
    assert (part.nats, part.tokens) == (0.0, sum(len(row.token_ids) for row in rows[:own]))
    assert set(clock.parts) == {"reference"}


def test_the_time_of_a_step_is_divided(tiny_policy: PolicyMaker, tmp_path: Path) -> None:
    rollouts: list[tuple[int, list[Rollout]]] = []
    started = time.perf_counter()
    with timing.clock() as clock:
        trainer = make(tiny_policy(0, torch.float32), tmp_path, rollouts=rollouts, logging_steps=1)
        trainer.train()
    whole = time.perf_counter() - started
    parts = ("generate", "score", "reference", "forward-backward", "optimizer", "other")
    assert set(clock.parts) == set(parts)
    assert sum(spent.seconds for spent in clock.parts.values()) < whole
    logged = [row for row in trainer.state.log_history if "loss" in row]
    for part in parts:
        steps = sum(row[f"time/{part}"] for row in logged)
        assert steps == pytest.approx(clock.parts[part].seconds, rel=0.05, abs=0.01)
    sampled = sum(rollout.tokens for _, rows in rollouts for rollout in rows)
    assert clock.parts["generate"].tokens == sampled
    prompts = sum(len(trainer._prompt_ids[f"{i}+{i}="]) for i in range(8))
    # Every row is read once without a gradient, and once with.
    assert clock.parts["reference"].tokens == sampled + G * prompts
    assert clock.parts["forward-backward"].tokens == sampled + G * prompts


def test_clipping_gradients_is_time_of_the_optimizer(
    tiny_policy: PolicyMaker, tmp_path: Path
) -> None:
    trainer = make(tiny_policy(0, torch.float32), tmp_path)
    with timing.clock() as clock:
        trainer._clip_grad_norm(trainer.model)
    assert set(clock.parts) == {"optimizer"}


@pytest.mark.parametrize("updates", [1, 2])
def test_the_reference_reads_a_rollout_once(
    updates: int, tiny_policy: PolicyMaker, tmp_path: Path
) -> None:
    trainer = make(tiny_policy(0, torch.float32), tmp_path, num_iterations=updates, max_steps=2)
    reads: list[int] = []
    trainer.ref_model.base_model.register_forward_hook(lambda *_: reads.append(1))
    trainer.train()
    # One generation for each `updates` steps; the first batch is read six times, to check.
    checks = 6
    assert len(reads) == 2 // updates + checks


def test_an_engine_samples_groups_for_the_trainer(tiny_policy: PolicyMaker, tmp_path: Path) -> None:
    from iterative_grpo.engines import generate

    rollouts: list[tuple[int, list[Rollout]]] = []
    trainer = make(tiny_policy(0, torch.float32), tmp_path, rollouts=rollouts, engine=generate.load)
    trainer.train()
    assert [step for step, _ in rollouts] == [1, 2]
    for _, rows in rollouts:
        assert [r.problem_id for r in rows][::G] == list(dict.fromkeys(r.problem_id for r in rows))
        # A group's outputs are samples, not copies.
        assert len({r.text for r in rows}) > len(rows) // 2


def test_what_an_engine_decoded_is_what_trl_would_decode(
    tiny_policy: PolicyMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from iterative_grpo.engines import native

    rollouts: list[tuple[int, list[Rollout]]] = []
    trainer = make(tiny_policy(0, torch.float32), tmp_path, rollouts=rollouts, engine=native.load)
    tokenizer, asked = trainer.processing_class, []
    again = type(tokenizer).batch_decode
    monkeypatch.setattr(tokenizer, "batch_decode", lambda *given, **_: asked.append(given))
    batch = generation(trainer)
    ((_, rows),) = rollouts
    masks = batch["completion_mask"].bool()
    ids = [row[mask].tolist() for row, mask in zip(batch["completion_ids"], masks, strict=True)]
    assert [row.text for row in rows] == again(tokenizer, ids, skip_special_tokens=True)
    assert [row.tokens for row in rows] == list(map(len, ids))
    assert not asked
    assert trainer.processing_class is tokenizer


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["native", "generate"])
def test_engines_sample_in_mixed_precision(
    name: str, dtype: torch.dtype, checkpointing: bool, tiny_policy: PolicyMaker, tmp_path: Path
) -> None:
    load = plugins.find("iterative_grpo.engines", name).load
    rollouts: list[tuple[int, list[Rollout]]] = []
    policy = tiny_policy(0, dtype)
    model = AutoModelForCausalLM.from_pretrained(policy, dtype=dtype)
    before = [weight.clone() for weight in model.parameters()]
    precision = {"bf16": True, "gradient_checkpointing": checkpointing}
    make(policy, tmp_path, rollouts=rollouts, engine=load, model=model, **precision).train()
    assert [step for step, _ in rollouts] == [1, 2]
    assert all(weight.dtype == dtype for weight in model.parameters())
    assert all(weight.isfinite().all() for weight in model.parameters())
    assert any(not torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))


def test_mixed_precision_scores_in_its_precision(tiny_policy: PolicyMaker, tmp_path: Path) -> None:
    trainer = make(tiny_policy(0, torch.float32), tmp_path, bf16=True)
    seen: set[torch.dtype] = set()
    layer = trainer.model.model.layers[0].mlp.down_proj
    layer.register_forward_hook(lambda _, __, output: seen.add(output.dtype))
    ids = torch.full((3, 9), 5)
    trainer._get_per_token_logps_and_entropies(trainer.model, ids, torch.ones_like(ids), 4)
    assert seen == {torch.bfloat16}


def test_stop_strings_end_answers_and_get_the_last_steps_credit(
    tiny_policy: PolicyMaker, tmp_path: Path
) -> None:
    from iterative_grpo.engines import native

    rollouts: list[tuple[int, list[Rollout]]] = []
    policy = tiny_policy(0, torch.float32)
    trainer = make(policy, tmp_path, rollouts=rollouts, engine=native.load, stop=("3", "5"))
    output = generation(trainer)
    ((_, rows),) = rollouts
    decoded = [
        trainer.processing_class.decode(ids[mask.bool()], skip_special_tokens=True)
        for ids, mask in zip(output["completion_ids"], output["completion_mask"], strict=True)
    ]
    stopped = 0
    for index, (rollout, whole) in enumerate(zip(rows, decoded, strict=True)):
        assert "3" not in rollout.text
        assert "5" not in rollout.text
        assert rollout.rewards.ends[-1] == len(rollout.text)
        if whole != rollout.text:
            stopped += 1
            assert whole in (f"{rollout.text}3", f"{rollout.text}5")
            assert rollout.finish is Finish.STOP
            # The token that stopped is trained with the answer, as EOS is.
            last = int(output["completion_mask"][index].sum()) - 1
            assert float(output["advantages"][index, last]) == pytest.approx(rollout.advantages[-1])
    assert stopped > 0


@pytest.mark.parametrize("more", [{}, {"mask_truncated_completions": True}])
def test_stop_strings_that_would_be_ignored_are_refused(
    tiny_policy: PolicyMaker, tmp_path: Path, more: dict[str, Any]
) -> None:
    from iterative_grpo.engines import native

    engine = native.load if more else None
    with pytest.raises(
        ValueError, match=r"the prompts end answers at \('3',\): that needs an engine"
    ):
        make(tiny_policy(0, torch.float32), tmp_path, engine=engine, stop=("3",), **more)


def test_a_resumed_phase_ends_like_an_unbroken_one(
    tiny_policy: PolicyMaker, tmp_path: Path
) -> None:
    policy = tiny_policy(0, torch.float32)
    more = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    unbroken = make(policy, tmp_path / "a", **more)
    unbroken.train()
    resumed = make(policy, tmp_path / "b", **more)
    resumed.train(resume_from_checkpoint=str(tmp_path / "a" / "out" / "checkpoint-2"))
    for a, b in zip(unbroken.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_resumed_training_may_compute_fewer_rows_at_once(
    tiny_policy: PolicyMaker, tmp_path: Path
) -> None:
    from iterative_grpo.engines import native

    policy = tiny_policy(0, torch.float32)
    more: dict[str, Any] = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    more |= {"learning_rate": 1e-4, "engine": native.load}
    whole: list[tuple[int, list[Rollout]]] = []
    make(policy, tmp_path / "a", rollouts=whole, **more).train()
    parts: list[tuple[int, list[Rollout]]] = []
    more |= {"per_device_train_batch_size": G // 2, "gradient_accumulation_steps": 8}
    resumed = make(policy, tmp_path / "b", rollouts=parts, **more)
    resumed.train(resume_from_checkpoint=str(tmp_path / "a" / "out" / "checkpoint-2"))
    assert [step for step, _ in parts] == [3, 4]
    assert parts == whole[2:]


def test_micro_batches_keep_groups_and_lose_only_padding(
    tiny_policy: PolicyMaker, tmp_path: Path
) -> None:
    trainer = make(tiny_policy(0, torch.float32), tmp_path)
    batch = generation(trainer)
    parts = [trim(part) for part in split_rows(batch, 2)]
    for index, part in enumerate(parts):
        rows = slice(index * G, (index + 1) * G)
        kept = int(batch["completion_mask"][rows].sum())
        assert int(part["completion_mask"].sum()) == kept
        assert bool(part["completion_mask"][:, -1].any())
        assert bool(part["prompt_mask"][:, 0].any())
        width = part["completion_ids"].size(1)
        assert torch.equal(part["advantages"], batch["advantages"][rows, :width])
    whole = torch.stack([_loss(trainer, part) for part in parts]).mean()
    torch.testing.assert_close(whole, _loss(trainer, batch), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("rows", [G, G // 2, 1])
def test_micro_batches_of_groups_and_of_parts_of_one_train_alike(
    rows: int, tiny_policy: PolicyMaker, tmp_path: Path
) -> None:
    from iterative_grpo.engines import native

    policy = tiny_policy(0, torch.float32)
    found = []
    for size in (4 * G, rows):
        rollouts: list[tuple[int, list[Rollout]]] = []
        sizes = {
            "per_device_train_batch_size": size,
            "gradient_accumulation_steps": 4 * G // size,
            "learning_rate": 1e-4,
        }
        trainer = make(policy, tmp_path, "lines", rollouts, engine=native.load, **sizes)
        trainer.train()
        found.append((rollouts, list(trainer.model.parameters())))
    (whole, weights), (parts, others) = found
    assert [step for step, _ in whole] == [1, 2]
    assert parts[0] == whole[0]
    for one, other in zip(weights, others, strict=True):
        # Adam divides by the gradient's size: where that is rounding, steps are of any sign.
        assert ((one - other).abs() < 1e-6).float().mean() > 0.99


def _loss(trainer: IterativeGRPOTrainer, batch: dict[str, Any]) -> torch.Tensor:
    trainer.current_gradient_accumulation_steps = 1
    return trainer._compute_loss(trainer.model, batch).detach()


def test_outputs_are_recorded_in_their_order_with_their_own_verdicts(
    tiny_policy: PolicyMaker, tmp_path: Path
) -> None:
    rollouts: list[tuple[int, list[Rollout]]] = []
    trainer = make(tiny_policy(0, torch.float32), tmp_path, "lines", rollouts)
    trainer._truth = lambda problems, found: [
        problem.id == one.problem_id and len(one.text) % 2 == 0
        for problem, one in zip(problems, found, strict=True)
    ]
    trainer.state.global_step = 6
    with timing.clock() as clock:
        generation(trainer)
    ((step, rows),) = rollouts
    assert step == 7
    assert [(row.problem_id, row.sample) for row in rows] == [
        (f"toy/{problem}", sample) for problem in range(2) for sample in range(G)
    ]
    assert [row.correct for row in rows] == [len(row.text) % 2 == 0 for row in rows]
    assert {row.correct for row in rows} == {True, False}
    assert clock.parts["verify"].tokens == sum(row.tokens for row in rows)
    # One number an output for TRL's tables, and one spread: that of the groups.
    means = [statistics.fmean(row.rewards.values) for row in rows]
    assert trainer._metrics["train"]["reward"] == pytest.approx([statistics.fmean(means)])
    assert max(len(row.rewards.values) for row in rows) > 1
    assert len(trainer._metrics["train"]["reward_std"]) == 1


def test_an_evaluation_is_in_groups_of_its_own_size_and_in_no_record(
    tiny_policy: PolicyMaker, tmp_path: Path
) -> None:
    rollouts: list[tuple[int, list[Rollout]]] = []
    policy = tiny_policy(0, torch.float32)
    more = {"num_generations_eval": 2, "per_device_eval_batch_size": 4}
    trainer = make(policy, tmp_path, rollouts=rollouts, **more)
    sizes: list[int] = []
    credit = trainer._credit

    class Counted:
        def advantages(self, rewards: Sequence[StepRewards], group_size: int) -> Any:
            sizes.append(group_size)
            return credit.advantages(rewards, group_size)

    trainer._credit = Counted()
    figures = trainer.evaluate(trainer.train_dataset[:2])
    assert sizes == [2]
    assert not rollouts
    assert trainer._buffered_inputs is None  # nothing of it is trained on
    assert {"eval_advantage_rms", "eval_kl"} <= figures.keys()
    assert "eval_beta" not in figures
    assert not any("time/" in name for name in figures)


def test_rewards_that_trl_does_not_ask_for_are_missed(
    tiny_policy: PolicyMaker, tmp_path: Path
) -> None:
    trainer = make(tiny_policy(0, torch.float32), tmp_path)
    generation(trainer)
    trainer._calculate_rewards = lambda *_: torch.zeros(2 * G, 1)
    with pytest.raises(RuntimeError, match="TRL did not ask for rewards"):
        generation(trainer)


@pytest.mark.parametrize("more", [{"compute_aux_loss": True}, {"pixel_values": torch.ones(1)}])
def test_experts_losses_and_images_are_left_to_trl(
    more: dict[str, Any],
    tiny_policy: PolicyMaker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    trainer = make(tiny_policy(0, torch.float32), tmp_path)
    expected = (torch.zeros(3, 4), None, torch.zeros(()))
    given: list[Any] = []

    def by_trl(_: GRPOTrainer, *args: Any, **media: Any) -> Any:
        given.append((*args[3:], media))
        return expected

    monkeypatch.setattr(GRPOTrainer, "_get_per_token_logps_and_entropies", by_trl)
    ids = torch.full((3, 9), 5)
    found = trainer._get_per_token_logps_and_entropies(
        trainer.model, ids, torch.ones_like(ids), 4, 2, True, **more
    )
    assert found is expected
    images = {name: value for name, value in more.items() if name == "pixel_values"}
    assert given == [(4, 2, True, not images, images)]
    assert "log-probabilities come from TRL" in caplog.text


@pytest.mark.parametrize("number", [7, 9])
def test_wrong_numbers_of_rewards_are_named(
    number: int, tiny_policy: PolicyMaker, tmp_path: Path
) -> None:
    trainer = make(tiny_policy(0, torch.float32), tmp_path)

    class Other(DigitSource):
        def score(self, *args: Any) -> list[StepRewards]:
            return (super().score(*args) * 2)[:number]

    trainer._source = Other(plugins.find("iterative_grpo.splitters", "whole").Splitter())
    with pytest.raises(ValueError, match=f"{number} rewards for 8 completions"):
        generation(trainer)
