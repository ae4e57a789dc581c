"""The pages are true: links lead somewhere, commands parse, names exist, made pages are current."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import cli, settings

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def fences(page: str) -> list[str]:
    return re.findall(r"^```\w*\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    prose = re.sub(r"^```.*?^```", "", text(name), flags=re.DOTALL | re.MULTILINE)
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose)
    local = [target for target in targets if not target.startswith(("http:", "https:"))]
    missing = [target for target in local if not ((ROOT / name).parent / target).exists()]
    assert missing == []


def commands(name: str) -> list[list[str]]:
    page = text(name)
    lines = [line for block in fences(page) for line in block.splitlines()]
    lines += re.findall(r"`(iterative-grpo [^`]+)`", page)
    lines = [line.strip() for line in lines if line.strip().startswith("iterative-grpo ")]
    return [shlex.split(line, comments=True)[1:] for line in lines]


WORDS = [(name, words) for name in NAMES for words in commands(name)]


def test_commands_are_found() -> None:
    assert len([words for name, words in WORDS if name == "README.md"]) >= 8


@pytest.mark.parametrize(("name", "words"), WORDS, ids=lambda value: str(value)[:60])
def test_commands_are_what_the_command_takes(name: str, words: list[str]) -> None:
    if any(word.isupper() for word in words):
        return  # a pattern, such as `run CONFIG.yaml`
    if len(words) == 1:
        words = [*words, "--help"]  # a command that is only mentioned
        with pytest.raises(SystemExit, match="0"):
            cli.parser().parse_args(words)
        return
    options = cli.parser().parse_args(words)
    if words[0] == "run":
        source = settings.locate(options.config)
        settings.load(source, [word for word in options.overrides if "data.path" not in word])


@pytest.mark.parametrize("name", NAMES)
def test_make_targets_exist(name: str) -> None:
    makefile = text("Makefile")
    for target in re.findall(r"(?:`|^)make ([a-z][a-z-]*)", text(name), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("name", NAMES)
def test_files_that_are_named_exist(name: str) -> None:
    folders = "verifiers|iterative_grpo|reward_models|pipelines|benchmarks|docs|tests"
    named = set(re.findall(rf"`((?:{folders})/[\w./-]*\w\.\w+)`", text(name)))
    examples = set(re.findall(r"\*\*`([\w/]+\.py)`\*\*", text(name)))
    stems = {Path(example).stem for example in examples}
    missing = {
        path
        for path in named - examples
        if not (ROOT / path).exists() and Path(path).stem.removeprefix("test_") not in stems
    }
    assert missing == set()


def test_settings_page_is_current() -> None:
    spec = importlib.util.spec_from_file_location("page", ROOT / "docs" / "configuration.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert text("docs/configuration.md") == module.page(), "run `make docs`"


def test_readme_examples_say_what_happens() -> None:
    (block,) = re.findall(
        r"```python\n(from verifiers import verify.*?)```", text("README.md"), re.S
    )
    first, *lines = [line for line in block.splitlines() if line]
    expected = [line.partition("  # ")[2] for line in lines]
    program = "\n".join([first, *(f"print({line.partition('  # ')[0]})" for line in lines)])
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines() == expected, done.stderr


def test_version_of_the_changelog_is_the_projects() -> None:
    import tomllib

    project = tomllib.loads(text("pyproject.toml"))["project"]
    latest = re.search(r"^## (\S+)", text("CHANGELOG.md"), re.MULTILINE)
    assert latest is not None
    assert latest.group(1) == project["version"]
