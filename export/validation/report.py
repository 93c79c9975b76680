"""The report: one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path

from export.validation import plots, rows
from export.validation.compare import InputResult
from export.validation.deviation import Tolerances
from runtime.files import replace

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


def _method(allowed: Tolerances) -> str:
    return f"""
<p>Every error is against PyTorch in float64, as a ratio of Euclidean norms over all inputs; each
figure is the worse of the kinds of input.</p>
<ul>
<li><b>isolated</b>: PyTorch's layer, with its BatchNorm, is given the very tensor that the file's
layer read, so that no error of another layer is in it. Compared before the activation, relative
to |scale|&middot;&Sigma;|terms| + |bias|, the size of what is summed up. At most
{allowed.layer:.0e}, the operators' contract.</li>
<li><b>accumulated</b>: the layer's output, activation included, within the two networks. At most
{allowed.network:.0e}, the same as for the logits.</li>
<li><b>PyTorch float32</b>: what PyTorch's own float32 is away from float64: a yardstick, not a
test. <b>max abs</b>: the largest difference of any element.</li>
</ul>
"""


def write_report(
    path: Path, title: str, facts: Mapping[str, str], results: Sequence[InputResult]
) -> None:
    """Writes the report to `path`, whose folder is made; aside first, so that none is half done.

    Args:
        facts: what was compared with what, name to value.

    Raises ShiftAddError where the file cannot be written.
    """
    replace(path, _page(title, facts, results).encode(), "report")


def _page(title: str, facts: Mapping[str, str], results: Sequence[InputResult]) -> str:
    layers, allowed = rows.summarise(results), rows.tolerances(results)
    passed = all(result.passed for result in results)
    verdicts = "".join(
        f'<p class="{"pass" if passed else "fail"}">{html.escape(sentence)}</p>'
        for sentence in rows.verdicts(results)
    )
    body = [
        f"<h1>{html.escape(title)}</h1>",
        verdicts,
        "<h2>End to end</h2>",
        _table(rows.logits_header(allowed), [rows.logits_cells(result) for result in results]),
        _picture(plots.logits(results), "logits of the two sides, and their differences"),
        "<h2>Layer by layer</h2>",
        _method(allowed),
        _picture(plots.errors_by_layer(layers, allowed), "errors by layer"),
        _table(rows.layer_header(allowed), [layer.cells() for layer in layers]),
        "<h2>What was compared</h2>",
        _facts(facts),
    ]
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body>{''.join(body)}</body></html>\n"
    )


def _table(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = ["<table><tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in header) + "</tr>"]
    for cells in body:
        mark = ' class="fail"' if cells[-1] == rows.FAIL else ""
        columns = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
        lines.append(f"<tr{mark}>{columns}</tr>")
    return "\n".join(lines) + "</table>"


def _facts(facts: Mapping[str, str]) -> str:
    lines = (
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
        for name, value in facts.items()
    )
    return f'<table class="facts">{"".join(lines)}</table>'


def _picture(png: bytes, description: str) -> str:
    encoded = base64.b64encode(png).decode("ascii")
    return f'<p><img alt="{html.escape(description)}" src="data:image/png;base64,{encoded}"></p>'
