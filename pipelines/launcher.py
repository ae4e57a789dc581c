"""`accelerate launch`, silent about a worker's error that the worker has told itself.

Its last argument is the job file, beside which workers leave their errors.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

from pipelines import failures


def main() -> int:
    """Launch; return 0 if all workers have done their work."""
    from accelerate.commands import launch
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.getLogger("torch.distributed.elastic.multiprocessing.api").disabled = True
    try:
        launch.main()
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        return _failed(f"process {rank} of the phase", failure.exitcode)
    except subprocess.CalledProcessError as error:
        return _failed("the process of the phase", error.returncode)
    return 0


def _failed(who: str, code: int) -> int:
    if failures.left(Path(sys.argv[-1]).parent) is None:
        print(f"{who} ended with exit code {code}", file=sys.stderr)
    return failures.FAILED


if __name__ == "__main__":
    sys.exit(main())
