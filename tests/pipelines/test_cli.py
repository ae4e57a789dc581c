"""Commands beside `run` and `evaluate`: verify, report, configs."""

from __future__ import annotations

import json
import os
import select
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import cli


def test_verify_writes_verdicts_and_overwrites_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "answers.jsonl"
    rows = [
        {"response": r"so \boxed{\frac{1}{2}}", "answer": "0.5"},
        {"response": r"so \boxed{3}", "answer": "0.5"},
        {"response": "I do not know", "answer": "0.5"},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert cli.main(["verify", str(file)]) == cli.DONE
    written = (tmp_path / "answers.verdicts.jsonl").read_text(encoding="utf-8").splitlines()
    outcomes = [json.loads(line)["outcome"].lower() for line in written]
    assert outcomes == ["correct", "incorrect", "no_answer"]
    capsys.readouterr()
    assert cli.main(["verify", str(file)]) == cli.REFUSED
    assert "answers.verdicts.jsonl" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "code", "told"),
    [
        (signal.SIGINT, cli.INTERRUPTED, "interrupted; the same command resumes"),
        (signal.SIGTERM, cli.TERMINATED, "terminated; the same command resumes"),
    ],
)
def test_signals_end_a_command_with_what_to_do(
    number: signal.Signals,
    code: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(cli, "do_configs", lambda _: signal.raise_signal(number))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert cli.main(["configs"]) == code == 128 + number
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err.strip() == told
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_handler_of_the_callers_own_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    came: list[int] = []
    monkeypatch.setattr(cli, "do_configs", lambda _: signal.raise_signal(signal.SIGTERM) or 0)
    before = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    try:
        assert cli.main(["configs"]) == cli.DONE
    finally:
        signal.signal(signal.SIGTERM, before)
    assert came == [signal.SIGTERM]


def test_overrides_may_be_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["run"])
    assert capsys.readouterr().err.endswith("the following arguments are required: config\n")


def test_evaluation_has_whole_models_whatever_accelerate_shards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pipelines.evaluation import command

    found: list[str | None] = []
    names = ("ACCELERATE_USE_FSDP", "FSDP_CPU_RAM_EFFICIENT_LOADING")
    for name in names:
        monkeypatch.setenv(name, "true")
    monkeypatch.setattr(
        command, "evaluate_model", lambda *_, **__: found.extend(map(os.environ.get, names))
    )
    assert cli.main(["evaluate", "some/model"]) == cli.DONE
    assert found == [None, "false"]


def test_report_refuses_a_folder_that_is_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["report", str(tmp_path)]) == cli.REFUSED
    assert str(tmp_path) in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


COMMAND = [sys.executable, "-m", "pipelines.cli", "configs"]
ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no poll and no SIGPIPE")
def test_a_pipe_that_nobody_reads_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(COMMAND, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


class PollOfMacOS:
    """Reports nothing of files of which nothing was asked, not even that the reader has gone.

    XNU's poll makes events of what is asked alone (bsd/kern/sys_generic.c, poll_nocancel).
    """

    def __init__(self) -> None:
        self._asked: dict[int, int] = {}

    def register(self, file: int, events: int) -> None:
        self._asked[file] = events

    def poll(self, timeout: float) -> list[tuple[int, int]]:
        system = POLL()
        for file, events in self._asked.items():
            if events:
                system.register(file, events)
        return system.poll(timeout)


POLL = getattr(select, "poll", None)


@pytest.mark.skipif(POLL is None, reason="Windows has no poll")
@pytest.mark.parametrize("poll", [POLL, PollOfMacOS])
def test_a_reader_that_left_is_told_from_one_that_waits(
    poll: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(select, "poll", poll)
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "stderr", stream)
        assert not cli.reader_left()
        os.close(reader)
        assert cli.reader_left()


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of POSIX closes the streams")
@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_closed_streams_are_no_error(closed: str) -> None:
    shell = ["/bin/sh", "-c", f"{shlex.join(COMMAND)} {closed}"]
    done = subprocess.run(shell, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_an_encoding_lacks_is_escaped() -> None:
    # Pipes of Windows, and others where the locale says so, are not in UTF-8.
    code = r"from pipelines import cli; cli.open_streams(); print('half \xbd, broken \ufffd')"
    shown = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
    )
    assert shown.stdout.strip() == b"half \xbd, broken \\ufffd", shown.stderr


def test_configs_lists_what_is_shipped(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["configs"]) == cli.DONE
    printed = capsys.readouterr().out
    for name in ("arithmetic", "gsm8k_tiny", "gsm8k_outcome", "gsm8k_process", "math_process"):
        assert name in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--convention", "mat"], "unknown convention 'mat'. Did you mean 'math'? Expected one of"),
        (["--convention", "gsm9k-strict"], "Did you mean 'gsm8k_strict'?"),
        (["--workers", "0"], "workers is 0: at least one was expected"),
        (["--timeout", "-1"], "timeout is -1.0: a positive number"),
        (["--timeout", "nan"], "timeout is nan: a positive number"),
    ],
)
def test_verify_refuses_options_in_a_line(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text("", encoding="utf-8")
    assert cli.main(["verify", str(file), *options]) == cli.REFUSED
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == [file]


def test_verify_takes_a_convention_as_a_configuration_spells_it(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text('{"response": "so 5\\n#### 5", "answer": "5"}\n', encoding="utf-8")
    assert cli.main(["verify", str(file), "--convention", "gsm8k-strict"]) == cli.DONE
    written = (tmp_path / "answers.verdicts.jsonl").read_text(encoding="utf-8")
    assert json.loads(written)["outcome"] == "correct"
