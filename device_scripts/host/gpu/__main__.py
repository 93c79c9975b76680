"""`python -m device_scripts.host.gpu`: our CUDA kernels against cuDNN and a plain adder kernel."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from device_scripts.host.bench.layers import NAMED, Layer, all_layers
from device_scripts.host.bench.timing import ROUNDS, Times, race
from device_scripts.host.gpu.contestant import Contestant
from device_scripts.host.gpu.library import REPOSITORY, Convolution
from device_scripts.host.gpu.tensors import Array, GpuLibrary
from export.onnx_export.codec import pack
from runtime.console.commandline import FINE, Parser, leave, positive, show
from runtime.core.files import replace

COLUMNS = ("ShiftConv", "AdderConv", "ShiftConv fp16", "AdderConv fp16")
PEERS = {
    "ShiftConv": "cuDNN",
    "AdderConv": "cuDNN",
    "ShiftConv fp16": "cuDNN fp16",
    "AdderConv fp16": "cuDNN fp16",
}
"""The contestants that ours is compared with: cuDNN without tensor cores, and cuDNN in float16 with
them."""
PLAIN = "plain adder"


@dataclass(frozen=True)
class Row:
    """One layer's times, by contestant."""

    layer: Layer
    times: dict[str, Times]

    def cells(self) -> list[str]:
        """The shape, the G terms/s of every contestant with their spread, and the ratios of the
        times."""
        letters = [f"{name}: " for name, layer in NAMED.items() if layer == self.layer]
        rates = [
            f"{self.layer.terms / times.median / 1e9:.0f} ±{times.spread:.0%}"
            for times in self.times.values()
        ]
        ratios = [self.times[ours].ratio(self.times[PEERS[ours]]) for ours in COLUMNS]
        plain = self.times["AdderConv"].ratio(self.times[PLAIN])
        return [
            "".join([*letters, str(self.layer)]),
            *rates,
            *(f"{r:.2f}" for r in [*ratios, plain]),
        ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    library = GpuLibrary()
    layers = list(NAMED.values()) if options.named else all_layers()
    rows = [
        Row(layer, race(contestants(library, layer), options.rounds))
        for layer in tqdm(layers, desc="bench-gpu", unit="layer", disable=None, leave=False)
    ]
    report = _report(rows)
    replace(options.out / "gpu.md", report.encode(), "table")
    times = [{"layer": asdict(row.layer), **_seconds(row)} for row in rows]
    replace(options.out / "gpu.json", json.dumps(times, indent=1).encode(), "times")
    show(report)
    show(f"written to {options.out}")
    return FINE


def _parser() -> Parser:
    parser = Parser(
        prog="python -m device_scripts.host.gpu",
        description="Times ShiftConv and AdderConv on this machine's NVIDIA GPU against cuDNN's "
        "convolution of the same shape, and the adder against a plain kernel, by turns in one run.",
    )
    parser.add_argument("--named", action="store_true", help="the layers A, B, C and D only")
    parser.add_argument(
        "--rounds", type=positive, default=ROUNDS, metavar="N",
        help="turns of every contestant (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, default=REPOSITORY / "build" / "reports" / "bench-gpu", metavar="DIR",
        help="where the table and the times go (default: build/reports/bench-gpu)",
    )  # fmt: skip
    return parser


def contestants(library: GpuLibrary, layer: Layer) -> dict[str, Contestant]:
    """Our kernels and cuDNN's for one layer, on fresh random numbers."""
    rng = np.random.default_rng()
    x = rng.normal(size=(1, layer.channels, layer.height, layer.width)).astype(np.float32)
    shape = (layer.out_channels, layer.channels // layer.group, layer.kernel, layer.kernel)
    weight = rng.normal(size=shape).astype(np.float32)
    scale, bias = (rng.normal(size=layer.out_channels).astype(np.float32) for _ in range(2))
    exponents = rng.integers(-6, 1, size=shape).astype(np.float32)
    packed = pack(np.copysign(np.exp2(exponents), weight), 4)
    work: dict[str, Callable[[], object]] = {}
    for half, suffix in ((False, ""), (True, " fp16")):
        dtype = torch.float16 if half else torch.float32
        work["cuDNN" + suffix] = _cudnn(layer, x, weight, dtype)
        for operator, w in (("ShiftConv", packed), ("AdderConv", weight)):
            prepared = library.prepare(_convolution(layer, operator, half), x, w, scale, bias)
            y = torch.empty(1, layer.out_channels, *layer.out_extent, dtype=dtype, device="cuda")
            work[operator + suffix] = partial(prepared.run, y)
            if operator == "AdderConv" and not half:
                work[PLAIN] = partial(prepared.run_plain_adder, y)
    return {name: Contestant(enqueue) for name, enqueue in work.items()}


def _convolution(layer: Layer, operator: str, half: bool) -> Convolution:
    pad = layer.kernel // 2
    return Convolution(
        operator=operator,
        x_shape=(1, layer.channels, layer.height, layer.width),
        out_channels=layer.out_channels,
        kernel_shape=(layer.kernel, layer.kernel),
        strides=(layer.stride, layer.stride),
        pads=(pad, pad, pad, pad),
        group=layer.group,
        half=half,
    )


def _cudnn(layer: Layer, x: Array, weight: Array, dtype: torch.dtype) -> Callable[[], object]:
    """Calls cuDNN's convolution itself, since PyTorch has a kernel of its own for depthwise
    layers."""
    x_, weight_ = (torch.from_numpy(array).to("cuda", dtype) for array in (x, weight))
    sizes = ([layer.kernel // 2] * 2, [layer.stride] * 2, [1, 1], layer.group)

    @torch.no_grad()
    def convolve() -> object:
        return torch.cudnn_convolution(
            x_, weight_, *sizes, benchmark=True, deterministic=False, allow_tf32=False
        )

    return convolve


def _seconds(row: Row) -> dict[str, list[float]]:
    return {name: times.seconds.tolist() for name, times in row.times.items()}


def _report(rows: Sequence[Row]) -> str:
    names = list(rows[0].times)
    head = [
        "layer",
        *names,
        *(f"{ours} : {PEERS[ours]}" for ours in COLUMNS),
        f"AdderConv : {PLAIN}",
    ]
    lines = [head, ["---"] * len(head), *(row.cells() for row in rows)]
    properties = torch.cuda.get_device_properties(0)
    facts = (
        f"{properties.name}, compute capability {properties.major}.{properties.minor}, "
        f"{properties.multi_processor_count} multiprocessors; PyTorch {torch.__version__}, cuDNN "
        f"{torch.backends.cudnn.version()}, CUDA {torch.version.cuda}; {date.today()}"
    )
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return (
        f"{facts}\n\nG terms/s, median and half the distance of the quartiles; then ratios of "
        f"times, the peer's over ours (above 1 ours is faster):\n\n{table}\n"
    )


if __name__ == "__main__":
    leave(main)
