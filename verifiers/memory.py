"""How much memory a worker has, and how it is kept from taking more.

Linux enforces a limit on the address space (``RLIMIT_AS``). macOS accepts that call and ignores it,
Windows has none, so there the pool reads the worker's resident size while it waits.
"""

import subprocess
import sys
from pathlib import Path

ENFORCED_BY_SYSTEM: bool = sys.platform.startswith("linux")
"""Whether ``limit_address_space`` holds, so that nobody needs to watch."""

_WINDOWS: bool = sys.platform == "win32"


def limit_address_space(limit_bytes: int) -> None:
    """Bound this process's address space; does nothing where the system does not enforce it."""
    if sys.platform == "win32" or not ENFORCED_BY_SYSTEM:
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    bound = limit_bytes if hard == resource.RLIM_INFINITY else min(limit_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (bound, hard))
    # A worker that aborts must not leave a core file of a gigabyte behind.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def resident_bytes(pid: int) -> int | None:
    """Resident size of a process in bytes, or None when it is gone or cannot be read."""
    if ENFORCED_BY_SYSTEM:
        try:
            status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        sizes = [line for line in status.splitlines() if line.startswith("VmRSS:")]
        return int(sizes[0].split()[1]) * 1024 if sizes else None
    if _WINDOWS:
        # "python.exe","1234","Console","1","45,678 K": the size is the last column, in KiB.
        row = _output(["tasklist", "/FI", f"PID eq {pid}", "/FO", "CSV", "/NH"])
        shown = row.rpartition('","')[2]
    else:
        shown = _output(["ps", "-o", "rss=", "-p", str(pid)])
    digits = "".join(character for character in shown if character.isdigit())
    return int(digits) * 1024 if digits else None


def _output(command: list[str]) -> str:
    """What a command prints; nothing where it may not run, as ``ps`` in sandboxes of macOS."""
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError:
        return ""
    return done.stdout.decode("ascii", "ignore")  # digits are wanted, in whatever code page
