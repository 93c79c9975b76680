"""The report of `make bench`: tables, the times as JSON, and a bar chart of the ratios."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from matplotlib.figure import Figure

from device_scripts.bench.layers import NAMED, Layer
from device_scripts.bench.timing import Times
from export.files import replace_file

COMPARISONS = (
    ("ShiftConv", "Conv"),
    ("AdderConv", "Conv"),
    ("QLinearShiftConv", "QLinearConv"),
    ("QLinearAdderConv", "QLinearConv"),
    ("QLinearAdderConv", "Conv"),
)
"""An operator of ours, and what of ONNX Runtime's it is compared with."""


@dataclass(frozen=True)
class Row:
    """One layer's times by operator, with so many threads."""

    layer: Layer
    threads: int
    times: dict[str, Times]

    @property
    def label(self) -> str:
        """The shape, after the letter that it is known by if it has one."""
        letters = [f"{name}: " for name, layer in NAMED.items() if layer == self.layer]
        return "".join([*letters, str(self.layer)])

    @property
    def ratios(self) -> list[float]:
        """The peer's time over ours, for each of COMPARISONS."""
        return [self.times[ours].ratio(self.times[peer]) for ours, peer in COMPARISONS]


def tables(rows: Sequence[Row]) -> str:
    """G terms/s with their spread, and the ratios, as two Markdown tables."""
    rates = [
        [f"{row.layer.terms / t.median / 1e9:.1f} ±{t.spread:.0%}" for t in row.times.values()]
        for row in rows
    ]
    ratios = [[f"{ratio:.2f}" for ratio in row.ratios] for row in rows]
    titles = [f"{ours} against {peer}" for ours, peer in COMPARISONS]
    return "\n\n".join(
        [
            "G terms/s, median and half the distance of the quartiles:",
            _table(rows, list(rows[0].times), rates),
            "Ratio of times, ONNX Runtime's over ours:",
            _table(rows, titles, ratios),
        ]
    )


def _table(rows: Sequence[Row], titles: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    head = ["layer", "threads", *titles]
    body: Iterable[list[str]] = (
        [row.label, str(row.threads), *line] for row, line in zip(rows, cells, strict=True)
    )
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *body])


def chart(rows: Sequence[Row], target: Path) -> None:
    """A group of bars a layer, a bar a comparison; the line is where both are equally fast."""
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
    figure.savefig(target, dpi=120)


def write_report(rows: Sequence[Row], folder: Path) -> str:
    """Writes bench.md, bench.json and bench.png to `folder`; the text of the first."""
    folder.mkdir(parents=True, exist_ok=True)
    text = f"{machine()}\n\n{tables(rows)}\n"
    times = [
        {
            "layer": asdict(row.layer),
            "threads": row.threads,
            "seconds": {name: t.seconds.tolist() for name, t in row.times.items()},
        }
        for row in rows
    ]
    replace_file(folder / "bench.md", text.encode(), "table")
    document = json.dumps({"machine": machine(), "layers": times})
    replace_file(folder / "bench.json", document.encode(), "times")
    chart(rows, folder / "bench.png")
    return text


def machine() -> str:
    """The processor's name."""
    information = Path("/proc/cpuinfo")
    for line in information.read_text().splitlines() if information.exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
