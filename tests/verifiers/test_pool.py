"""The pool against real misbehaviour: functions that hang in C, grow, abort and print."""

import asyncio
import os
import queue
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from verifiers import pool
from verifiers.frames import FrameError
from verifiers.memory import ENFORCED_BY_SYSTEM, resident_bytes

ROOT = Path(__file__).parents[2]
BAD = "tests.verifiers.misbehaving"
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals or fork")


@pytest.fixture(scope="module")
def workers() -> Iterator[pool.WorkerPool]:
    with pool.WorkerPool(3, warm=()) as made:
        yield made


def _gone(pid: int) -> bool:
    """Whether a process ended; a zombie that nobody has collected yet has."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _left_after(pids: list[int], seconds: float) -> list[int]:
    """Those of the processes that still run after at most so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not all(_gone(pid) for pid in pids):
        time.sleep(0.02)
    return [pid for pid in pids if not _gone(pid)]


def _wait_for(file: Path, seconds: float = 30) -> str:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if file.exists() and (text := file.read_text()):
            return text
        time.sleep(0.02)
    raise TimeoutError(f"{file} was not written")


def test_value_comes_back_as_json_carries_it(workers: pool.WorkerPool) -> None:
    assert workers.call("operator:add", 2, 3, timeout=5) == 5
    assert workers.call("builtins:divmod", 7, 2, timeout=5) == [3, 1]
    value = {"a": ["\ud800", None, 1.5, True]}
    assert workers.call("builtins:dict", value, timeout=5) == value


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("operator:pow", (9, 9**9)),  # holds the interpreter lock for hours
        ("re:match", (r"(a+)+$", "a" * 60 + "b")),
        ("time:sleep", (60,)),
        (f"{BAD}:sleep_without_an_alarm", (60,)),  # nor does the worker end itself
    ],
)
def test_deadline_kills_what_no_thread_could_interrupt(
    workers: pool.WorkerPool, function: str, arguments: tuple[object, ...]
) -> None:
    workers.call("operator:add", 1, 1, timeout=5)
    before = set(workers.process_ids())
    with pytest.raises(pool.DeadlineExceeded):
        workers.call(function, *arguments, timeout=0.3)
    killed = before - set(workers.process_ids())
    assert len(killed) == 1
    assert _left_after(list(killed), 10) == []
    assert workers.call("operator:add", 1, 1, timeout=5) == 2


@pytest.mark.skipif(not ENFORCED_BY_SYSTEM, reason="only Linux enforces RLIMIT_AS")
@pytest.mark.parametrize(
    ("name", "arguments"), [("operator:mul", ("a", 10**10)), (f"{BAD}:grow", ())]
)
def test_memory_is_bounded(name: str, arguments: tuple[object, ...]) -> None:
    with pool.WorkerPool(2, memory_bytes=400 * 2**20, warm=()) as small:
        full = small.call("os:getpid", timeout=5)
        with pytest.raises(pool.WorkerCrashed, match="out of memory"):
            small.call(name, *arguments, timeout=60)
        assert full not in small.process_ids()
        assert small.call("operator:add", 1, 1, timeout=5) == 2


@pytest.mark.skipif(not ENFORCED_BY_SYSTEM, reason="frees itself of RLIMIT_AS first")
def test_memory_is_watched_where_the_system_does_not_bound_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("verifiers.process.ENFORCED_BY_SYSTEM", False)
    with pool.WorkerPool(1, memory_bytes=200 * 2**20, warm=()) as small:
        assert small.call("time:sleep", 0.3, timeout=5) is None
        with pytest.raises(pool.WorkerCrashed, match="took more than"):
            small.call(f"{BAD}:grow_past_the_limit", timeout=20)


@pytest.mark.skipif(not ENFORCED_BY_SYSTEM, reason="only Linux enforces RLIMIT_AS")
def test_a_worker_has_its_memory() -> None:
    import resource

    with pool.WorkerPool(1, memory_bytes=300 * 2**20, warm=()) as small:
        space = small.call("resource:getrlimit", resource.RLIMIT_AS, timeout=5)
    assert isinstance(space, list)
    assert space[0] == 300 * 2**20


@pytest.mark.skipif(not ENFORCED_BY_SYSTEM, reason="only Linux enforces RLIMIT_AS")
def test_a_stricter_limit_of_the_system_stays_and_no_core_is_left() -> None:
    code = """
import resource
from verifiers.memory import limit_address_space
resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
_, hard = resource.getrlimit(resource.RLIMIT_CORE)
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
limit_address_space(2**31)
print(resource.getrlimit(resource.RLIMIT_AS), resource.getrlimit(resource.RLIMIT_CORE)[0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"({2**30}, {2**30}) 0"


def test_resident_size_is_that_of_the_process_and_none_of_no_process() -> None:
    with pool.WorkerPool(1, warm=()) as idle:
        pid = idle.call("os:getpid", timeout=5)
        assert isinstance(pid, int)
        expected = psutil.Process(pid).memory_info().rss
        assert abs((resident_bytes(pid) or 0) - expected) < 0.01 * expected
    assert _left_after([pid], 10) == []
    assert resident_bytes(2**22 + 1) is None


def test_resident_size_is_read_without_a_library() -> None:
    # The way that systems without an enforced limit take; here checked against what Python holds,
    # in a process of its own: one that has freed much before would take it from there.
    code = """
import os
from verifiers.memory import resident_bytes
before = resident_bytes(os.getpid())
held = bytearray(b"x") * (64 * 2**20)
print(len(held), resident_bytes(os.getpid()) - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    held, grown = map(int, done.stdout.split())
    assert 0.8 * held < grown < 1.5 * held


@pytest.mark.skipif(shutil.which("ps") is None, reason="needs ps")
def test_a_resident_size_that_may_not_be_asked_for_is_unknown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("verifiers.memory.ENFORCED_BY_SYSTEM", False)
    assert (resident_bytes(os.getpid()) or 0) > 2**20
    (tmp_path / "ps").write_text("not executable", encoding="utf-8")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert resident_bytes(os.getpid()) is None


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("builtins:int", "ValueError", "invalid literal"),
        ("no_such_module:f", "ModuleNotFoundError", "no_such_module"),
        ("builtins:no_such_function", "AttributeError", "no_such_function"),
        ("os:stat", "FileNotFoundError", "No such file"),
        ("sys:path", "TypeError", "is not a function"),
    ],
)
def test_what_the_function_raises_is_named(
    workers: pool.WorkerPool, name: str, kind: str, text: str
) -> None:
    with pytest.raises(pool.FunctionRaised, match=text) as caught:
        workers.call(name, "x", timeout=5)
    assert caught.value.kind == kind


def test_no_reply_is_long_and_none_is_lost(workers: pool.WorkerPool) -> None:
    pids = set()
    for name, arguments, kind in (
        (f"{BAD}:long_message", (), "ArithmeticError"),
        (f"{BAD}:infinite_structure", (), "FrameError"),
        (f"{BAD}:recurse", (), "RecursionError"),
        ("operator:mul", ("a", 2**25), "FrameError"),  # a result too long to send
        ("operator:pow", (10, 10**5), "FrameError"),  # an integer too long to print
        ("builtins:object", (), "FrameError"),
    ):
        with pytest.raises(pool.FunctionRaised) as caught:
            workers.call(name, *arguments, timeout=20)
        assert caught.value.kind == kind
        assert len(str(caught.value)) < 600
        pids.update(workers.process_ids())
    assert len(pids) <= 3, "an exception must not cost a worker"


def test_prints_of_the_function_are_no_replies(workers: pool.WorkerPool) -> None:
    assert workers.call(f"{BAD}:print_loudly", timeout=5) == "read ''"
    assert workers.call("operator:add", 1, 1, timeout=5) == 2


def test_nothing_that_a_worker_prints_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with pool.WorkerPool(1, warm=()) as quiet:
        quiet.call(f"{BAD}:print_loudly", timeout=5)
    assert capfd.readouterr() == ("", "")


def test_the_order_of_sets_is_the_same_in_every_worker() -> None:
    hashes = set()
    for _ in range(2):
        with pool.WorkerPool(1, warm=()) as made:
            hashes.add(made.call("builtins:hash", "any text", timeout=5))
    assert len(hashes) == 1


def test_a_crash_costs_one_call(workers: pool.WorkerPool) -> None:
    with pytest.raises(pool.WorkerCrashed, match="died"):
        workers.call("os:abort", timeout=5)
    assert workers.call("operator:add", 1, 1, timeout=5) == 2


@posix
def test_an_idle_worker_killed_from_outside_costs_nothing(workers: pool.WorkerPool) -> None:
    workers.call("operator:add", 1, 1, timeout=5)
    pids = workers.process_ids()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert _left_after(pids, 10) == []
    assert workers.call("operator:add", 1, 1, timeout=5) == 2


@posix
def test_a_dead_idle_worker_takes_no_place() -> None:
    with ThreadPoolExecutor(1) as threads, pool.WorkerPool(1, warm=()) as only:
        pid = only.call("os:getpid", timeout=5)
        assert isinstance(pid, int)
        os.kill(pid, signal.SIGKILL)
        assert _left_after([pid], 10) == []
        assert threads.submit(only.call, "operator:add", 1, 1, timeout=5).result(30) == 2


def python_is(script: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have workers started by a shell script in Python's place."""
    python = folder / "python"
    python.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))


@posix
def test_a_worker_behind_a_launcher_is_known_by_its_own_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python_is(f'"{sys.executable}" "$@"\nexit', tmp_path, monkeypatch)
    with pool.WorkerPool(1, warm=()) as behind:
        pid = behind.call("os:getpid", timeout=5)
        assert behind.process_ids() == [pid]
    assert isinstance(pid, int)
    assert _left_after([pid], 10) == []


@posix
def test_a_busy_worker_killed_from_outside_costs_its_call_only(
    workers: pool.WorkerPool, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(
            workers.call, f"{BAD}:note_and_sleep", str(tmp_path / "one"), 60, timeout=60
        )
        os.kill(int(_wait_for(tmp_path / "one")), signal.SIGKILL)
        second = threads.submit(workers.call, "time:sleep", 0.1, timeout=5)
        with pytest.raises(pool.WorkerCrashed):
            first.result()
        assert second.result() is None


def _started(workers: pool.WorkerPool, count: int) -> bool:
    """Whether so many workers have started, after at most half a minute."""
    end = time.monotonic() + 30
    while len(workers.process_ids()) < count and time.monotonic() < end:
        time.sleep(0.02)
    return len(workers.process_ids()) == count


def test_one_worker_more_than_is_busy_is_kept_ready(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as threads, pool.WorkerPool(3, warm=()) as made:
        for _ in range(3):
            made.call("operator:add", 1, 1, timeout=5)
        threads.submit(made.call, f"{BAD}:note_and_sleep", str(tmp_path / "one"), 60, timeout=60)
        _wait_for(tmp_path / "one")
        assert _started(made, 2)


def test_a_killed_worker_is_replaced_before_the_next_call() -> None:
    with pool.WorkerPool(1, warm=()) as only:
        with pytest.raises(pool.DeadlineExceeded):
            only.call("time:sleep", 60, timeout=0.1)
        assert _started(only, 1)


def test_warming_up_starts_as_many_as_asked_for_and_no_more_than_fit() -> None:
    with pool.WorkerPool(3, warm=()) as made:
        made.warm_up(2)
        assert _started(made, 2)
        made.warm_up(9)
        assert _started(made, 3)


def test_closing_ends_calls_in_flight_and_all_that_wait(tmp_path: Path) -> None:
    made = pool.WorkerPool(1, warm=())
    ended: queue.Queue[str] = queue.Queue()

    def call(function: str, *arguments: object) -> None:
        try:
            made.call(function, *arguments, timeout=60)
        except pool.PoolError as error:
            ended.put(type(error).__name__)

    def start(*arguments: object) -> None:
        threading.Thread(target=call, args=arguments, daemon=True).start()

    start(f"{BAD}:note_and_sleep", str(tmp_path / "one"), 60)
    _wait_for(tmp_path / "one")
    start("operator:add", 1, 1)
    start("operator:add", 1, 1)
    time.sleep(0.2)  # until both wait
    made.close()
    names = [ended.get(timeout=20) for _ in range(3)]
    assert sorted(names) == ["PoolUnusable", "PoolUnusable", "WorkerCrashed"]
    time.sleep(0.2)  # a worker that took the place of the killed one would run by now
    assert made.process_ids() == []


def test_fifty_threads_with_a_hang_among_every_ten(workers: pool.WorkerPool) -> None:
    def one(index: int) -> object:
        try:
            if index % 10 == 0:
                return workers.call("time:sleep", 30, timeout=0.2)
            return workers.call("operator:mul", index, index, timeout=20)
        except pool.DeadlineExceeded:
            return "late"

    most = 0
    done = threading.Event()

    def count() -> None:
        nonlocal most
        while not done.wait(0.005):
            most = max(most, len(workers.process_ids()))

    watcher = threading.Thread(target=count)
    watcher.start()
    with ThreadPoolExecutor(50) as threads:
        results = list(threads.map(one, range(50)))
    done.set()
    watcher.join()
    assert results == ["late" if index % 10 == 0 else index * index for index in range(50)]
    assert 1 <= most <= 3


def test_async_code_is_not_blocked(workers: pool.WorkerPool) -> None:
    async def beat(stop: asyncio.Event) -> int:
        beats = 0
        while not stop.is_set():
            await asyncio.sleep(0.01)
            beats += 1
        return beats

    async def both() -> tuple[object, int]:
        stop = asyncio.Event()
        heart = asyncio.create_task(beat(stop))
        try:
            with pytest.raises(pool.DeadlineExceeded):
                await asyncio.to_thread(workers.call, "operator:pow", 9, 9**9, timeout=0.5)
            value = await asyncio.to_thread(workers.call, "operator:add", 1, 2, timeout=5)
        finally:
            stop.set()
        return value, await heart

    value, beats = asyncio.run(both())
    assert value == 3
    assert beats > 5


def _run(script: str, *, start_new_session: bool = False) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=start_new_session,
    )


@posix
def test_an_interrupt_costs_the_call_that_it_meets_and_no_worker(tmp_path: Path) -> None:
    script = f"""
        import os, signal, threading
        from pathlib import Path
        from verifiers import pool
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run behind
        noted = Path({str(tmp_path)!r})
        made = pool.WorkerPool(2, warm=())
        other = []
        def beside():
            other.append(made.call("{BAD}:note_and_sleep", str(noted / "beside"), 2, timeout=20))
        thread = threading.Thread(target=beside)
        thread.start()
        def interrupt():
            while not ((noted / "beside").exists() and (noted / "here").exists()):
                pass
            os.killpg(0, signal.SIGINT)
        threading.Thread(target=interrupt, daemon=True).start()
        try:
            made.call("{BAD}:note_and_sleep", str(noted / "here"), 60, timeout=60)
        except KeyboardInterrupt:
            print("interrupted")
        thread.join()
        sums = [made.call("operator:add", n, n, timeout=5) for n in (1, 2)]
        print(other, sums)
        made.close()
    """
    run = _run(script, start_new_session=True)
    try:
        out, err = run.communicate(timeout=30)
    finally:
        run.kill()
    assert (run.returncode, out) == (0, "interrupted\n[None] [2, 4]\n"), err


@posix
def test_a_forked_child_makes_workers_of_its_own() -> None:
    script = """
        import os, json, sys
        from verifiers import pool
        assert pool.call("operator:add", 1, 1, timeout=20) == 2
        mine = pool.shared_pool().process_ids()
        child = os.fork()
        if child == 0:
            assert pool.call("operator:add", 2, 2, timeout=20) == 4
            theirs = pool.shared_pool().process_ids()
            assert not set(mine) & set(theirs), (mine, theirs)
            sys.exit(7)
        assert pool.call("operator:add", 3, 3, timeout=20) == 6
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert set(mine) <= set(pool.shared_pool().process_ids())
        assert pool.call("operator:add", 3, 3, timeout=20) == 6
        print("both")
    """
    run = _run(script)
    out, err = run.communicate(timeout=120)
    assert (run.returncode, out) == (0, "both\n"), err


@posix
def test_a_worker_that_is_busy_at_a_fork_takes_no_place_in_the_child(tmp_path: Path) -> None:
    script = f"""
        import os, sys, threading
        from pathlib import Path
        from verifiers import pool
        noted = Path({str(tmp_path / "busy")!r})
        made = pool.WorkerPool(1, warm=())
        busy = threading.Thread(target=made.call, kwargs={{"timeout": 20}},
            args=("{BAD}:note_and_sleep", str(noted), 1))
        busy.start()
        while not noted.exists():
            pass
        child = os.fork()
        if child == 0:
            assert made.call("operator:add", 2, 2, timeout=20) == 4
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        busy.join()
        print(made.call("operator:add", 3, 3, timeout=20))
    """
    run = _run(script, start_new_session=True)
    try:
        out, err = run.communicate(timeout=30)
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
    assert (run.returncode, out) == (0, "6\n"), err


@posix
def test_a_forked_child_keeps_no_worker_of_a_killed_parent_alive() -> None:
    script = """
        import os, time
        from verifiers import pool
        made = pool.WorkerPool(1, warm=())
        made.call("operator:add", 1, 1, timeout=20)
        child = os.fork()
        if child == 0:
            time.sleep(60)
        print(child, *made.process_ids(), flush=True)
        time.sleep(60)
    """
    run = _run(script)
    assert run.stdout is not None
    child, *workers = [int(pid) for pid in run.stdout.readline().split()]
    try:
        assert workers
        run.kill()
        assert _left_after(workers, 10) == []
        assert not _gone(child)
    finally:
        os.kill(child, signal.SIGKILL)
    run.communicate()


@posix
def test_a_normal_exit_ends_a_busy_worker_before_its_deadline(tmp_path: Path) -> None:
    script = f"""
        import threading
        from pathlib import Path
        from verifiers import pool
        noted = Path({str(tmp_path / "pid")!r})
        made = pool.WorkerPool(1, warm=())
        threading.Thread(target=made.call, daemon=True, kwargs={{"timeout": 60}},
            args=("{BAD}:note_and_hang", str(noted))).start()
        while not (noted.exists() and noted.read_text()):
            pass
    """
    run = _run(script)
    _, err = run.communicate(timeout=30)
    assert run.returncode == 0, err
    assert _left_after([int((tmp_path / "pid").read_text())], 10) == []


@posix
@pytest.mark.parametrize("busy", [False, True])
def test_no_worker_outlives_a_parent_that_was_killed(busy: bool, tmp_path: Path) -> None:
    script = f"""
        import threading
        from verifiers import pool
        pool.call("operator:add", 1, 1, timeout=20)
        if {busy}:
            threading.Thread(target=pool.call, daemon=True, kwargs={{"timeout": 3}},
                args=("{BAD}:note_and_hang", {str(tmp_path / "pid")!r})).start()
        print(*pool.shared_pool().process_ids(), flush=True)
        threading.Event().wait()
    """
    run = _run(script)
    assert run.stdout is not None
    pids = [int(pid) for pid in run.stdout.readline().split()]
    assert pids
    if busy:
        assert int(_wait_for(tmp_path / "pid")) in pids
    run.kill()
    run.communicate()
    # A busy worker holds the interpreter lock; it ends itself one second after its deadline.
    assert _left_after(pids, 30) == []


def test_workers_end_with_a_normal_exit_and_main_is_not_imported_again(tmp_path: Path) -> None:
    script = tmp_path / "user.py"
    # No `if __name__ == "__main__"`: what starts workers by importing main would recurse here.
    script.write_text(
        "print('main')\n"
        "from verifiers import pool\n"
        "print(pool.call('operator:add', 1, 1, timeout=20))\n"
        "print(*pool.shared_pool().process_ids())\n"
    )
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')\n")
    shown = subprocess.run(
        [sys.executable, "-P", str(script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ).stdout.splitlines()
    assert shown[:2] == ["main", "2"]
    assert _left_after([int(pid) for pid in shown[2].split()], 10) == []


def test_a_worker_imports_what_it_needs_and_no_torch() -> None:
    with pool.WorkerPool(1) as fresh:
        names = fresh.call(f"{BAD}:imported", timeout=5)
    assert isinstance(names, list)
    assert "sympy" in names
    assert not {"torch", "numpy", "transformers"} & set(names)


@posix
def test_workers_find_the_package_after_a_change_of_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without site, and so without what an installation would tell.
    python_is(f'exec "{sys.executable}" -S "$@"', tmp_path, monkeypatch)
    elsewhere = [entry for entry in sys.path if not Path(entry, "verifiers").exists()]
    monkeypatch.setattr(sys, "path", ["", *elsewhere])
    monkeypatch.chdir(tmp_path)
    with pool.WorkerPool(1, warm=()) as found:
        assert found.call("os:getcwd", timeout=5) == str(tmp_path)


def test_workers_that_cannot_start_are_an_error_and_not_a_wait() -> None:
    with (
        pool.WorkerPool(2, warm=("no_such_module",)) as broken,
        pytest.raises(pool.PoolUnusable, match="cannot start: No module named 'no_such_module'"),
    ):
        broken.call("operator:add", 1, 1, timeout=5)


@posix
def test_a_worker_that_never_gets_ready_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python_is("exec sleep 60", tmp_path, monkeypatch)
    monkeypatch.setattr("verifiers.process.START_SECONDS", 0.2)
    with (
        pool.WorkerPool(1, warm=()) as stuck,
        pytest.raises(pool.PoolUnusable, match="ended before it was ready"),
    ):
        stuck.call("operator:add", 1, 1, timeout=5)


def test_the_time_for_starting_ends_with_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verifiers.process.START_SECONDS", 1.5)
    with pool.WorkerPool(1, warm=()) as started:
        # Nor does the deadline of a call that was answered end its worker.
        pid = started.call("os:getpid", timeout=0.5)
        time.sleep(1.7)
        assert started.call("os:getpid", timeout=5) == pid


def test_without_a_python_to_start_there_is_an_error_and_no_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "")
    with ThreadPoolExecutor(1) as threads, pool.WorkerPool(1, warm=()) as broken:
        call = threads.submit(broken.call, "operator:add", 1, 1, timeout=5)
        with pytest.raises(pool.PoolUnusable, match="no Python"):
            call.result(30)


@posix
def test_closing_ends_a_worker_that_is_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = tmp_path / "pid"
    python_is(f"echo $$ > {noted}\nexec sleep 60", tmp_path, monkeypatch)
    starting = pool.WorkerPool(1, warm=())
    starting.warm_up()
    starting.close()
    time.sleep(0.5)
    if noted.exists() and (pid := noted.read_text()):
        assert _left_after([int(pid)], 5) == []


def test_bad_requests_are_refused_before_they_are_sent(workers: pool.WorkerPool) -> None:
    with pytest.raises(FrameError, match="plain data"):
        workers.call("operator:add", object(), 1, timeout=5)
    with pytest.raises(FrameError, match="bytes"):
        workers.call("builtins:len", "a" * 2**25, timeout=5)
    for timeout in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="timeout"):
            workers.call("operator:add", 1, 1, timeout=timeout)
    with pytest.raises(ValueError, match="at least one"):
        pool.WorkerPool(0)


def test_a_closed_pool_says_so() -> None:
    closed = pool.WorkerPool(1, warm=())
    closed.close()
    with pytest.raises(pool.PoolUnusable, match="closed"):
        closed.call("operator:add", 1, 1, timeout=5)
