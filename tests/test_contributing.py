"""Every example file of CONTRIBUTING.md, put into its folder and used as the page says."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from iterative_grpo import plugins
from iterative_grpo.normalize import Normalizer
from iterative_grpo.types import Completion, Finish, Problem, Prompt, Sampling

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"\*\*`([\w/]+\.py)`\*\*\n\n```python\n(.*?)```", PAGE, re.DOTALL))
USED = {
    "verifiers/conventions/letter.py",
    "reward_models/sources/concise.py",
    "pipelines/datasets/multiarith.py",
    "pipelines/datasets/quiz.py",
    "iterative_grpo/advantages/own_step.py",
    "iterative_grpo/splitters/semicolons.py",
    "iterative_grpo/engines/by_length.py",
    "reward_models/labels/fading.py",
    "pipelines/prompts/question_answer.py",
}


@pytest.fixture
def added(tmp_path: Path) -> Iterator[None]:
    """Add every example beside the plug-ins that are there, and take it away again."""
    folders: list[tuple[ModuleType, str]] = []
    for name, source in EXAMPLES.items():
        package = importlib.import_module(str(Path(name).parent).replace("/", "."))
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source, encoding="utf-8")
        folders.append((package, str((tmp_path / name).parent)))
        package.__path__.append(folders[-1][1])
    importlib.invalidate_caches()
    yield
    for package, folder in folders:
        package.__path__.remove(folder)
    for name in EXAMPLES:
        sys.modules.pop(name.removesuffix(".py").replace("/", "."), None)


def test_every_example_is_found_and_used() -> None:
    assert set(EXAMPLES) == USED


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_examples_are_new(name: str) -> None:
    assert not (ROOT / name).exists(), "an example that exists shows nothing; choose another"


@pytest.mark.parametrize("name", sorted(EXAMPLES))
@pytest.mark.parametrize("command", ["format --check", "check"])
def test_examples_are_formatted_and_clean(name: str, command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command.split(), "--stdin-filename", name, "-"],
        cwd=ROOT,
        input=EXAMPLES[name],
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_folders_of_the_table_exist() -> None:
    table = PAGE.partition("| to add |")[2].partition("\n\n")[0]
    folders = re.findall(r"\| `([\w/]+/)` \|", table)
    assert len(folders) == 10
    assert [folder for folder in folders if not (ROOT / folder).is_dir()] == []


@pytest.mark.usefixtures("added")
def test_configuration_takes_them_by_name(tmp_path: Path) -> None:
    from pipelines import building, settings

    config = settings.load(
        {
            "run_dir": str(tmp_path / "run"),
            "supervision": "process",
            "splitter": "semicolons",
            "credit": "own-step",
            "reward": "concise",
            "engine": "by_length",
            "verifier": "letter",
            "data": {"name": "multiarith"},
            "label": {"labeler": "fading"},
            "policy": {"make": {}, "prompt": "question-answer"},
            "max_tokens": 48,
            "evaluate": {"tasks": ["multiarith/test"]},
        }
    )
    assert config.credit == "own-step"
    assert not config.learns_reward
    assert not building.continues_prefixes(config)


def test_without_the_files_their_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(plugins.UnknownName, match="sum"):
        plugins.find("iterative_grpo.advantages", "own_step")


@pytest.mark.usefixtures("added")
def test_verifier_convention() -> None:
    from verifiers import Outcome, verify

    def outcome(text: str) -> Outcome:
        return verify(text, "C", convention="letter").outcome

    assert outcome("B looks right. No.\nAnswer: (c)") is Outcome.CORRECT
    assert outcome("Answer: C\nor rather\nanswer: A.") is Outcome.INCORRECT
    assert outcome("It is C.") is Outcome.NO_ANSWER


@pytest.mark.usefixtures("added")
def test_reward_source() -> None:
    from reward_models.protocols import Parts
    from verifiers import verify_many

    def verify(pairs: Any) -> Any:
        return verify_many(pairs, convention="gsm8k")

    lines = plugins.find("iterative_grpo.splitters", "lines").Splitter()
    source = plugins.find("reward_models.sources", "concise").build(Parts(lines, verify))
    text = "1+1=2\n#### 2"
    problem = Problem("p", "1+1?", "2", "test")
    (reward,) = source.score([problem], [Completion("p", 0, text, (1, 2), Finish.STOP)])
    true = reward.components["verifier"]
    assert reward.ends == (6, 12)
    assert true[-1] == 1.0
    assert reward.values == pytest.approx([value - 0.1 * 6 / 1000 for value in true])


@pytest.mark.usefixtures("added")
def test_data_set(tmp_path: Path) -> None:
    from pipelines import datasets

    row = {"question": " Ann has 3 pens and buys 2. How many? ", "final_ans": 5}
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "test.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    split = datasets.load("multiarith", "test", path=tmp_path / "data")
    (problem,) = split.problems
    assert problem.question == "Ann has 3 pens and buys 2. How many?"
    assert problem.answer == "5"
    assert datasets.find("multiarith").demonstration(problem) == "#### 5"
    assert "180" in split.note  # one row is not the official set, and that is said


@pytest.mark.usefixtures("added")
def test_data_set_of_ones_own(tmp_path: Path) -> None:
    from pipelines import datasets
    from pipelines.evaluation.tasks import load_task

    rows = [
        {"question": f"Is {n} even?", "choices": ["yes", "no", 3], "letter": "AB"[n % 2]}
        for n in range(20)
    ]
    (tmp_path / "data").mkdir()
    for split in ("train", "test"):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / "data" / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    task = load_task("quiz", tmp_path / "data", None, 0)
    assert task.problems[1].question == "Is 1 even?\n(A) yes\n(B) no\n(C) 3"
    assert task.state == "not compared with a published set"
    assert datasets.find("quiz").demonstration(task.problems[1]) == "Answer: B"
    assert len(datasets.load("quiz", "validation", path=tmp_path / "data").problems) == 1
    with pytest.raises(datasets.DataError, match=r"quiz is not on the hub; name a folder"):
        load_task("quiz", None, None, 0)


@pytest.mark.usefixtures("added")
def test_credit_rule() -> None:
    rule = plugins.find("iterative_grpo.advantages", "own_step").Rule()
    rewards = [[[0.0, 1.0], [2.0]]]
    (group,) = rule.credit(rewards, Normalizer())
    # mean 1, sample deviation 1, plus 1e-4
    assert group[0] == pytest.approx([-1 / 1.0001, 0.0])
    assert group[1] == pytest.approx([1 / 1.0001])


@pytest.mark.usefixtures("added")
def test_splitter() -> None:
    splitter = plugins.find("iterative_grpo.splitters", "semicolons").Splitter()
    assert splitter.split("a=1; b=2;\nc=3") == (4, 10, 13)
    assert splitter.split("") == (0,)


@pytest.mark.usefixtures("added")
def test_engine(tiny_policy: Callable[..., Path], tiny_tokenizer: Any) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_policy(0))
    prompts = [Prompt(f"p{n}", tuple(range(2, 2 + n))) for n in (5, 2, 4)]
    greedy = Sampling(group_size=2, max_tokens=6, temperature=0.0)
    engines = [
        plugins.find("iterative_grpo.engines", name).load(model, tiny_tokenizer)
        for name in ("by_length", "generate")
    ]
    ours, expected = (engine.generate(prompts, greedy) for engine in engines)
    assert ours == expected
    assert [group[0].problem_id for group in ours] == ["p5", "p2", "p4"]


@pytest.mark.usefixtures("added")
def test_labeler() -> None:
    from reward_models.protocols import Tools
    from verifiers import verify_many

    def verify(pairs: Any) -> Any:
        return verify_many(pairs, convention="gsm8k")

    labeler = plugins.find("reward_models.labels", "fading").build(Tools(verify, iteration=2))
    texts = "1+1=2\n\n#### 2", "1+1=3\n\n#### 3"
    completions = [Completion("p", i, text, (1, 2), Finish.STOP) for i, text in enumerate(texts)]
    problems = [Problem("p", "1+1?", "2", "test")] * 2
    (right, wrong), cost = labeler.label(problems, completions, [(6, 7, 13)] * 2)
    assert right.labels == pytest.approx([0.5 + 0.5 * 0.81, 0.5 + 0.5 * 0.9, 1.0])
    assert wrong.labels == pytest.approx([0.5 - 0.5 * 0.81, 0.5 - 0.5 * 0.9, 0.0])
    assert (right.iteration, right.labeler, cost.labels) == (2, "fading", 4)


@pytest.mark.usefixtures("added")
def test_prompt_format(tiny_tokenizer: Any) -> None:
    from pipelines import prompts

    problems = [Problem("p", "1+1?", "2", "test")]
    (prompt,) = prompts.make_prompts(problems, tiny_tokenizer, "question-answer")
    text = "Question: 1+1?\nAnswer:"
    assert prompt.token_ids == tuple(tiny_tokenizer(text)["input_ids"])
    assert prompts.stop_strings("question_answer") == ("Question:",)
