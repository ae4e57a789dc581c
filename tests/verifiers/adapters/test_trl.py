"""The reward function alone, and inside TRL's own trainer."""

import logging
from pathlib import Path

import pytest

from verifiers import GoldError, Outcome, Policy
from verifiers.adapters.trl import VALUES, make_reward, reward


def test_plain_completions() -> None:
    values = reward(completions=["\\boxed{4}", "\\boxed{5}", ""], answer=["4", 4, "4"])
    assert values == [1.0, 0.0, 0.0]


def test_conversations() -> None:
    def said(content: object) -> list[dict[str, object]]:
        return [{"role": "assistant", "content": content}]

    completions = [
        said("\\boxed{4}"),
        said([{"type": "text", "text": "\\boxed"}, {"type": "text", "text": "{4}"}]),
        [{"role": "assistant", "content": None, "tool_calls": []}],
        [*said("\\boxed{4}"), {"role": "tool", "content": "9"}, *said("\\boxed{5}")],
    ]
    values = reward([None] * 4, completions, answer=["4"] * 4, trainer_state=None, level=[1] * 4)
    assert values == [1.0, 1.0, 0.0, 0.0]


def test_whole_solutions_of_gsm8k_are_golds() -> None:
    graded = make_reward(convention="gsm8k", column="solution", name="gsm8k")
    assert graded.__name__ == "gsm8k"
    assert graded(completions=["A: 72", "72 and\n#### 71"], solution=["48+24=72\n#### 72"] * 2) == [
        1.0,
        0.0,
    ]


def test_values_are_chosen_by_outcome(caplog: pytest.LogCaptureFixture) -> None:
    # Integrals are decided by sympy alone, and no call of a worker ends in a microsecond.
    needs_sympy = "\\boxed{\\int_0^1 x^2 dx}"
    skipping = make_reward(timeout=1e-6, values={**VALUES, Outcome.TIMEOUT: None})
    with caplog.at_level(logging.WARNING):
        assert skipping(completions=[needs_sympy, "\\boxed{2}"], answer=["1/3", "2"]) == [None, 1]
    assert "1 of 2 verdicts were not reached" in caplog.text
    assert make_reward(timeout=1e-6)(completions=[needs_sympy], answer=["1/3"]) == [0.0]
    with pytest.raises(ValueError, match="INCORRECT"):
        make_reward(values={Outcome.CORRECT: 1.0})


def test_the_policy_is_the_one_asked_for() -> None:
    strict = make_reward(policy=Policy(units="required"))
    assert strict(completions=["\\boxed{5}"], answer=["5 \\text{ cm}"]) == [0.0]
    assert reward(completions=["\\boxed{5}"], answer=["5 \\text{ cm}"]) == [1.0]


def test_faults_of_the_data_are_errors_and_no_rewards() -> None:
    with pytest.raises(GoldError, match="row 1"):
        reward(completions=["\\boxed{1}", "\\boxed{1}"], answer=["1", " "])
    with pytest.raises(ValueError, match=r"no column 'answer'.*gold, level"):
        reward(completions=["1"], gold=["1"], level=[3])
    with pytest.raises(ValueError, match="2 completions but 1"):
        reward(completions=["1", "1"], answer=["1"])
    for gold in (None, True):
        with pytest.raises(TypeError, match="row 0"):
            reward(completions=["1"], answer=[gold])
    with pytest.raises(TypeError, match="messages"):
        reward(completions=[3], answer=["1"])


@pytest.mark.slow
def test_trl_takes_it_as_it_is(tmp_path: Path) -> None:
    import torch
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from trl import GRPOConfig, GRPOTrainer

    torch.manual_seed(0)
    words = ["<pad>", "<eos>", "<unk>", "####", *map(str, range(10)), "how", "many"]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(words),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            pad_token_id=0,
            eos_token_id=1,
        )
    )
    seen: list[tuple[object, float | None]] = []
    graded = make_reward(convention="gsm8k")

    def watched(**columns: object) -> list[float | None]:
        values = graded(**columns)
        completions = columns["completions"]
        assert isinstance(completions, list)
        seen.extend(zip(completions, values, strict=True))
        return values

    trainer = GRPOTrainer(
        model=model,
        processing_class=fast,
        reward_funcs=[graded, watched],
        train_dataset=Dataset.from_dict({"prompt": ["how many"] * 8, "answer": ["3"] * 8}),
        args=GRPOConfig(
            output_dir=str(tmp_path),
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            per_device_train_batch_size=8,
            num_generations=8,
            max_completion_length=6,
            max_steps=2,
            logging_steps=1,
            report_to=[],
            save_strategy="no",
        ),
    )
    trainer.train()
    logged = [row["rewards/verifier/mean"] for row in trainer.state.log_history if "reward" in row]
    assert len(seen) == 16
    assert logged == [
        pytest.approx(sum(float(value or 0) for _, value in seen[i : i + 8]) / 8) for i in (0, 8)
    ]
