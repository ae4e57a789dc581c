"""The page: whole, self-contained, true to the run, and deaf to what models write."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from pipelines import report
from pipelines.report import page, samples
from pipelines.report.run import read
from tests.pipelines.report.synthetic_run import (
    HOSTILE,
    write_phase,
    write_run,
    write_under_way,
)

VOID = {"meta", "img", "source", "br", "hr", "link", "input"}


class Tree(HTMLParser):
    """Collects tags and text, and refuses tags that are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.text += data


def parse(path: Path) -> Tree:
    tree = Tree()
    tree.feed(path.read_text(encoding="utf-8"))
    assert tree.open == []
    return tree


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> report.ReportFiles:
    return report.write(write_run(tmp_path_factory.mktemp("page") / "a <b> & run"))


def test_needs_nothing_from_elsewhere(written: report.ReportFiles) -> None:
    tree = parse(written.page)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in tree.tags}
    loaded = [a.get("src") or a.get("srcset") for tag, a in tree.tags if tag in ("img", "source")]
    assert len(loaded) == 2 * len(written.pictures)
    assert all(str(it).startswith("data:image/png;base64,") for it in loaded)
    policies = [a["content"] for _, a in tree.tags if "http-equiv" in a]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    assert not [key for _, a in tree.tags for key in a if key.startswith("on")]


def test_hostile_text_is_text(written: report.ReportFiles) -> None:
    tree = parse(written.page)
    assert "<script>alert('x')</script>" in tree.text
    assert '"<b>"' in tree.text
    assert "b" not in {tag for tag, _ in tree.tags}
    raw = written.page.read_text(encoding="utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", raw)
    assert "\\x1b[31m" in tree.text
    assert "\u202e" in HOSTILE  # the sample does hold what must not come through


def test_shows_the_runs_numbers(written: report.ReportFiles) -> None:
    text = parse(written.page).text
    for expected in (
        "76.0% [70.9, 80.5]",
        "0.850",  # nowhere
        "optimize.beta",
        "versions.torch",
        "Iteration 4: 64 rollouts",
        "Ann has 18 coins.",
        "4 of 4",
    ):
        assert (expected in text) is (expected != "0.850"), expected


def test_says_over_what_the_figures_of_the_reward_model_are(written: report.ReportFiles) -> None:
    text = parse(written.page).text
    assert "AUROC, over ends of steps under process supervision, else of solutions" in text
    assert "the ends of steps under process supervision, else of solutions. From before" in text


def test_counts_of_a_long_file_are_said_to_be_of_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "run", iterations=1)
    rollouts = run / "iterations" / "01" / "optimize" / "rollouts.jsonl"
    size, rows = rollouts.stat().st_size, len(rollouts.read_bytes().splitlines())
    monkeypatch.setattr(samples, "TAIL_BYTES", size)
    assert f"Iteration 1: {rows} rollouts" in page.render(read(run), [], [])
    monkeypatch.setattr(samples, "TAIL_BYTES", size - 1)
    assert f"Iteration 1: the last {rows - 1} rollouts" in page.render(read(run), [], [])


def test_fewer_iterations_asked_for_than_there_are(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", iterations=2)
    settings = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    (run / "config.yaml").write_text(yaml.safe_dump({**settings, "iterations": 1}))
    text = parse(report.write(run).page).text
    assert "2 (the last command asked for 1)" in text
    assert "2 of 1" not in text


def test_shows_the_cells_the_watch_and_what_was_liked_and_wrong(tmp_path: Path) -> None:
    made = report.write(write_run(tmp_path / "run", frozen=True))
    text = parse(made.page).text
    assert "72 (72.0%)10 (10.0%)0 (0.0%)18 (18.0%)" in text
    assert "Iteration 3, step 7: the gap <has> grown by 0.2; reported." in text
    _, _, after = text.partition("Liked, wrong: iteration 4")
    kept = after[: after.index("Solutions")]
    # The most liked first; it is the hostile one, and its markup is text.
    assert kept.index("<script>") < kept.index("liked a little")
    assert "reward 0.97" in kept
    bare = report.write(write_run(tmp_path / "bare", reward="verifier"))
    assert "Reward model against verifier" not in parse(bare.page).text


def test_shows_decisions_on_the_reward_model(written: report.ReportFiles, tmp_path: Path) -> None:
    text = parse(written.page).text
    assert "Iteration 3: fresh samples: auroc <went> down" in text
    assert "those before training" in text
    assert "of step 90 of 90" in text
    assert "1: 200, 2: 100" in text
    assert "Iteration 2: empty" in text
    assert text.count("taken") == 3
    assert "+1.0% to +9.0%" in text
    bare = report.write(write_run(tmp_path / "bare", reward="verifier", iterations=1, steps=3))
    assert "What it learned from" not in parse(bare.page).text


def test_reads_on_a_phone(written: report.ReportFiles) -> None:
    tree = parse(written.page)
    viewports = [a["content"] for tag, a in tree.tags if a.get("name") == "viewport"]
    assert viewports == ["width=device-width, initial-scale=1"]
    assert "prefers-color-scheme: dark" in tree.text


@pytest.mark.parametrize("state", ["nothing", "unfinished", "verifier"])
def test_any_state_of_a_run_gives_a_page(tmp_path: Path, state: str) -> None:
    run = tmp_path / "run"
    if state == "nothing":
        (run / "metrics").mkdir(parents=True)
    else:
        reward = "verifier" if state == "verifier" else "model"
        write_run(run, iterations=2, steps=6, finished=state != "unfinished", reward=reward)
    text = parse(report.write(run).page).text
    assert ("No evaluation has finished yet." in text) is (state == "nothing")
    assert ("Left out:" in text) is (state != "unfinished")


def test_the_first_policy_phase_is_seen_while_it_is_at_work(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", iterations=0, steps=20)
    write_under_way(run, 1, steps=7)
    made = report.write(run)
    text = parse(made.page).text
    assert "iteration 1: in progress, 7 of 20 steps" in text
    assert "0 of 0" in text  # iterations that were evaluated
    assert "1 (in progress)" in text
    assert "Iteration 1: brier is up" in text
    assert "Iteration 1: thank you" in text
    assert "The rollouts of a policy phase are shown when it is finished." in text
    assert "Over all finished phases." in text
    drawn = {path.stem for path in made.pictures}
    assert {"score_and_truth", "gap_by_distance", "kl", "disagreement"} <= drawn
    assert {"reward_model_auroc", "reward_model_pairs", "time"} <= drawn
    assert not [line for line in made.left_out if " yet" in line and "reliability" not in line]


def test_the_watch_of_a_phase_at_work_is_not_said_to_be_silent(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", iterations=1, steps=3)
    silent = "The watch has called for no new reward model"
    assert f"{silent}." in page.render(read(run), [], [])
    write_under_way(run, 2, steps=3)
    assert f"{silent} in a finished policy phase." in page.render(read(run), [], [])
    # What a finished one said is told before its policy is evaluated.
    said = {"action": "stop", "step": 3, "reason": "the gap is wide", "stopped": True}
    watch = {**said, "cells": {"liked wrong": 3}}
    write_phase(run / "iterations" / "02" / "optimize", 1.0, watch=watch)
    html = page.render(read(run), [], [])
    assert "Iteration 2, step 3: the gap is wide; the phase ended there." in html
    assert silent not in html


def test_a_finished_run_says_nothing_of_progress(written: report.ReportFiles) -> None:
    text = parse(written.page).text
    assert "in progress" not in text
    assert "Over the whole run." in text


def test_shows_what_was_left_out_of_training_as_text(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", iterations=1, steps=3)
    pair = {
        "kind": "near",
        "similarity": 0.91,
        "action": "drop",
        "train_id": "math/train/1",
        "evaluation_id": "math/test/2",
        "train_question": HOSTILE,
        "evaluation_question": "Find $x$.",
        "train_answer": "7",
        "evaluation_answer": "8",
    }
    found = {"exact": 0, "near": 1, "template": 12, "ngram": 3}
    record = {
        "settings": {"near": "drop"},
        "left_out": ["math/train/1"],
        "compared": [{"task": "math/test", "questions": 5000, "found": found}],
        "pairs": [pair, {**pair, "action": "report", "train_question": "kept all the same"}],
    }
    (run / "decontamination.json").write_text(json.dumps(record), encoding="utf-8")
    tree = parse(report.write(run).page)
    assert "math/test5000" + "0" + "1" + "12" + "3" in tree.text
    assert "Left out: 1 training questions" in tree.text
    assert "near 0.91" in tree.text
    assert "kept all the same" not in tree.text
    assert "script" not in {tag for tag, _ in tree.tags}


def test_flat_settings_are_written_as_overrides() -> None:
    nested = {"a": {"b": 1, "c": {"d": [1, 2]}, "e": {}}, "f": None}
    assert list(page.flat(nested)) == [("a.b", "1"), ("a.c.d", "[1, 2]"), ("a.e", "{}"), ("f", "")]
