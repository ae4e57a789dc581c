"""verify(): its outcomes, its errors, and what it refuses to be called with."""

import inspect
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from verifiers import (
    EXACT,
    LENIENT,
    GoldError,
    Outcome,
    Policy,
    SwappedArgumentsWarning,
    Verdict,
    verify,
)
from verifiers.check import verify_cheaply


@pytest.mark.parametrize(
    ("response", "answer", "outcome", "extracted"),
    [
        ("The final answer is $\\boxed{42}$.", "42", Outcome.CORRECT, "42"),
        ("The final answer is $\\boxed{41}$.", "42", Outcome.INCORRECT, "41"),
        ("I do not know.", "42", Outcome.NO_ANSWER, None),
        ("", "42", Outcome.NO_ANSWER, None),
        ("<think>\\boxed{42}", "42", Outcome.NO_ANSWER, None),
        ("\\boxed{}", "42", Outcome.NO_ANSWER, None),
        ("\\boxed{x^}", "42", Outcome.UNPARSED, "x^"),
        ("\\boxed{1 \\frac}", "42", Outcome.UNPARSED, "1 \\frac"),
        ("\\boxed{4}\\boxed{5}", "7", Outcome.INCORRECT, "5"),
    ],
)
def test_outcomes_are_told_apart(
    response: str, answer: str, outcome: Outcome, extracted: str | None
) -> None:
    verdict = verify(response, answer)
    assert (verdict.outcome, verdict.extracted) == (outcome, extracted)
    assert verdict.correct is (outcome is Outcome.CORRECT)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("9" * 5_000, "5000 digits"),
        ("1+" * 4_500 + "1", "4000 tokens"),
        ("x" * 10_001, "10001 characters"),
        ("1e1000", "exponent 1000"),
    ],
)
def test_what_is_too_large_to_read_is_unparsed(text: str, why: str) -> None:
    verdict = verify(f"\\boxed{{{text}}}", "42")
    assert verdict.outcome is Outcome.UNPARSED
    assert why in verdict.reason


@pytest.mark.parametrize("text", ["x^", "9^{9^{9^9}}", "\\prod_{k=1}^{20000} k", "2^{1/0}"])
def test_what_no_worker_could_decide_is_decided_without_one(text: str) -> None:
    verdict = verify_cheaply(f"\\boxed{{{text}}}", "42")
    assert verdict is not None
    assert not verdict.correct


def test_a_nearly_full_stack_leaves_an_answer_unparsed() -> None:
    def deep(levels: int) -> Verdict | None:
        if levels:
            return deep(levels - 1)
        return verify_cheaply("\\boxed{" + "(" * 30 + "x" + ")" * 30 + "}", "42")

    used = len(inspect.stack())
    verdict = deep(sys.getrecursionlimit() - used - 120)
    assert verdict is not None
    assert (verdict.outcome, "stack" in verdict.reason) == (Outcome.UNPARSED, True)


def test_what_cannot_be_decided_in_time_is_a_timeout() -> None:
    verdict = verify("\\boxed{\\int_0^1 x^{x^{x^x}} dx + \\sum_{n=1}^{\\infty} n^{-n} x}", "1")
    assert verdict.outcome in (Outcome.TIMEOUT, Outcome.INCORRECT)
    hopeless = verify("\\boxed{\\sum_{n=1}^{10^9} \\sin(n^n)}", "1", timeout=0.05)
    assert hopeless.outcome in (Outcome.TIMEOUT, Outcome.INCORRECT)


@pytest.mark.parametrize("gold", ["", "   ", "$$", "x" * 20_000, "{" * 50 + "1"])
def test_an_unreadable_gold_is_an_error_that_names_it(gold: str) -> None:
    with pytest.raises(GoldError) as raised:
        verify("\\boxed{42}", gold)
    assert repr(gold[:20])[:-1] in str(raised.value)


def test_only_an_empty_box_answers_an_empty_gold() -> None:
    assert verify("The final answer is $\\boxed{}$.", "").correct
    for response in ("\\boxed{0}", "", "0", "I do not know."):
        with pytest.raises(GoldError, match="states no answer"):
            verify(response, "")
    with pytest.raises(GoldError, match="states no answer"):
        verify("\\boxed{}", "$$")
    assert not verify("\\boxed{}", "0").correct


def test_a_convention_that_is_not_known_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'aime'.*gsm8k, gsm8k_strict, math"):
        verify("1", "1", convention="aime")


@pytest.mark.parametrize("arguments", [(None, "1"), ("1", 1)])
def test_texts_are_required(arguments: tuple[object, object]) -> None:
    with pytest.raises(TypeError, match="takes two strings"):
        verify(*arguments)  # type: ignore[arg-type]


SOLUTION = (
    "There are two cases to look at, an even one and an odd one, and each gives six, "
    "so that all in all we have twice that many, and the final answer is $\\boxed{12}$."
)


def test_swapped_arguments_are_noticed() -> None:
    with pytest.warns(SwappedArgumentsWarning, match="swapped"):
        verify("12", SOLUTION)
    with pytest.raises(GoldError, match="swapped"):
        verify("12", f"<think>Two cases.</think> {SOLUTION}")
    with pytest.raises(GoldError, match="swapped"):
        verify("12", f"{SOLUTION}<|im_end|>")


@pytest.mark.parametrize("response", [SOLUTION, "\\boxed{12} <|im_end|>", "We compute on. " * 6])
def test_a_gold_may_be_a_whole_solution(response: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", SwappedArgumentsWarning)
        verify(response, SOLUTION)
        verify("12", "3 * 4 = 12\n#### 12", convention="gsm8k")


@pytest.mark.parametrize(
    ("policy", "answer", "response", "correct"),
    [
        (Policy(), "5\\text{ cm}", "5", True),
        (Policy(), "5\\text{ cm}", "0.05\\text{ m}", True),
        (Policy(), "5\\text{ cm}", "5\\text{ m}", False),
        (Policy(units="required"), "5\\text{ cm}", "5", False),
        (Policy(units="required"), "5\\text{ cm}", "5\\text{ cm}", True),
        (Policy(units="required"), "5", "5\\text{ cm}", False),
        (Policy(units="required"), "5", "5\\text{ in total}", True),
        (Policy(), "50\\%", "50", True),
        (Policy(), "50\\%", "0.5", True),
        (Policy(), "25", "25\\%", True),
        (Policy(), "0.25", "25\\%", True),
        (Policy(), "0.25", "0.25\\%", False),
        (Policy(percent="value"), "50\\%", "0.5", True),
        (Policy(percent="value"), "50\\%", "50", False),
        (Policy(percent="value"), "25", "25\\%", False),
        (Policy(percent="required"), "50\\%", "50", False),
        (Policy(percent="required"), "50\\%", "0.5", False),
        (Policy(percent="required"), "50\\%", "50 percent", True),
        (Policy(), "\\frac{1}{12}", "0.0833333333333333", True),
        (Policy(), "\\frac{1}{12}", "0.0833", False),
        (Policy(decimals="exact"), "\\frac{1}{12}", "0.0833333333333333", False),
        (Policy(decimals="exact"), "\\frac{1}{12}", "0.08\\overline{3}", True),
        (LENIENT, "\\frac{1}{12}", "0.0833", True),
        (LENIENT, "\\frac{1}{12}", "0.0834", False),
        (LENIENT, "\\sqrt{2}", "1.414", True),
        (LENIENT, "(\\frac{3}{5},\\frac{8}{3}]", "(0.6,2.6667]", True),
        (LENIENT, "(\\frac{3}{5},\\frac{8}{3}]", "(0.6,2.6]", False),
        (LENIENT, "\\sqrt{2}", "1.4", False),
        (LENIENT, "(1, 2.6667)", "(1, 2.667)", False),
        (Policy(), "x^2-1", "(x-1)(x+1)", True),
        (Policy(form="gold"), "x^2-1", "(x-1)(x+1)", False),
        (Policy(form="gold"), "x^2-1", "-1+x^{2}", True),
        (Policy(form="gold"), "\\frac{1}{2}", "\\dfrac12", True),
        (Policy(form="gold"), "\\frac{1}{2}", "\\frac{2}{4}", False),
        (Policy(form="gold"), "(1, 5)", "(1, 5.0)", False),
        (Policy(), "4", "3 or 4", False),
        (Policy(hedging="accept"), "4", "3 or 4", True),
        (Policy(hedging="accept"), "4", "3 or 5", False),
        (Policy(hedging="accept"), "4", "(3, 4)", False),
        (Policy(), "1, 2", "2, 1", True),
        (Policy(list_order="kept"), "1, 2", "2, 1", False),
        (Policy(list_order="kept"), "\\{1, 2\\}", "\\{2, 1\\}", True),
        (Policy(), "x = 5", "5", True),
        (Policy(relation="required"), "x = 5", "5", False),
        (Policy(relation="required"), "x = 5", "x = 5.0", True),
        (EXACT, "\\frac{1}{2}", "0.5", False),
        (EXACT, "1{,}234", "1,234", True),
    ],
)
def test_policies_do_what_their_table_says(
    policy: Policy, answer: str, response: str, correct: bool
) -> None:
    assert verify(f"\\boxed{{{response}}}", answer, policy=policy).correct is correct


def test_a_policy_refuses_unknown_values() -> None:
    with pytest.raises(ValueError, match=r"Policy\.units is 'any'; expected one of optional"):
        Policy(units="any")  # type: ignore[arg-type]


def test_gsm8k_reads_its_marks() -> None:
    for response in (
        "3*4=<<3*4=12>>12\n#### 12",
        "A: 12",
        "Some work: 5.\nA: 12",
        "#### $12.00",
        "The answer is 12.",
        "\\boxed{12}",
        "She has 12 in total",
    ):
        assert verify(response, "3*4=12\n#### 12", convention="gsm8k").correct, response
    assert not verify("72 is not it.\n#### 73", "72", convention="gsm8k").correct
    assert verify("I am lost.", "72", convention="gsm8k").outcome is Outcome.NO_ANSWER


def test_importing_is_light() -> None:
    program = (
        "import sys, verifiers; from verifiers import verify; "
        "verify('\\\\boxed{1/2}', '0.5'); "
        "print(sorted({'sympy', 'torch', 'mpmath'} & {*sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def run(program: str) -> str:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_cold_start_costs_no_verdict() -> None:
    # Less time than a worker takes to start: starting must not count.
    assert (
        run(
            "from verifiers import verify; "
            "print(verify('\\\\boxed{\\\\int_0^1 x^2 dx}', '1/3', timeout=0.4).outcome.value)"
        )
        == "correct"
    )


def test_a_worker_is_started_ahead_for_latex_and_not_for_numbers() -> None:
    program = (
        "import time; from verifiers import verify; "
        "verify('The answer is 12.', '12.0'); from verifiers import pool; "
        "first = len(pool.shared_pool().process_ids()); "
        "verify('\\\\boxed{\\\\frac12}', '0.5'); end = time.monotonic() + 30\n"
        "while not pool.shared_pool().process_ids() and time.monotonic() < end: time.sleep(0.01)\n"
        "print(first, len(pool.shared_pool().process_ids()))"
    )
    assert run(program) == "0 1"


def test_a_verdict_is_a_plain_record() -> None:
    assert Verdict(Outcome.CORRECT, "1") == Verdict(Outcome.CORRECT, "1", "")


def test_threads_do_not_share_precision() -> None:
    pair = ("\\boxed{\\cos\\frac{\\pi}{7}-\\cos\\frac{2\\pi}{7}+\\cos\\frac{3\\pi}{7}}", "\\frac12")
    near = ("\\boxed{262537412640768744}", "e^{\\pi\\sqrt{163}}")
    with ThreadPoolExecutor(8) as threads:
        verdicts = list(threads.map(lambda p: verify(*p).correct, [pair, near] * 60))
    assert verdicts == [True, False] * 60
