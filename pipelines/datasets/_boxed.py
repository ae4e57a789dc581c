r"""The content of the last `\boxed{}` of a reference solution: MATH's gold answer."""

from __future__ import annotations

_MARK = "\\boxed"


def last_boxed(solution: str) -> str | None:
    r"""Return what the last complete `\boxed{...}` holds, braces balanced, or None without one.

    The short form `\boxed 7` ends at the next `$` or at the end of the text. Escaped braces are
    counted like others: the reference solutions close what they open.
    """
    position = solution.rfind(_MARK)
    while position >= 0:
        content = _content(solution, position + len(_MARK))
        if content is not None:
            return content
        position = solution.rfind(_MARK, 0, position)
    return None


def _content(solution: str, start: int) -> str | None:
    if solution.startswith(" ", start):
        return solution[start:].split("$")[0].strip() or None
    if not solution.startswith("{", start):
        return None
    depth = 0
    for position in range(start, len(solution)):
        depth += {"{": 1, "}": -1}.get(solution[position], 0)
        if depth == 0:
            return solution[start + 1 : position]
    return None
