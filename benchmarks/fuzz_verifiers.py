"""Coverage-guided fuzzing of the extractor, the parser, the comparison and the step checker.

    pip install atheris
    python benchmarks/fuzz_verifiers.py --target all --seconds 3600 --corpus corpus/

It stops at the first input that raises anything but the documented errors, takes more than
``--slow`` seconds or drives the process over ``--memory`` MB, and leaves that input in a file
(``crash-...``, ``timeout-...``, ``oom-...``); run it on that file to see it again.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

WORDS = (
    "\\boxed{ \\frac{ \\sqrt{ \\sqrt[ \\text{ \\left( \\right) \\left[ \\infty \\pi "
    "\\cdot \\times \\pm \\cup \\in \\leq \\begin{pmatrix} \\end{pmatrix} \\\\ "
    "\\begin{align*} \\overline{ \\binom{ \\log_ \\sin \\sum_{ \\int_ \\lim_{ ^{ _{ "
    "^\\circ \\% \\$ {,} \\! #### <<1+1=2>> <think> </think> <|im_end|> 1,000 0.5 1/2 "
    "1e9 12:30 9^{9^9} x= (1,2] {1,2} or and of cm dollars A:"
)
"""What libFuzzer strings together: its dictionary."""


def main() -> None:
    """Parse the command line, instrument the package and fuzz."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="all", choices=["all", *_TARGETS])
    parser.add_argument("--seconds", type=int, default=60, help="how long to run")
    parser.add_argument("--length", type=int, default=400, help="bytes an input has at most")
    parser.add_argument("--slow", type=int, default=5, help="seconds one input may take")
    parser.add_argument("--memory", type=int, default=2048, help="MB the process may take")
    parser.add_argument("--corpus", type=Path, help="a folder that keeps interesting inputs")
    parser.add_argument("files", nargs="*", help="run these inputs and stop")
    chosen = parser.parse_args()
    try:
        import atheris
    except ModuleNotFoundError:
        raise SystemExit(
            "atheris is not installed. It is optional (Linux and macOS): pip install atheris"
        ) from None
    with atheris.instrument_imports(include=["verifiers"]):
        targets = {name: make() for name, make in _TARGETS.items()}
    run = list(targets.values()) if chosen.target == "all" else [targets[chosen.target]]

    def one_input(data: bytes) -> None:
        # Plain bytes and not a data provider: so the dictionary's words survive as they are.
        target = run[data[0] % len(run)] if data else run[0]
        text, _, gold = data[1:].decode("utf-8", "surrogateescape").partition("\x01")
        target(text, gold)

    with tempfile.TemporaryDirectory() as folder:
        dictionary = Path(folder) / "words"
        dictionary.write_text(
            "".join(
                '"' + w.replace("\\", "\\\\").replace('"', '\\"') + '"\n' for w in WORDS.split()
            )
        )
        arguments = [
            sys.argv[0],
            f"-max_total_time={chosen.seconds}",
            f"-timeout={chosen.slow}",
            f"-rss_limit_mb={chosen.memory}",
            f"-max_len={chosen.length}",
            f"-dict={dictionary}",
        ]
        if chosen.corpus:
            chosen.corpus.mkdir(parents=True, exist_ok=True)
            arguments.append(str(chosen.corpus))
        atheris.Setup([*arguments, *chosen.files], one_input)
        atheris.Fuzz()


Target = Callable[[str, str], None]
"""(text, gold): raises only when something is wrong."""


def _extraction() -> Target:
    from verifiers import conventions
    from verifiers.extraction import gold_text, visible

    extractors = [conventions.load(name) for name in conventions.names()]

    def run(text: str, gold: str) -> None:
        gold_text(text)
        for extract in extractors:
            found = extract(visible(text))
            if found.text is not None and not found.text.strip():
                raise AssertionError(f"an empty answer was extracted from {text!r}")

    return run


def _parser() -> Target:
    from verifiers.reading import read
    from verifiers.verdict import ParseError

    def run(text: str, gold: str) -> None:
        try:
            tree = read(text)
        except ParseError:
            return
        if read(text) != tree:
            raise AssertionError(f"{text!r} reads differently the second time")

    return run


def _verdict() -> Target:
    from verifiers.check import verify_cheaply
    from verifiers.verdict import GoldError, Outcome

    def run(text: str, gold: str) -> None:
        try:
            verdict = verify_cheaply(text, gold)
            # Nothing in the dictionary spells this number.
            other = verify_cheaply(text, "31337.271828")
        except GoldError:
            return
        if verdict is not None and verdict.outcome is Outcome.TIMEOUT:
            raise AssertionError("the cheap stages have no deadline to miss")
        if other is not None and other.correct and "31337" not in text:
            raise AssertionError(f"{text!r} was taken for 31337.271828")

    return run


def _steps() -> Target:
    from verifiers.steps import check_steps

    def run(text: str, gold: str) -> None:
        for step in check_steps(text):
            if not 0 <= step.start <= step.end <= len(text):
                raise AssertionError(f"{step} lies outside of {text!r}")

    return run


_TARGETS: dict[str, Callable[[], Target]] = {
    "extraction": _extraction,
    "parser": _parser,
    "verdict": _verdict,
    "steps": _steps,
}


if __name__ == "__main__":
    # The project in place of this folder.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    main()
