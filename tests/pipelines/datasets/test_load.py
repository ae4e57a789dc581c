import hashlib
import json
import random
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from iterative_grpo.plugins import UnknownName
from iterative_grpo.types import Problem
from pipelines.datasets import DataError, aime, asdiv, gsm8k, load, math, parted
from pipelines.datasets._carving import carve, question_key
from pipelines.datasets._jsonl import Row
from pipelines.datasets._tables import Official, Table, read_table
from tests.pipelines.datasets.rows import GSM8K, MATH, MATH500, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """All three sets, laid out as folders of one folder."""
    write(tmp_path / "gsm8k" / "train.jsonl", GSM8K)
    write(tmp_path / "gsm8k" / "test.jsonl", GSM8K[:5])
    write(tmp_path / "math" / "train.jsonl", MATH)
    write(tmp_path / "math500" / "test.jsonl", MATH500)
    return tmp_path


def test_train_and_validation_are_all_rows_and_share_no_question(folder: Path) -> None:
    train = load("gsm8k", "train", path=folder)
    validation = load("gsm8k", "validation", path=folder)
    ids = [int(each.id.removeprefix("gsm8k/train/")) for each in train.problems]
    others = [int(each.id.removeprefix("gsm8k/train/")) for each in validation.problems]
    assert sorted(ids + others) == list(range(len(GSM8K)))
    assert len(others) == 3  # 5 % of 60
    for number, each in zip(ids, train.problems, strict=True):
        assert each.question == GSM8K[number]["question"]
    assert ids == sorted(ids)


def test_validation_takes_no_more_than_so_many(folder: Path) -> None:
    problems = load("gsm8k", "test", path=folder).problems
    train, validation = carve(problems, share=0.8, largest=2)
    assert (len(train), len(validation)) == (len(problems) - 2, 2)


def test_validation_does_not_depend_on_the_order_of_rows_or_the_seed(
    folder: Path, tmp_path: Path
) -> None:
    shuffled = list(GSM8K)
    random.Random(5).shuffle(shuffled)
    write(tmp_path / "other" / "train.jsonl", shuffled)
    one = load("gsm8k", "validation", path=folder, seed=1)
    other = load("gsm8k", "validation", path=tmp_path / "other", seed=2)
    assert {each.question for each in one.problems} == {each.question for each in other.problems}


def test_questions_equal_up_to_spacing_and_case_stay_on_one_side(tmp_path: Path) -> None:
    twins = [{**row, "question": row["question"].upper().replace(" ", "  ")} for row in GSM8K]
    write(tmp_path / "train.jsonl", GSM8K + twins)
    sides = [
        {
            "".join(each.question.lower().split())
            for each in load("gsm8k", s, path=tmp_path).problems
        }
        for s in ("train", "validation")
    ]
    assert sides[1]
    assert not sides[0] & sides[1]


def test_a_set_without_train_refuses_it_by_name(folder: Path) -> None:
    with pytest.raises(ValueError, match="math500 has no split 'validation'; it has test"):
        load("math500", "validation", path=folder)


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownName, match=r"Did you mean 'gsm8k'.*arithmetic, .*math500"):
        load("gsm8", "train")
    with pytest.raises(UnknownName, match=r"unknown data set 'GSM8K'\. Did you mean 'gsm8k'"):
        load("GSM8K", "train")
    with pytest.raises(ValueError, match="gsm8k has no split 'dev'; it has train, validation, "):
        load("gsm8k", "dev")


def test_fingerprint_is_the_checksum_of_the_file(folder: Path) -> None:
    file = folder / "gsm8k" / "train.jsonl"
    for end in (b"", b"\n\n"):  # lines without anything count too
        data = file.read_bytes() + end
        file.write_bytes(data)
        assert load("gsm8k", "train", path=folder).fingerprint == hashlib.sha256(data).hexdigest()


def test_a_partial_set_says_so(folder: Path) -> None:
    assert load("gsm8k", "test", path=folder).note == (
        "differs from the published set: 1,319 rows expected, 5 found"
    )


def test_a_name_that_two_rows_share_is_refused(tmp_path: Path) -> None:
    other = {**MATH500[0], "problem": "Another question."}
    write(tmp_path / "test.jsonl", [MATH500[0], other])
    message = r"line 2: unique_id 'test/algebra/9001.json' is that of .*line 1 too"
    with pytest.raises(DataError, match=message):
        load("math500", "test", path=tmp_path)


def test_repeated_questions_are_said(tmp_path: Path) -> None:
    write(tmp_path / "test.jsonl", [*GSM8K[:3], GSM8K[1], GSM8K[1]])
    split = load("gsm8k", "test", path=tmp_path)
    assert len(split.problems) == 5
    assert split.note.endswith("2 rows ask the same as another (gsm8k/test/3 as gsm8k/test/1)")


@pytest.mark.parametrize(
    ("task", "parts"),
    [
        ("gsm8k", ("gsm8k", "test")),
        ("gsm8k/train", ("gsm8k", "train")),
        ("openai/gsm8k", ("gsm8k", "test")),
        ("HuggingFaceH4/MATH-500/test", ("math500", "test")),
        ("nobody/gsm8k", ("nobody", "gsm8k")),
    ],
)
def test_tasks_go_by_our_names_and_by_the_hubs(task: str, parts: tuple[str, str]) -> None:
    assert parted(task) == parts


def test_what_a_folder_holds_is_said_where_a_split_is_missing(folder: Path) -> None:
    with pytest.raises(DataError, match=r"neither .*test.jsonl nor .*math holds train\.jsonl"):
        load("math", "test", path=folder)


def test_the_own_folder_of_a_set_is_found_too(folder: Path) -> None:
    assert load("gsm8k", "test", path=folder / "gsm8k") == load("gsm8k", "test", path=folder)


def test_limit_takes_a_subset_that_grows(folder: Path) -> None:
    everything = load("gsm8k", "train", path=folder).problems
    ten = load("gsm8k", "train", path=folder, limit=10, seed=3).problems
    twenty = load("gsm8k", "train", path=folder, limit=20, seed=3).problems
    assert len(ten) == 10
    assert {each.id for each in ten} < {each.id for each in twenty}
    assert [each for each in everything if each in ten] == list(ten)
    assert load("gsm8k", "train", path=folder, limit=10, seed=4).problems != ten
    assert load("gsm8k", "train", path=folder, limit=10, seed=3).rows == len(everything)
    with pytest.raises(ValueError, match="limit is 0"):
        load("gsm8k", "train", path=folder, limit=0)
    with pytest.raises(ValueError, match=r"max_bad_golds is 1\.5, must be a share"):
        load("gsm8k", "train", path=folder, max_bad_golds=1.5)


def test_bad_golds_are_named_and_refused_above_the_share(folder: Path) -> None:
    def refuse_multiples_of_4(gold: str) -> None:
        if int(gold) % 4 == 0:
            raise ValueError("a multiple of 4")

    message = r"3 of 5 golds .*60\.00%, allowed 50\.00%.*test/0: '900' \(a multiple of 4\)"
    with pytest.raises(DataError, match=message):
        load("gsm8k", "test", path=folder, check_gold=refuse_multiples_of_4, max_bad_golds=0.5)
    split = load("gsm8k", "test", path=folder, check_gold=refuse_multiples_of_4, max_bad_golds=0.6)
    assert [each.answer for each in split.problems] == ["902", "906"]
    assert [each.split(":")[0] for each in split.rejected] == [
        "gsm8k/test/0",
        "gsm8k/test/2",
        "gsm8k/test/4",
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"question": "1+1?", "answer": "2', r"line 3: not JSON \(Invalid control"),
        (b'{"question": "1+1?", "answer": }', r"line 3: not JSON \(Expecting value at column 32\)"),
        (b'{"question": "1+1?"}', "line 3: no field 'answer'; found question"),
        (b'{"question": "1+1?", "answer": " "}', "line 3: field 'answer' is empty"),
        (b'{"question": "", "answer": "#### 2"}', "line 3: field 'question' is empty"),
        (b'{"question": "1+1?", "answer": null}', "line 3: field 'answer' is a NoneType"),
        (b'{"question": "1+1?", "answer": true}', "line 3: field 'answer' is a bool"),
        (b'{"question": "\\ud800", "answer": "#### 2"}', "line 3: field 'question' has half a"),
        (b'{"question": "1+1?", "answer": "two"}', "line 3: the answer has no final answer after"),
        (b'{"question": "1+1?", "answer": "2 ####"}', "line 3: the answer has no final answer"),
        (b'{"question": "1+1?\xff", "answer": "#### 2"}', "line 3: not UTF-8 .*at byte 18"),
        (b'\xef\xbb\xbf{"question": "1+1?"}', "line 3: a byte order mark; save the file as UTF-8"),
        (b"[1, 2]", "line 3: a JSON list where an object is needed"),
        (b"[" * 100_000, "line 3: "),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    good = json.dumps(GSM8K[0]).encode() + b"\n"
    (tmp_path / "test.jsonl").write_bytes(good + b"\n" + line + b"\n" + good)
    with pytest.raises(DataError, match=message) as caught:
        load("gsm8k", "test", path=tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'test.jsonl'}, ")


def test_what_was_looked_for_is_listed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not exist; .*nowhere/gsm8k/test.jsonl and .*"):
        load("gsm8k", "test", path=tmp_path / "nowhere")
    write(tmp_path / "math" / "train.jsonl", MATH)
    with pytest.raises(DataError, match=r"gsm8k/test.jsonl nor .*test.jsonl; .* holds math"):
        load("gsm8k", "test", path=tmp_path)
    with pytest.raises(DataError, match=r"is a file; give the folder that holds test.jsonl"):
        load("gsm8k", "test", path=tmp_path / "math" / "train.jsonl")


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_bytes(b"\n")
    with pytest.raises(DataError, match="no rows"):
        load("gsm8k", "test", path=tmp_path)


def test_the_hub_gives_what_the_folder_gives(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    # `datasets` takes a folder where it takes a repository's name.
    table = replace(gsm8k.TABLE, hub=str(folder / "gsm8k"), configurations=(None,))
    from_hub = read_table(table, "train", None, gsm8k.problem)
    from_folder = read_table(table, "train", folder, gsm8k.problem)
    assert from_hub.problems == from_folder.problems
    assert from_hub.fingerprint == from_folder.fingerprint


@pytest.mark.parametrize(
    ("module", "name", "row"),
    [
        (
            asdiv,
            "validation",
            {"body": "It has 4 legs.", "question": "Or?", "answer": "4 (legs)"},
        ),
        (aime, "train", {"problem": "Find 6.", "solution": "It is 6.", "answer": "006"}),
    ],
)
def test_a_split_may_have_another_name_on_the_hub(
    module: ModuleType,
    name: str,
    row: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    write(tmp_path / "hub" / f"{name}.jsonl", [row])
    table = replace(module.TABLE, hub=str(tmp_path / "hub"))
    (problem,) = read_table(table, "test", None, module.problem).problems
    assert problem.id == f"{table.name}/test/0"


def test_subjects_of_the_hub_are_read_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    hub = tmp_path / "hub"
    write(hub / "algebra" / "test.jsonl", MATH[:3])
    write(hub / "geometry" / "test.jsonl", MATH[3:5])
    (hub / "README.md").write_text(
        "---\nconfigs:\n"
        "- config_name: algebra\n  data_files:\n  - split: test\n    path: algebra/test.jsonl\n"
        "- config_name: geometry\n  data_files:\n  - split: test\n    path: geometry/test.jsonl\n"
        "---\n"
    )
    table = replace(math.TABLE, hub=str(hub), configurations=("geometry", "algebra"))
    rows = read_table(table, "test", None, math.problem)
    expected = [*MATH[3:5], *MATH[:3]]
    assert [each.question for each in rows.problems] == [row["problem"] for row in expected]
    assert [each.id for each in rows.problems] == [f"math/test/{number}" for number in range(5)]
    assert rows.note == "differs from the published set: 5,000 rows expected, 5 found"


def test_an_official_row_without_an_answer_is_left_out_and_named(tmp_path: Path) -> None:
    blank = {**MATH[2], "solution": "There are $\\boxed{}$."}
    write(tmp_path / "test.jsonl", [MATH[0], blank, MATH[1]])
    with pytest.raises(DataError, match=r"line 2: the solution has no complete, filled \\boxed"):
        load("math", "test", path=tmp_path)
    table = replace(math.TABLE, unanswered=frozenset({question_key(MATH[2]["problem"])}))
    rows = read_table(table, "test", tmp_path, math.problem)
    assert [each.id for each in rows.problems] == ["math/test/0", "math/test/2"]
    assert [each.split(":")[0] for each in rows.rejected] == ["math/test/1"]


def test_a_hub_that_does_not_answer_points_to_data_path(tmp_path: Path) -> None:
    table = replace(gsm8k.TABLE, hub=str(tmp_path / "missing"), configurations=(None,))
    with pytest.raises(
        DataError, match=r"cannot be had from the hub .*name a folder .data.path, or --data"
    ):
        read_table(table, "test", None, gsm8k.problem)


def test_ids_that_come_twice_and_other_returns_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pipelines.datasets import arithmetic

    rows = arithmetic.read("train", None, 3, 0)
    twice = replace(rows, problems=(*rows.problems, rows.problems[0]))
    monkeypatch.setattr(arithmetic, "read", lambda *_: twice)
    with pytest.raises(DataError, match="1 ids of problems come more than once"):
        load("arithmetic", "train", limit=3)
    monkeypatch.setattr(arithmetic, "read", lambda *_: list(rows.problems))
    with pytest.raises(DataError, match=r"read\(\) returned list, not Rows"):
        load("arithmetic", "train", limit=3)


OWN = Table(
    name="own",
    fields=("question", "choices", "price"),
    official={"train": Official(), "test": Official()},
    to_text={"choices": ", ".join, "price": str},
)
OWN_ROWS = [
    {"question": f"Which is cheaper, row {n}?", "choices": ["figs", "nuts"], "price": n / 2}
    for n in range(40)
]


def own_problem(row: Row, identity: str) -> Problem:
    return Problem(identity, f"{row['question']} {row['choices']}", row["price"], "own")


def test_a_set_that_is_on_no_hub_is_read_from_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "own" / "train.jsonl", OWN_ROWS)
    train, validation = (
        read_table(OWN, split, tmp_path, own_problem) for split in ("train", "validation")
    )
    assert (len(train.problems), len(validation.problems)) == (38, 2)
    assert {each.answer for each in (*train.problems, *validation.problems)} == {
        str(row["price"]) for row in OWN_ROWS
    }
    assert train.problems[0].question == "Which is cheaper, row 0? figs, nuts"
    # There is no published set that it could differ from, or be.
    assert (train.note, train.official) == ("", False)


@pytest.mark.parametrize("hub", [None, ""])
def test_a_set_that_is_on_no_hub_needs_a_folder(hub: str | None) -> None:
    message = r"own is not on the hub; name a folder \(data\.path.* own/test\.jsonl with .* price$"
    with pytest.raises(DataError, match=message):
        read_table(replace(OWN, hub=hub), "test", None, own_problem)


def test_repeated_questions_of_ones_own_set_are_said(tmp_path: Path) -> None:
    write(tmp_path / "test.jsonl", [OWN_ROWS[0]] * 3)
    rows = read_table(OWN, "test", tmp_path, own_problem)
    assert rows.note == "2 rows ask the same as another (own/test/1 as own/test/0)"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("choices", 3, "no text can be made of field 'choices': TypeError: can only join"),
        ("choices", [], "field 'choices' is empty"),
        ("choices", None, "field 'choices' is a NoneType, must be text"),
        ("price", None, "field 'price' is a NoneType, must be text"),
        ("question", 1.5, "field 'question' is a float, must be text"),
    ],
)
def test_a_field_without_text_is_named(
    field: str, value: object, message: str, tmp_path: Path
) -> None:
    write(tmp_path / "test.jsonl", [OWN_ROWS[0], {**OWN_ROWS[1], field: value}])
    with pytest.raises(DataError, match=f"test.jsonl, line 2: {message}"):
        read_table(OWN, "test", tmp_path, own_problem)


def test_a_row_that_breaks_its_data_set_is_named(tmp_path: Path) -> None:
    def problem(row: Row, identity: str) -> Problem:
        return Problem(identity, row["question"], row["gold"], "own")

    write(tmp_path / "test.jsonl", OWN_ROWS[:1])
    message = (
        r"test\.jsonl, line 1: problem\(row\) of own raised KeyError: 'gold'; the row has the "
        r"fields question, choices, price$"
    )
    with pytest.raises(DataError, match=message):
        read_table(OWN, "test", tmp_path, problem)
