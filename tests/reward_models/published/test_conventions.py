"""Tiny models in the published shapes, scored against each convention written out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    AutoTokenizer,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2Model,
)

from iterative_grpo import plugins, timing
from reward_models.encoding import UnfitTokenizer, UnreadableSolution
from reward_models.model import BrokenScores, UntrainedHead
from reward_models.published import math_shepherd, qwen_prm, rlhflow, skywork
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
    assert plugins.names("reward_models.published") == [
        "math_shepherd",
        "qwen_prm",
        "rlhflow",
        "skywork",
    ]


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


def test_equal_solutions_are_read_once_and_score_alike(tmp_path: Path) -> None:
    policy(tmp_path, tokenizer("ки"))
    judge = math_shepherd.load(str(tmp_path))
    read = []
    judge.model.register_forward_pre_hook(
        lambda model, args, named: read.append(len(named["input_ids"])), with_kwargs=True
    )
    texts = [TEXT, "18+5=23", TEXT, "18+5=23", TEXT]
    ends = [ENDS, (7,), ENDS, (7,), (ENDS[-1],)]
    scores = judge.score([QUESTION] * 5, texts, ends)
    assert sum(read) == 3
    assert (scores[0], scores[1]) == (scores[2], scores[3])
    alone = [judge.score([QUESTION], [t], [e])[0] for t, e in zip(texts, ends, strict=True)]
    for found, expected in zip(scores, alone, strict=True):
        assert found == pytest.approx(expected, abs=1e-5)


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


def qwen(
    folder: Path, tokens: PreTrainedTokenizerFast, head: Mapping[str, torch.Tensor] | None = None
) -> None:
    """A Qwen2 backbone and the weights of a head in one file, Qwen2.5-Math-PRM's by default."""
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
    stored |= head or {
        "score.0.weight": torch.randn(32, 32),
        "score.0.bias": torch.randn(32),
        # Small: scores near 0 or 1 would be the same for other inputs, too.
        "score.2.weight": torch.randn(2, 32) / 30,
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
    # Beside a Qwen2 model the files load as Qwen's own class, which cuts digits in its own way.
    tokens = AutoTokenizer.from_pretrained(tmp_path)
    ids = torch.tensor([tokens(written, add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        scores = head(backbone(ids).last_hidden_state).softmax(-1)[0, :, 1]
    mark = tokens.convert_tokens_to_ids("<extra_0>")
    assert found == pytest.approx(scores[ids[0] == mark].tolist(), abs=1e-5)
    assert all(0.1 < score < 0.9 for score in found)


def test_special_tokens_are_added_where_no_template_writes_them(tmp_path: Path) -> None:
    tokens = with_start(tokenizer("ки", "<extra_0>"))
    start = tokens.convert_tokens_to_ids("<s>")
    model = policy(tmp_path, tokens)
    makers = (math_shepherd.judge, qwen_prm.judge, rlhflow.judge, skywork.judge)
    plain = [make(model, tokens).render(QUESTION, STEPS)[0] for make in makers]
    tokens.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", start)]
    )
    opened = [make(model, tokens).render(QUESTION, STEPS)[0] for make in makers]
    assert opened[0] == [start, *plain[0]]
    assert opened[1:] == plain[1:]


def test_backbone_and_head_go_to_the_device_asked_for(tmp_path: Path) -> None:
    qwen(tmp_path / "qwen", tokenizer("<extra_0>"))
    qwen(tmp_path / "skywork", with_start(tokenizer()), VALUE_HEAD)
    policy(tmp_path / "policy", tokenizer("ки"))
    for judge in (
        qwen_prm.load(str(tmp_path / "qwen"), device="meta"),
        skywork.load(str(tmp_path / "skywork"), device="meta"),
    ):
        assert judge.model.device.type == "meta"
        assert {each.device.type for each in judge.model.head.parameters()} == {"meta"}
    for load in (math_shepherd.load, rlhflow.load):
        assert load(str(tmp_path / "policy"), device="meta").model.device.type == "meta"


def test_weights_keep_their_precision_unless_another_is_asked_for(tmp_path: Path) -> None:
    tokens = tokenizer("ки", "<extra_0>")
    policy(tmp_path / "policy", tokens).bfloat16().save_pretrained(tmp_path / "policy")
    assert math_shepherd.load(str(tmp_path / "policy")).model.dtype == torch.bfloat16
    judge = rlhflow.load(str(tmp_path / "policy"), dtype="float32")
    assert judge.model.dtype == torch.float32
    qwen(tmp_path / "qwen", tokens)
    asked = [QUESTION], [TEXT], [ENDS]
    (exact,) = qwen_prm.load(str(tmp_path / "qwen")).score(*asked)
    (found,) = qwen_prm.load(str(tmp_path / "qwen"), dtype="bfloat16").score(*asked)
    assert found == pytest.approx(exact, abs=0.05)
    whole = qwen_prm.load(str(tmp_path / "qwen"), dtype="bfloat16").model
    assert next(whole.head.parameters()).dtype == whole.backbone.dtype == torch.bfloat16
    # A value head keeps its own precision on a backbone of another.
    qwen(tmp_path / "skywork", with_start(tokens), VALUE_HEAD)
    (exact,) = skywork.load(str(tmp_path / "skywork")).score(*asked)
    judge = skywork.load(str(tmp_path / "skywork"), dtype="bfloat16")
    assert next(judge.model.head.parameters()).dtype == torch.float32
    assert judge.score(*asked)[0] == pytest.approx(exact, abs=0.05)


def test_probabilities_are_computed_in_full_precision(tmp_path: Path) -> None:
    tokens = tokenizer("ки")
    policy(tmp_path, tokens)
    judge = math_shepherd.load(str(tmp_path), dtype="bfloat16")
    (found,) = judge.score([QUESTION], ["18+5=23"], [(7,)])
    ids, (mark,) = judge.render(QUESTION, ["18+5=23"])
    with torch.no_grad():
        logits_V = judge.model(torch.tensor([ids])).logits[0, mark].double()
    plus, minus = tokens("+")["input_ids"][-1], tokens("-")["input_ids"][-1]
    expected = float((logits_V[plus] - logits_V[minus]).sigmoid())
    assert found == (pytest.approx(expected, abs=1e-6),)


@pytest.mark.parametrize("load", [math_shepherd.load, qwen_prm.load])
def test_code_of_a_checkpoint_is_never_run(tmp_path: Path, load: Callable[[str], Judge]) -> None:
    if load is math_shepherd.load:
        policy(tmp_path, tokenizer("ки"))
    else:
        qwen(tmp_path, tokenizer("<extra_0>"))
    (tmp_path / "own.py").write_text("raise SystemExit('the code of a checkpoint ran')\n")
    for file, names in (
        ("config.json", {"AutoModel": "own.Own", "AutoModelForCausalLM": "own.Own"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["own.Own", "own.Own"]}),
    ):
        stored = json.loads((tmp_path / file).read_text())
        (tmp_path / file).write_text(json.dumps({**stored, "auto_map": names}))
    assert len(load(str(tmp_path)).score([QUESTION], [TEXT], [ENDS])[0]) == 3


def test_a_checkpoint_without_the_head_is_refused(tmp_path: Path) -> None:
    tokens = tokenizer("<extra_0>")
    qwen(tmp_path, tokens)
    stored = load_file(tmp_path / "model.safetensors")
    del stored["score.2.bias"]
    save_file(stored, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UntrainedHead, match=r"has no score\.2\.bias"):
        qwen_prm.load(str(tmp_path))


def shard(folder: Path, last: str) -> None:
    """Divide a checkpoint's file in two, the names that begin with `last` in the second."""
    stored = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    files = {name: f"model-0000{1 + name.startswith(last)}-of-00002.safetensors" for name in stored}
    for file in set(files.values()):
        part = {name: value for name, value in stored.items() if files[name] == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": files}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_a_head_in_another_shard_is_found(tmp_path: Path) -> None:
    tokens = tokenizer("<extra_0>")
    qwen(tmp_path, tokens)
    whole = qwen_prm.load(str(tmp_path)).score([QUESTION], [TEXT], [ENDS])
    shard(tmp_path, "score.")
    assert qwen_prm.load(str(tmp_path)).score([QUESTION], [TEXT], [ENDS]) == whole


def test_shards_without_the_head_are_refused(tmp_path: Path) -> None:
    tokens = tokenizer("<extra_0>")
    qwen(tmp_path, tokens, VALUE_HEAD)
    shard(tmp_path, "v_head.")
    with pytest.raises(UntrainedHead, match=r"has no score\.0\.weight"):
        qwen_prm.load(str(tmp_path))


VALUE_HEAD = {
    "v_head.summary.weight": torch.linspace(-1, 1, 32)[None],
    "v_head.summary.bias": torch.tensor([0.1]),
}


def with_start(tokens: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    tokens.bos_token = "<s>"
    return tokens


def test_skywork(tmp_path: Path) -> None:
    qwen(tmp_path, with_start(tokenizer()), VALUE_HEAD)
    # Beside a Qwen2 model the files load as Qwen's own class, which cuts digits in its own way.
    tokens = AutoTokenizer.from_pretrained(tmp_path)
    (found,) = skywork.load(str(tmp_path)).score([QUESTION], [TEXT], [ENDS])
    # As published: lines are encoded apart, each closed by the newline's token, which is flagged.
    newline = tokens.encode("\n", add_special_tokens=False)[-1]
    ids = tokens.encode(f"<s>{QUESTION}\n", add_special_tokens=False)
    flags = [0] * len(ids)
    for line in TEXT.split("\n"):
        line_ids = [*tokens.encode(line, add_special_tokens=False), newline]
        ids += line_ids
        flags += [0] * (len(line_ids) - 1) + [1]
    backbone = Qwen2Model.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        hidden_TD = backbone(torch.tensor([ids])).last_hidden_state[0]
        weight, bias = VALUE_HEAD.values()
        values = (hidden_TD @ weight[0] + bias).sigmoid()
    assert found == pytest.approx(values[torch.tensor(flags) == 1].tolist(), abs=1e-5)
    assert len(found) == 3


def test_skywork_reads_a_step_of_several_lines_at_its_last(tmp_path: Path) -> None:
    tokens = with_start(tokenizer())
    qwen(tmp_path, tokens, VALUE_HEAD)
    judge = skywork.load(str(tmp_path))
    lines, whole = judge.score([QUESTION] * 2, [TEXT] * 2, [ENDS, (ENDS[1], ENDS[2])])
    assert whole == pytest.approx(lines[1:], abs=1e-5)


def test_skywork_without_its_parts_is_refused(tmp_path: Path) -> None:
    qwen(tmp_path, with_start(tokenizer()))
    with pytest.raises(UntrainedHead, match=r"has no v_head\.summary\.weight.*Skywork"):
        skywork.load(str(tmp_path))
    with pytest.raises(UnfitTokenizer, match="no beginning-of-text token"):
        skywork.judge(None, tokenizer())


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        (pre_tokenizers.WhitespaceSplit(), "makes no token of"),
        (pre_tokenizers.Split(" ", "isolated"), "no token for a newline alone"),
    ],
)
def test_skywork_needs_a_tokenizer_that_sees_newlines(pieces: Any, message: str) -> None:
    backend = Tokenizer(models.WordLevel({"<s>": 0, "<unk>": 1, "18+5=23": 2}, unk_token="<unk>"))
    backend.pre_tokenizer = pieces
    blind = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", unk_token="<unk>")
    with pytest.raises(UnfitTokenizer, match=message):
        skywork.judge(None, blind)


def merging() -> PreTrainedTokenizerFast:
    """A tokenizer that has one token for a full stop and a newline."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=258,
        special_tokens=["<s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([".\n"] * 20, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>")


def test_skywork_encodes_lines_apart() -> None:
    tokens = merging()
    (newline,) = tokens("\n")["input_ids"]
    assert len(tokens(".\n")["input_ids"]) == 1
    ids, marks = skywork.judge(None, tokens).render("How?", ["a.", "b.\nc."])
    expected = tokens("<s>How?\n")["input_ids"]
    for line in ("a.", "b.", "c."):
        expected += [*tokens(line)["input_ids"], newline]
    assert ids == expected
    assert [ids[mark] for mark in marks] == [newline] * 2
    assert marks[-1] == len(ids) - 1


def test_skywork_refuses_a_newline_that_becomes_something_else() -> None:
    backend = Tokenizer(models.WordLevel({"<s>": 0, "<unk>": 1, "_": 2}, unk_token="<unk>"))
    backend.normalizer = normalizers.Replace("\n", "_")
    backend.pre_tokenizer = pre_tokenizers.Split("_", "isolated")
    other = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", unk_token="<unk>")
    with pytest.raises(UnfitTokenizer, match="no token for a newline alone"):
        skywork.judge(None, other)


def test_rows_that_are_no_cut_are_refused(tmp_path: Path) -> None:
    tokens = with_start(tokenizer())
    qwen(tmp_path, tokens, VALUE_HEAD)
    judge = skywork.load(str(tmp_path))
    with pytest.raises(ValueError, match="1 questions, 2 texts and 1 lists of ends"):
        judge.score([QUESTION], [TEXT] * 2, [ENDS])
    with pytest.raises(ValueError, match="row 0: an end at 31 lies beyond the text of 30"):
        judge.score([QUESTION], [TEXT], [(8, 31)])


def test_broken_weights_are_told(tmp_path: Path) -> None:
    broken = {**VALUE_HEAD, "v_head.summary.bias": torch.tensor([float("nan")])}
    qwen(tmp_path, with_start(tokenizer()), broken)
    with pytest.raises(BrokenScores, match="load it in float32"):
        skywork.load(str(tmp_path)).score([QUESTION], [TEXT], [ENDS])


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
    # Taking a mark out can put two halves of another together.
    nested = f"{mark[:1]}{mark}{mark[1:]}"
    assert len(make(model, tokens).render(nested, [nested, "#### 2"])[1]) == 2


@pytest.mark.parametrize("load", [math_shepherd.load, rlhflow.load])
def test_a_checkpoint_of_another_shape_is_refused(
    tmp_path: Path, load: Callable[[str], Judge]
) -> None:
    qwen(tmp_path, tokenizer("ки"))
    with pytest.raises(UntrainedHead, match=r"lm_head\.weight are missing"):
        load(str(tmp_path))


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
    tokens.add_special_tokens({"additional_special_tokens": ["<extra_0>"]})
    with pytest.raises(UnfitTokenizer, match="no chat template"):
        qwen_prm.judge(None, tokens)


def test_a_mark_that_is_unknown_is_no_mark() -> None:
    backend = Tokenizer(models.WordLevel({"<unk>": 0, "+": 1, "-": 2}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    blind = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    blind.chat_template = CHAT
    with pytest.raises(UnfitTokenizer, match="does not know '<extra_0>'"):
        qwen_prm.judge(None, blind)
    with pytest.raises(UnfitTokenizer, match="does not know it"):
        math_shepherd.judge(None, blind)


def test_a_sign_that_is_no_token_of_its_own_is_refused(tmp_path: Path) -> None:
    tokens = byte_bpe(merges=4, texts=["+>>"] * 20)
    tokens.chat_template = CHAT.replace("<e>", ">>").replace("<s>", "")
    assert len(tokens("+>>")["input_ids"]) == 1
    judge = rlhflow.judge(policy(tmp_path, tokens), tokens)
    with pytest.raises(UnreadableSolution, match="3 steps but 0 places"):
        judge.score([QUESTION], [TEXT], [ENDS])


def test_a_rendering_of_more_or_fewer_marks_than_steps_is_refused(tmp_path: Path) -> None:
    model = policy(tmp_path, tokenizer())
    for marks in ([], [0, 1], [0, 1, 2]):
        judge = Judge(model, lambda question, steps, m=marks: ([5, 6, 7], m), torch.ravel, 0)
        if len(marks) == 2:
            assert len(judge.render("", [])[1]) == 2
        else:
            with pytest.raises(UnreadableSolution, match=f"2 steps but {len(marks)} places"):
                judge.score([QUESTION], ["a\nb"], [(2, 3)])


def test_a_text_may_fill_the_context_and_its_tokens_are_counted(tmp_path: Path) -> None:
    model = policy(tmp_path, tokenizer())

    def judge(size: int) -> Judge:
        return Judge(
            model,
            lambda question, steps: ([5] * size, [size - 1]),
            lambda logits_NV: logits_NV[:, 0].sigmoid(),
            0,
        )

    with timing.clock() as clock:
        assert len(judge(256).score([QUESTION] * 2, ["a", "b"], [(1,), (1,)])) == 2
    assert clock.parts["score"].tokens == 512
    with pytest.raises(UnreadableSolution, match="row 0 has 257 tokens"):
        judge(257).score([QUESTION], ["a"], [(1,)])


def test_text_beyond_the_context_is_refused(tmp_path: Path) -> None:
    tokens = tokenizer("ки")
    policy(tmp_path, tokens)
    with pytest.raises(UnreadableSolution, match="the reward model reads 256"):
        math_shepherd.load(str(tmp_path)).score([QUESTION], ["1+1=2\n" * 90], [(540,)])
