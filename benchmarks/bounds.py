"""What this machine can do at most: products and memory, as torch reaches them.

    python benchmarks/bounds.py --threads 2 --dtypes float32 bfloat16

Large square products bound prefill, scoring and updates; copying a large tensor bounds decoding,
which reads all weights and all keys and values for each token of a batch. Medians of 5.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

REPEATS = 5


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    print("| dtype | products, GFLOP/s | memory, GB/s |\n| --- | --- | --- |")
    for name in options.dtypes:
        flops = products(options.device, getattr(torch, name))
        print(f"| {name} | {flops / 1e9:,.0f} | {memory(options.device) / 1e9:,.0f} |")


def products(device: str, dtype: Any) -> float:
    """Return the floating-point operations a second of a large square product."""
    import torch

    size = 8192 if device == "cuda" else 2048
    one, other = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / seconds(lambda: one @ other, device)


def memory(device: str) -> float:
    """Return the bytes a second, read and written, of copying a large tensor."""
    import torch

    source = torch.ones(256 * 2**20 // 4, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / seconds(lambda: target.copy_(source), device)


def seconds(work: Callable[[], object], device: str) -> float:
    """Return the median seconds of a call, after one that does not count."""
    import torch

    def once() -> float:
        started = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    once()
    return median(once() for _ in range(REPEATS))


if __name__ == "__main__":
    main()
