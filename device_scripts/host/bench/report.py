"""The report of `make bench`: tables, the times as JSON, and bar charts."""

from __future__ import annotations

import io
import json
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from matplotlib.figure import Figure

from device_scripts.host.bench.layers import NAMED, Layer
from device_scripts.host.bench.models import ORT, Comparison
from device_scripts.host.bench.peak import PEAKS
from device_scripts.host.bench.timing import Times
from runtime.core.files import replace

COMPARISONS = (
    ("ShiftConv", "Conv"),
    ("AdderConv", "Conv"),
    ("QLinearShiftConv", "QLinearConv"),
    ("QLinearAdderConv", "QLinearConv"),
    ("QLinearAdderConv", "Conv"),
)
"""Pairs of our operator and the operator of ONNX Runtime that it is compared with."""


@dataclass(frozen=True)
class Row:
    """One layer's times by operator, with a number of threads.

    Attributes:
        peaks: the seconds of a term, by function of peak.cpp; empty where they were not measured.
    """

    layer: Layer
    threads: int
    times: dict[str, Times]
    peaks: dict[str, Times] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The shape, with its letter in front if it has one."""
        letters = [f"{name}: " for name, layer in NAMED.items() if layer == self.layer]
        return "".join([*letters, str(self.layer)])

    @property
    def ratios(self) -> list[float]:
        """The peer's time over ours, for each of COMPARISONS."""
        return [self.times[ours].ratio(self.times[peer]) for ours, peer in COMPARISONS]

    def rate(self, operator: str) -> str:
        """G terms/s, their spread, and the share of the processor's peak where that is known."""
        times = self.times[operator]
        text = f"{self.layer.terms / times.median / 1e9:.1f} ±{times.spread:.0%}"
        if PEAKS[operator] not in self.peaks:
            return text
        share = self.peaks[PEAKS[operator]].median * self.layer.terms / times.median
        return f"{text} ({share:.0%})"


@dataclass(frozen=True)
class Report:
    """What a run of the bench measured, and the instruction sets that the engines could use."""

    rows: Sequence[Row]
    comparisons: Sequence[Comparison]
    isa: str

    @property
    def machine(self) -> str:
        """The processor's name, and which of its instruction sets were hidden."""
        return machine() + ("" if self.isa == "native" else ", AVX-512 and VNNI hidden")


def tables(report: Report) -> str:
    """Everything as Markdown."""
    parts = [report.machine]
    if report.rows:
        operators = list(report.rows[0].times)
        labels = [[row.label, str(row.threads)] for row in report.rows]
        rates = [[row.rate(operator) for operator in operators] for row in report.rows]
        ratios = [[f"{ratio:.2f}" for ratio in row.ratios] for row in report.rows]
        titles = [f"{ours} against {peer}" for ours, peer in COMPARISONS]
        parts += [
            "G terms/s: median, half the distance of the quartiles, and on one thread the share of "
            "what the processor reaches at the operator's inner instructions alone:",
            _table(["layer", "threads", *operators], _joined(labels, rates)),
            "Ratio of times, ONNX Runtime's over ours:",
            _table(["layer", "threads", *titles], _joined(labels, ratios)),
        ]
    if report.comparisons:
        head = ["model", "engine", "threads", "ms", "images/s"]
        head += ["time over our float32's", "time over our int8's"]
        lines = [line for comparison in report.comparisons for line in _model_lines(comparison)]
        parts += ["Whole models, one image at a time:", _table(head, lines)]
    return "\n\n".join(parts)


def _model_lines(comparison: Comparison) -> list[list[str]]:
    contestants = [
        (comparison.model, f"{ORT} with our operators", comparison.ours),
        (comparison.model, "ONNX Runtime int8 with our operators", comparison.integer),
        *((comparison.baseline_model, *item) for item in comparison.baseline.items()),
    ]
    return [
        [
            model,
            engine,
            str(comparison.threads),
            f"{1e3 * times.median:.2f} ±{times.spread:.0%}",
            f"{1 / times.median:.0f}",
            f"{comparison.ours.ratio(times):.2f}",
            f"{comparison.integer.ratio(times):.2f}",
        ]
        for model, engine, times in contestants
    ]


def _joined(left: Sequence[list[str]], right: Sequence[list[str]]) -> list[list[str]]:
    return [[*a, *b] for a, b in zip(left, right, strict=True)]


def _table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *body])


def layer_chart(rows: Sequence[Row]) -> Figure:
    """A chart with a group of bars for each layer and a bar for each comparison; the line shows
    where both are equally fast."""
    figure = Figure(figsize=(9, 2 + 0.9 * len(rows)), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(COMPARISONS)
    for i, (ours, peer) in enumerate(COMPARISONS):
        places = [row + (i - (len(COMPARISONS) - 1) / 2) * height for row in range(len(rows))]
        axes.barh(places, [r.ratios[i] for r in rows], height, label=f"{ours} against {peer}")
    axes.axvline(1.0, color="black", linewidth=1)
    labels = [f"{row.label}, {row.threads} thr." for row in rows]
    axes.set_yticks(range(len(rows)), labels)
    axes.invert_yaxis()
    axes.set_xlabel("ONNX Runtime's time over ours (above 1: ours is faster)")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def model_chart(comparisons: Sequence[Comparison]) -> Figure:
    """A chart with a bar for each model and engine: the milliseconds of an image and the distance
    of the quartiles."""
    lines = [
        (f"{model}, {engine}, {comparison.threads} thr.", times, model == comparison.model)
        for comparison in comparisons
        for model, engine, times in [
            (comparison.model, "ours fp32", comparison.ours),
            (comparison.model, "ours int8", comparison.integer),
            *((comparison.baseline_model, *item) for item in comparison.baseline.items()),
        ]
    ]
    figure = Figure(figsize=(9, 1 + 0.35 * len(lines)), layout="constrained")
    axes = figure.subplots()
    axes.barh(
        range(len(lines)),
        [1e3 * times.median for _, times, _ in lines],
        xerr=[1e3 * times.median * times.spread for _, times, _ in lines],
        color=["tab:orange" if ours else "tab:blue" for *_, ours in lines],
    )
    axes.set_yticks(range(len(lines)), [label for label, *_ in lines])
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds an image (less is better)")
    return figure


def write_report(report: Report, folder: Path) -> str:
    """Writes bench.md, bench.json and the charts to `folder` and returns the text of the first.

    Raises ShiftAddError where one cannot be written.
    """
    text = f"{tables(report)}\n"
    layers = [
        {
            "layer": asdict(row.layer),
            "threads": row.threads,
            "seconds": _seconds(row.times),
            "seconds_a_term_at_peak": _seconds(row.peaks),
        }
        for row in report.rows
    ]
    models = [
        {
            "model": each.model,
            "baseline": each.baseline_model,
            "threads": each.threads,
            "seconds": _seconds({"ours": each.ours, "ours int8": each.integer, **each.baseline}),
        }
        for each in report.comparisons
    ]
    document = json.dumps({"machine": report.machine, "layers": layers, "models": models})
    replace(folder / "bench.md", text.encode(), "table")
    replace(folder / "bench.json", document.encode(), "times")
    if report.rows:
        replace(folder / "bench.png", _png(layer_chart(report.rows)), "chart")
    if report.comparisons:
        replace(folder / "models.png", _png(model_chart(report.comparisons)), "chart")
    return text


def _seconds(times: dict[str, Times]) -> dict[str, list[float]]:
    return {name: t.seconds.tolist() for name, t in times.items()}


def _png(figure: Figure) -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    return picture.getvalue()


def machine() -> str:
    """The processor's name."""
    information = Path("/proc/cpuinfo")
    for line in information.read_text().splitlines() if information.exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
