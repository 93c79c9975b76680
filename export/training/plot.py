"""A plot of a training's losses and accuracies, beside its log."""

from __future__ import annotations

import io
import json
from pathlib import Path

from runtime.core.files import replace


def plot_log(log: Path) -> None:
    """Writes curves.png beside a log.jsonl: the loss, and the top-1 over held-out images."""
    # Here, as it takes a second to import, which a refused command should not cost.
    from matplotlib.figure import Figure

    records = [json.loads(line) for line in log.read_text().splitlines()]
    epochs = [record["epoch"] for record in records]
    figure = Figure(figsize=(8, 4), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    loss.plot(epochs, [record["loss"] for record in records])
    loss.set(xlabel="epoch", ylabel="loss", yscale="log")
    accuracy.plot(epochs, [100 * record["held_out_top1"] for record in records])
    accuracy.set(xlabel="epoch", ylabel="top-1 over held-out images, %")
    for axes in (loss, accuracy):
        axes.grid(alpha=0.3)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    replace(log.with_name("curves.png"), content.getvalue(), "plot")
