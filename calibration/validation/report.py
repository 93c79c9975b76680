"""The report of an integer model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from calibration.comparison import page
from calibration.validation import plots, rows
from calibration.validation.compare import BEYOND_ROUNDING, LEAST_ISOLATED, Result

_METHOD = f"""
<p>Each figure is a signal-to-noise ratio, 10 log<sub>10</sub> of the float values' sum of squares
over that of the differences, over all images; the worst layers stand first.</p>
<ul>
<li><b>isolated</b>: the integer layer is given the float model's own values, rounded to codes, and
its codes are compared with the float layer's output. At least {LEAST_ISOLATED:g} dB: values whose
root mean square is one step between codes keep 10.8 dB when they are rounded.</li>
<li><b>rounding alone</b>: the same with the float layer in place of the integer one, its input, the
adder's weights and its output rounded to the same codes. A layer whose isolated figure lies more
than {BEYOND_ROUNDING:g} dB below it does something wrong.</li>
<li><b>accumulated</b>: the layer within the integer model, with the noise of all before it.</li>
<li><b>at the ends</b>: the share of codes 0 and 255, which may stand for any value beyond the
range; a code that stands for 0 does not count, since it holds a ReLU's zeros.</li>
</ul>
"""


def write_report(path: Path, title: str, facts: Mapping[str, str], result: Result) -> None:
    """Writes the report to `path`, whose folder is made; aside first, so that none is half done.

    Args:
        facts: what was compared with what, name to value.

    Raises ShiftAddError where the file cannot be written.
    """
    layers = [rows.layer_cells(layer) for layer in result.worst_first]
    body = [
        page.verdicts(rows.verdicts(result), result.passed),
        "<h2>End to end</h2>",
        page.table(rows.logits_header(result), [rows.logits_cells(result)]),
        page.picture(plots.logits(result), "logits of the two models, and their differences"),
        "<h2>Layer by layer</h2>",
        _METHOD,
        page.picture(plots.ratios_by_layer(result), "signal-to-noise ratios by layer"),
        page.picture(plots.saturation_by_layer(result), "codes at the ends of the range"),
        page.table(rows.LAYER_HEADER, layers),
        "<h2>What was compared</h2>",
        page.facts(facts),
    ]
    page.write_page(path, title, body)
