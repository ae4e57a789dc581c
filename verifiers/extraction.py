"""Finding the final answer in a completion, in one pass over the text.

What a convention shares with the others: cutting thoughts and later turns away, reading boxes,
answer phrases and math delimiters. Every search is a linear scan (`str.find` or a pattern without
nested repetition), so a hostile megabyte costs milliseconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from verifiers import boxes, phrases

Source = Literal["box", "marker", "phrase", "bare", "fallback", "none"]


@dataclass(frozen=True, slots=True)
class Extracted:
    """Where a completion states its answer.

    `text` is None where it states none. `alternative` is a second reading of the same place: the
    list that boxes written side by side make together.
    """

    text: str | None
    source: Source
    alternative: str | None = None


NOTHING = Extracted(None, "none")

_THOUGHT_END = ("</think>", "</thinking>", "</thought>", "<|end_of_thought|>")
_THOUGHT_START = ("<think>", "<thinking>", "<thought>", "<|begin_of_thought|>")
# Tokens with which chat templates end a turn: whatever follows was not asked for.
_TURN_TOKEN = re.compile(
    r"<\|im_end\|>|<\|im_start\|>|<\|endoftext\|>|<\|eot_id\|>|<\|end\|>|<\|user\|>"
    r"|</s>|<end_of_turn>|\[INST\]"
)
# Lines with which a run-on completion starts another problem.
_TURN_LINE = re.compile(
    r"\n[ \t]*(?:#+[ \t]*)?(?:\*\*)?"
    r"(?:user|human|question|problem|instruction|q|input|exercise)"
    r"[ \t]*\d{0,3}(?:\*\*)?[ \t]*[:.\n]",
    re.IGNORECASE,
)


def visible(text: str) -> str:
    """The part of a completion that can state its answer: no thoughts, no later turns.

    Of the last `<answer>`, it is what stands inside, with its tags (`untagged` drops them).
    """
    if "\b" in text or "\f" in text:
        # A backslash read as an escape: "\\boxed" became backspace and "oxed".
        text = text.replace("\boxed", "\\boxed").replace("\frac", "\\frac")
    if "<" in text or "[INST]" in text:
        text = _after_thoughts(text)
        for turn in _TURN_TOKEN.finditer(text):
            if text[: turn.start()].strip():
                text = text[: turn.start()]
                break
    if "<answer>" in text:
        inside, closed, _ = text[text.rfind("<answer>") :].partition("</answer>")
        text = inside + closed
    if "\n" in text and _TURN_LINE.search(text):
        # Before an answer, such a line belongs to the solution's own restatement.
        line = _TURN_LINE.search(text, _first_answer(text))
        if line is not None:
            return text[: line.start()]
    return text


def untagged(text: str) -> str:
    """What stands inside the answer tags that `visible` has left, or the text itself."""
    return text.removeprefix("<answer>").removesuffix("</answer>")


def _first_answer(text: str) -> int:
    """Where the first box, `####` mark or answer phrase stands; the text's end without one."""
    found = [text.find(mark) for mark in ("\\boxed", "####") if mark in text]
    anchor = phrases.first_anchor(text)
    return min([len(text), *found] if anchor is None else [len(text), anchor, *found])


def has_turns(text: str) -> bool:
    """Whether a text has thoughts or turns of a chat, which no gold answer has."""
    marked = any(mark in text for mark in (*_THOUGHT_START, *_THOUGHT_END))
    return marked or _TURN_TOKEN.search(text) is not None


def is_completion(text: str) -> bool:
    """Whether a text is a worked solution rather than an answer."""
    return has_turns(text) or (len(text.split()) > 12 and states_answer(text))


def states_answer(text: str) -> bool:
    """Whether the text has a box, a `####` mark or an answer phrase."""
    return "\\boxed" in text or "####" in text or phrases.last_anchor(text) is not None


def _after_thoughts(text: str) -> str:
    end = max((text.rfind(mark) + len(mark) for mark in _THOUGHT_END if mark in text), default=0)
    text = text[end:]
    starts = [text.find(mark) for mark in _THOUGHT_START if mark in text]
    # A thought that never ends was cut off: nothing in it was meant as the answer.
    return text[: min(starts)] if starts else text


def gold_text(answer: str) -> str:
    """The gold itself, out of its math delimiters, or out of the last box of a solution."""
    if "boxed" in answer or "\\fbox" in answer:
        found = boxes.last_group(answer)
        if found is not None:
            return (found.joined if found.joined is not None else found.last).strip()
        opened = boxes.unclosed(answer)
        if opened:
            return opened
    mark = answer.rfind("####")
    if mark >= 0:
        return phrases.unwrap(answer[mark + 4 :].strip().partition("\n")[0])
    text = phrases.unwrap(answer)
    if "$" in text.replace("\\$", "") and not phrases.is_bare(text):
        return phrases.last_answer(text) or phrases.last_math(text) or text
    if len(text) > _LONGEST_BARE_GOLD:
        return phrases.last_answer(text) or text
    return text


_LONGEST_BARE_GOLD = 300
