"""What engines ask of a GPU, counted without one: launches and waits for each position of the rows.

    python benchmarks/launches.py

64 prompts x 8 of `rollouts.py`, through a random Llama of 24 layers on `pretend_gpu`. Its widths
are small, since they change no count. A GPU that is asked for small things waits for Python: a
launch takes some microseconds, whatever it computes. `--policy` takes a trained policy of the
embedded job instead, with its questions. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import sys
from unittest import mock

from pretend_gpu import attached, on_gpu
from rollouts import engine, made, make_cases

ENGINES = ("generate", "native-own-layers", "native-own-rows", "native", "native-graphs")


def main() -> None:
    """Count and print the table."""
    import torch

    from iterative_grpo.engines import _decoding

    torch.set_num_threads(1)
    options = parse()
    lines = [
        "| lengths | engine | launches a position | waits a position | graphs |",
        "| --- | --- | --- | --- | --- |",
    ]
    for case in make_cases("narrow", options):
        for name in options.engines:
            model = made("narrow", options)
            # Parameters of a GPU that is not there have a class of their own.
            plain = mock.patch.object(_decoding, "supports", return_value=_decoding.supports(model))
            with attached() as asked, plain:
                sample = engine(name, on_gpu(model), case, 1.0)
                asked.clear()
                sample(0)
            launches, waits = asked.launches / case.tokens, asked.waits / case.tokens
            counts = f"{launches:,.0f} | {waits:,.1f}"
            lines.append(f"| {case.name} | {name} | {counts} | {asked.graphs} |")
            print(lines[-1], file=sys.stderr, flush=True)
    print("\n".join(lines))


def parse() -> argparse.Namespace:
    """Return the command line's options; those of `rollouts.py` that make a case."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--policy", metavar="DIR", help="RUN/start/policy of the embedded job")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=128, help="tokens of a row in `fixed`")
    parser.set_defaults(device="cpu", key_heads=None, examples=0, lengths=["fixed", "varied"])
    return parser.parse_args()


if __name__ == "__main__":
    main()
