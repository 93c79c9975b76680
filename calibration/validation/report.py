"""The report of an integer model."""

from __future__ import annotations

from collections.abc import Mapping

from calibration.comparison.report import Picture, Report, Table
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


def report_on(result: Result, title: str, facts: Mapping[str, str]) -> Report:
    """The report of a comparison.

    Args:
        facts: what was compared with what, name to value.
    """
    layers = [rows.layer_cells(layer) for layer in result.worst_first]
    logits = Picture(plots.logits(result), "logits of the two models, and their differences")
    return Report(
        title=title,
        facts=facts,
        summary=rows.summary(result),
        verdicts=rows.verdicts(result),
        passed=result.passed,
        end_to_end=Table(rows.logits_header(result), [rows.logits_cells(result)]),
        logits=logits,
        method=_METHOD,
        layers=Table(rows.LAYER_HEADER, layers),
        pictures=[
            Picture(plots.ratios_by_layer(result), "signal-to-noise ratios by layer"),
            Picture(plots.saturation_by_layer(result), "codes at the ends of the range"),
        ],
    )
