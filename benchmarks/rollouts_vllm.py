"""vLLM for `rollouts.py`: a process of vLLM's own environment that samples when it is asked.

It is started once for a model, before anything is timed, and then takes its turns with the other
engines. Its settings are those that served it best here: all rows in one batch, prefix caching, no
text made of tokens, the compiled graph. The prefix cache is emptied before each run, since the
other engines compute their prompts in each run too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MAX_ROWS = 512


class Vllm:
    """The parent's side: starts the process, hands it rows, closes it."""

    def __init__(self, python: str, model: Any, dtype: str, threads: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        model.save_pretrained(self.folder.name)
        environment = {
            "VLLM_CPU_KVCACHE_SPACE": "4",
            # The process inherits the parent's cores; vLLM's own choice leaves one core unused.
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
        }
        self.process = subprocess.Popen(
            [python, str(Path(__file__).resolve()), self.folder.name, dtype],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()

    def sample(self, prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> int:
        """Sample one row of `limits[i]` tokens for each prompt; return how many were made."""
        assert self.process.stdin is not None
        rows = [[list(prompt), limit] for prompt, limit in zip(prompts, limits, strict=True)]
        self.process.stdin.write(json.dumps(rows) + "\n")
        self.process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """End the process and remove its model."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        self.folder.cleanup()

    def _read(self) -> int:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"vLLM ended with status {self.process.wait()}; its messages above")
        return int(line)


def serve(model: str, dtype: str) -> None:
    """Answer each line of rows on standard input with one line; messages go to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from vllm import LLM, SamplingParams

    llm = LLM(
        model=model,
        skip_tokenizer_init=True,
        dtype=dtype,
        enforce_eager=False,
        enable_prefix_caching=True,
        max_model_len=1024,
        max_num_seqs=MAX_ROWS,
        max_num_batched_tokens=8192,
        disable_log_stats=True,
        seed=0,
    )
    print(0, file=answers, flush=True)
    for line in sys.stdin:
        rows = json.loads(line)
        requests = [{"prompt_token_ids": prompt} for prompt, _ in rows]
        parameters = [
            SamplingParams(max_tokens=limit, ignore_eos=True, detokenize=False) for _, limit in rows
        ]
        llm.reset_prefix_cache()
        outputs = llm.generate(requests, parameters, use_tqdm=False)
        print(sum(len(row.outputs[0].token_ids) for row in outputs), file=answers, flush=True)


if __name__ == "__main__":
    serve(*sys.argv[1:3])
