"""The report of `make bench-a57 MODELS=1`: a table, the numbers as JSON, and a chart."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from matplotlib.figure import Figure

from device_scripts.host.a57.functions import Share
from runtime.core.files import replace

_BASELINE = ("onnxruntime", "float32")
_ENGINES = {"onnxruntime": "ONNX Runtime", "litert": "LiteRT"}
_MOST_FUNCTIONS = 12


@dataclass(frozen=True)
class Row:
    """A network in an engine, one image, one thread.

    Attributes:
        model: its registered name.
        engine: "onnxruntime" or "litert".
        precision: "float32" or "int8".
        input: the image's size, [C, H, W].
        instructions: that ran, in all libraries.
        cycles: that they take in the model of the processor.
        functions: what they are spent on, where the network is ours; else empty.
    """

    model: str
    engine: str
    precision: str
    input: Sequence[int]
    instructions: int
    cycles: int
    functions: Sequence[Share] = field(default_factory=list)

    @property
    def label(self) -> str:
        """Network, engine and precision in words."""
        return f"{self.model}, {_ENGINES[self.engine]} {self.precision}"


def baseline_of(row: Row, rows: Iterable[Row]) -> Row | None:
    """GhostNet in ONNX Runtime in float32 at the same size; None where it was not run."""
    for other in rows:
        fits = other.model.startswith("ghostnet") and (other.engine, other.precision) == _BASELINE
        if fits and tuple(other.input) == tuple(row.input):
            return other
    return None


def tables(rows: Sequence[Row]) -> str:
    """Everything as Markdown: a row a network, then what each of ours spends its cycles on."""
    lines = [
        "| network | engine | precision | input | M instructions | M cycles "
        "| GhostNet fp32's over it |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        base = baseline_of(row, rows)
        ratio = f"{base.cycles / row.cycles:.2f}" if base else "-"
        size = "x".join(map(str, row.input))
        numbers = f"{row.instructions / 1e6:.1f} | {row.cycles / 1e6:.1f} | {ratio}"
        engine = _ENGINES[row.engine]
        lines.append(f"| {row.model} | {engine} | {row.precision} | {size} | {numbers} |")
    for row in rows:
        if row.functions:
            lines += ["", f"{row.label}, by function:", "", *_functions(row)]
    return "\n".join(lines)


def _functions(row: Row) -> list[str]:
    lines = ["| function | M instructions | M cycles | share |", "|---|---|---|---|"]
    for share in row.functions[:_MOST_FUNCTIONS]:
        numbers = f"{share.instructions / 1e6:.2f} | {share.cycles / 1e6:.2f}"
        lines.append(f"| {share.name} | {numbers} | {share.cycles / row.cycles:.0%} |")
    return lines


def chart(rows: Sequence[Row]) -> Figure:
    """A bar a network: its cycles, in groups by the size of the image."""
    sizes = list(dict.fromkeys(tuple(row.input) for row in rows))
    figure = Figure(figsize=(9, 1 + 0.45 * len(rows)), layout="constrained")
    heights = [sum(tuple(row.input) == size for row in rows) for size in sizes]
    panels = figure.subplots(len(sizes), squeeze=False, height_ratios=heights)[:, 0]
    for axes, size in zip(panels, sizes, strict=True):
        shown = [row for row in rows if tuple(row.input) == size][::-1]
        colors = ["tab:green" if row.functions else "tab:gray" for row in shown]
        labels, lengths = [row.label for row in shown], [row.cycles / 1e6 for row in shown]
        bars = axes.barh(labels, lengths, color=colors)
        axes.bar_label(bars, fmt="%.1f", padding=3)
        axes.margins(x=0.1)
        axes.set_title(f"{'x'.join(map(str, size))}: M cycles on a Cortex-A57, one thread")
    return figure


def write_report(rows: Sequence[Row], folder: Path) -> None:
    """Writes models.md, models.json and models.png, each completely or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    picture = io.BytesIO()
    chart(rows).savefig(picture, format="png", dpi=120)
    entries = json.dumps([asdict(row) for row in rows], indent=1)
    replace(folder / "models.md", (tables(rows) + "\n").encode(), "the report")
    replace(folder / "models.json", (entries + "\n").encode(), "the report")
    replace(folder / "models.png", picture.getvalue(), "the report")
