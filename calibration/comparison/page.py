"""A report's page: one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path

from calibration.comparison.text import FAIL
from runtime.core.files import replace

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 78em; padding: 0 1em; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { border-bottom: 1px solid #ddd; padding: .2em .7em; text-align: right; }
th:nth-child(-n+3), td:nth-child(-n+3) { text-align: left; }
table.facts td { font-family: ui-monospace, monospace; text-align: left; }
tr.fail { background: #fbe3e1; font-weight: bold; }
p.pass { color: #207040; font-weight: bold; } p.fail { color: #b02018; font-weight: bold; }
img { max-width: 100%; }
"""


def write_page(path: Path, title: str, body: Sequence[str]) -> None:
    """Writes a page with this title and these pieces of HTML to `path`, whose folder is made.

    Raises ShiftAddError where the file cannot be written; then there is none, or still the one
    before.
    """
    shown = html.escape(title)
    page = (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{shown}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{shown}</h1>{''.join(body)}</body></html>\n"
    )
    replace(path, page.encode(), "report")


def verdicts(sentences: Sequence[str], passed: bool) -> str:
    """The sentences as paragraphs in the colour of what was found."""
    kind = "pass" if passed else "fail"
    return "".join(f'<p class="{kind}">{html.escape(sentence)}</p>' for sentence in sentences)


def table(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table; a row whose last cell is FAIL is marked."""
    lines = ["<table><tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in header) + "</tr>"]
    for cells in body:
        mark = ' class="fail"' if cells[-1] == FAIL else ""
        columns = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
        lines.append(f"<tr{mark}>{columns}</tr>")
    return "\n".join(lines) + "</table>"


def facts(entries: Mapping[str, str]) -> str:
    """A table of names and values."""
    lines = (
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
        for name, value in entries.items()
    )
    return f'<table class="facts">{"".join(lines)}</table>'


def picture(png: bytes, description: str) -> str:
    """A PNG file inside the page."""
    encoded = base64.b64encode(png).decode("ascii")
    return f'<p><img alt="{html.escape(description)}" src="data:image/png;base64,{encoded}"></p>'
