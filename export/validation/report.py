"""The report of a comparison with PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from calibration.comparison.deviation import Tolerances
from calibration.comparison.report import Picture, Report, Table
from export.validation import plots, rows
from export.validation.compare import InputResult


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


def report_on(results: Sequence[InputResult], title: str, facts: Mapping[str, str]) -> Report:
    """The report of a comparison.

    Args:
        facts: what was compared with what, name to value.
    """
    layers, allowed = rows.summarise(results), rows.tolerances(results)
    logits = Picture(plots.logits(results), "logits of the two sides, and their differences")
    return Report(
        title=title,
        facts=facts,
        summary=rows.summary(results),
        verdicts=rows.verdicts(results),
        passed=all(result.passed for result in results),
        end_to_end=Table(rows.logits_header(allowed), [rows.logits_cells(r) for r in results]),
        logits=logits,
        method=_method(allowed),
        layers=Table(rows.layer_header(allowed), [layer.cells() for layer in layers]),
        pictures=[Picture(plots.errors_by_layer(layers, allowed), "errors by layer")],
    )
