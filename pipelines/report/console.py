"""Tables and notes as text, for a terminal, a file or a pipe."""

from __future__ import annotations

import io
import shutil
import sys
from typing import TYPE_CHECKING

from pipelines.progress import is_terminal

if TYPE_CHECKING:
    from rich.console import JustifyMethod, RenderableType
    from rich.table import Table

NO_SCREEN = 200
"""Columns of text that goes to a file or a pipe: it is not broken at the width of a screen."""


def grid(*headings: str, left: int = 1, gap: int = 1) -> Table:
    """Return an empty table without lines; the first `left` columns stand left, others right."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, gap, 0, 0))
    for place, heading in enumerate(headings):
        side: JustifyMethod = "left" if place < left else "right"
        table.add_column(Text(heading), justify=side, no_wrap=True)
    return table


def as_text(content: RenderableType, width: int | None = None) -> str:
    """Return what rich draws, without trailing blanks; coloured where it goes to a terminal."""
    from rich.console import Console

    screen = is_terminal(sys.stdout)
    columns = width or (shutil.get_terminal_size().columns if screen else NO_SCREEN)
    console = Console(file=io.StringIO(), force_terminal=screen, width=columns)
    with console.capture() as captured:
        console.print(content)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
