"""Tiny models in the published shapes, scored against each convention written out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen2Model

from iterative_grpo import plugins
from reward_models.encoding import UnfitTokenizer, UnreadableSolution
from reward_models.model import UntrainedHead
from reward_models.published import math_shepherd, qwen_prm, rlhflow
from reward_models.published._judge import Judge
from tests.reward_models.making import byte_bpe, llama

QUESTION = "Ann has 18 coins. Ann wins 5. How many?"
STEPS = ["18+5=23", "so 23 - 0 = 23", "#### 23"]
TEXT = "\n".join(STEPS)
ENDS = (8, 23, 30)
CHAT = (
    "{% for m in messages %}<s>{{ m.role }}\n{{ m.content }}<e>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)


def tokenizer(*added: str) -> PreTrainedTokenizerFast:
    made = byte_bpe()
    made.add_special_tokens({"additional_special_tokens": ["<s>", "<e>", *added]})
    made.chat_template = CHAT
    return made


def policy(folder: Path, tokens: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    torch.manual_seed(0)
    model = LlamaForCausalLM(llama(len(tokens), context=256)).eval()
    with torch.no_grad():
        model.lm_head.weight.mul_(20)
    model.save_pretrained(folder)
    tokens.save_pretrained(folder)
    return model


def test_names() -> None:
    assert plugins.names("reward_models.published") == ["math_shepherd", "qwen_prm", "rlhflow"]


def test_math_shepherd(tmp_path: Path) -> None:
    tokens = tokenizer("ки")
    model = policy(tmp_path, tokens)
    (found,) = math_shepherd.load(str(tmp_path)).score([QUESTION], [TEXT], [ENDS])
    written = f"{QUESTION} 18+5=23 ки\nso 23 - 0 = 23 ки\n#### 23 ки"
    ids = torch.tensor([tokens(written)["input_ids"]])
    plus, minus = tokens("+")["input_ids"][-1], tokens("-")["input_ids"][-1]
    with torch.no_grad():
        pairs = model(ids).logits[0][:, [plus, minus]].softmax(-1)[:, 0]
    tag = tokens.convert_tokens_to_ids("ки")
    assert found == pytest.approx(pairs[ids[0] == tag].tolist(), abs=1e-6)
    assert len(found) == 3


def test_rlhflow_reads_in_one_pass_what_turns_read_apart(tmp_path: Path) -> None:
    tokens = tokenizer()
    model = policy(tmp_path, tokens)
    (found,) = rlhflow.load(str(tmp_path)).score([QUESTION], [TEXT], [ENDS])
    plus, minus = tokens("+")["input_ids"][-1], tokens("-")["input_ids"][-1]
    expected, chat = [], []
    for number, step in enumerate(STEPS):
        chat.append({"role": "user", "content": f"{QUESTION} {step}" if number == 0 else step})
        text = tokens.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        ids = torch.tensor([tokens(text, add_special_tokens=False)["input_ids"]])
        with torch.no_grad():
            expected.append(float(model(ids).logits[0, -1, [plus, minus]].softmax(-1)[0]))
        chat.append({"role": "assistant", "content": "+"})
    assert found == pytest.approx(expected, abs=1e-5)


def qwen(folder: Path, tokens: PreTrainedTokenizerFast) -> None:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokens),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
    )
    Qwen2Model(config).save_pretrained(folder)
    stored = {f"model.{k}": v for k, v in load_file(folder / "model.safetensors").items()}
    stored |= {
        "score.0.weight": torch.randn(32, 32),
        "score.0.bias": torch.randn(32),
        "score.2.weight": torch.randn(2, 32),
        "score.2.bias": torch.randn(2),
    }
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    tokens.save_pretrained(folder)


def test_qwen_prm(tmp_path: Path) -> None:
    tokens = tokenizer("<extra_0>")
    qwen(tmp_path, tokens)
    (found,) = qwen_prm.load(str(tmp_path)).score([QUESTION], [TEXT], [ENDS])
    stored = load_file(tmp_path / "model.safetensors")
    backbone = Qwen2Model.from_pretrained(tmp_path).eval()
    assert torch.equal(backbone.embed_tokens.weight, stored["model.embed_tokens.weight"])
    head = torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
    head.load_state_dict({k[6:]: v for k, v in stored.items() if k.startswith("score.")})
    answer = "".join(step + "<extra_0>" for step in STEPS)
    written = (
        f"<s>system\n{qwen_prm.SYSTEM}<e>\n<s>user\n{QUESTION}<e>\n<s>assistant\n{answer}<e>\n"
    )
    ids = torch.tensor([tokens(written, add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        scores = head(backbone(ids).last_hidden_state).softmax(-1)[0, :, 1]
    mark = tokens.convert_tokens_to_ids("<extra_0>")
    assert found == pytest.approx(scores[ids[0] == mark].tolist(), abs=1e-5)


def test_a_checkpoint_without_the_head_is_refused(tmp_path: Path) -> None:
    tokens = tokenizer("<extra_0>")
    qwen(tmp_path, tokens)
    stored = load_file(tmp_path / "model.safetensors")
    del stored["score.2.bias"]
    save_file(stored, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UntrainedHead, match=r"has no score\.2\.bias"):
        qwen_prm.load(str(tmp_path))


@pytest.mark.parametrize(
    ("make", "mark"), [(math_shepherd.judge, "ки"), (qwen_prm.judge, "<extra_0>")]
)
def test_marks_that_the_policy_writes_add_no_step(
    tmp_path: Path, make: Callable[..., Judge], mark: str
) -> None:
    tokens = tokenizer(mark)
    model = policy(tmp_path, tokens)
    ids, marks = make(model, tokens).render(QUESTION, [f"1+1=2 {mark}", f"{mark}#### 2"])
    assert len(marks) == 2
    assert [ids[place] for place in marks] == [tokens.convert_tokens_to_ids(mark)] * 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (math_shepherd.judge, "cuts the step tag"),
        (qwen_prm.judge, "does not know '<extra_0>'"),
    ],
)
def test_a_tokenizer_that_cannot_see_the_mark_is_refused(
    tmp_path: Path, make: Callable[..., Judge], message: str
) -> None:
    tokens = tokenizer()
    with pytest.raises(UnfitTokenizer, match=message):
        make(policy(tmp_path, tokens), tokens)


def test_a_tokenizer_without_a_chat_is_refused(tmp_path: Path) -> None:
    tokens = byte_bpe()
    with pytest.raises(UnfitTokenizer, match="no chat template"):
        rlhflow.judge(policy(tmp_path, tokens), tokens)


def test_text_beyond_the_context_is_refused(tmp_path: Path) -> None:
    tokens = tokenizer("ки")
    policy(tmp_path, tokens)
    with pytest.raises(UnreadableSolution, match="the reward model reads 256"):
        math_shepherd.load(str(tmp_path)).score([QUESTION], ["1+1=2\n" * 90], [(540,)])
