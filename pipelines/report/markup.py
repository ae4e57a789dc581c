"""What pages are made of: escaped text, tables, and the document around them."""

from __future__ import annotations

import importlib.resources
import string
from html import escape

from pipelines.report.table import Table
from pipelines.report.visible import visible


def text(shown: str) -> str:
    """Return text that is nothing but text, in an element or an attribute."""
    return escape(visible(shown), quote=True)


def table(made: Table) -> str:
    """Return a table that scrolls by itself where it is wider than the page."""
    head = "".join(f"<th>{text(heading)}</th>" for heading in made.headings)
    body = "".join(
        "<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in made.rows
    )
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def document(title: str, body: str) -> str:
    """Return a whole page; its security policy forbids scripts and requests."""
    template = importlib.resources.files("pipelines.report").joinpath("page.html")
    page = string.Template(template.read_text(encoding="utf-8"))
    return page.substitute(title=text(title), body=body)
