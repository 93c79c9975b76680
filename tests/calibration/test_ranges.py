"""Ranges of activations against exact numbers, and what is no activation to have a range of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import helper, numpy_helper
from onnxruntime.quantization import calibrate  # type: ignore[import-untyped]

from calibration import methods
from calibration.histogram import Histogram
from calibration.quantization import Range, grid_over
from calibration.ranges import METHODS, Activation, choose, observe
from runtime.core.errors import ModelError
from runtime.core.metadata import Metadata, parse
from tests.support.models.runtime import LABELS, SIZE, metadata, save, shift

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

METADATA: Metadata = parse(metadata())


def model(
    path: Path,
    rng: np.random.Generator,
    middle: Sequence[onnx.NodeProto] = (),
    last: str = "scaled",
    **weights: Float32,
) -> onnx.ModelProto:
    """`input` by a factor a channel is `scaled`; `middle` makes `last` of it; then the logits."""
    matrix = rng.normal(size=(len(LABELS), 3)).astype(np.float32)
    nodes = [
        helper.make_node("Mul", ["input", "factor"], ["scaled"], "first"),
        *middle,
        helper.make_node("GlobalAveragePool", [last], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "matrix"], ["logits"], transB=1),
    ]
    factor = np.array([0.5, -2, 3], np.float32).reshape(1, 3, 1, 1)
    constants = {"factor": factor, "matrix": matrix, **weights}
    return onnx.load(save(path / "m.onnx", nodes, constants, metadata()))


def images(rng: np.random.Generator, count: int = 12) -> Float32:
    return rng.normal(size=(count, *SIZE)).astype(np.float32)


def batches(x: Float32, *sizes: int) -> list[Float32]:
    return np.split(x, np.cumsum(sizes)[:-1])


def seen(values: Float32, *sizes: int) -> tuple[Range, Histogram]:
    """What is kept of `values`, given in parts."""
    activation = Activation("x", with_histogram=True)
    for part in batches(values, *(sizes or (len(values),))):
        activation.add(part)
    assert activation.histogram is not None
    return activation.seen, activation.histogram


def heavy_tailed(rng: np.random.Generator, count: int = 200_000) -> Float32:
    values = rng.normal(size=count)
    values[:20] *= 40
    return values.astype(np.float32)


RELU = helper.make_node("Relu", ["scaled"], ["positive"], "relu")


def test_minmax_is_exact(tmp_path: Path, rng: np.random.Generator) -> None:
    x = images(rng)
    float_model = model(tmp_path, rng, [RELU], "positive")
    observed = observe(float_model, METADATA, batches(x, 5, 3, 4), "minmax")
    ranges = choose(observed, "minmax")
    assert list(ranges) == ["input", "scaled", "positive", "pooled", "flat", "logits"]
    scaled = x * np.array([0.5, -2, 3], np.float32).reshape(1, 3, 1, 1)
    for name, values in (("input", x), ("scaled", scaled), ("positive", np.maximum(scaled, 0))):
        assert ranges[name] == Range(float(values.min()), float(values.max()))
    pooled = np.maximum(scaled, 0).mean(axis=(2, 3))
    assert ranges["flat"].high == pytest.approx(pooled.max(), rel=1e-5)


def test_minmax_agrees_with_onnx_runtimes_own(tmp_path: Path, rng: np.random.Generator) -> None:
    x = images(rng)
    float_model = model(tmp_path, rng, [RELU], "positive")
    reader = iter([{"input": x}])
    calibrater = calibrate.MinMaxCalibrater(
        tmp_path / "m.onnx", augmented_model_path=str(tmp_path / "augmented.onnx")
    )
    calibrater.augment_graph()
    calibrater.create_inference_session()

    class Reader(calibrate.CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, Float32] | None:
            return next(reader, None)

    calibrater.collect_data(Reader())
    theirs = calibrater.compute_data()
    ours = choose(observe(float_model, METADATA, batches(x, 4, 8), "minmax"), "minmax")
    for name in ("input", "scaled", "positive"):
        low, high = theirs[name].range_value
        assert ours[name] == Range(np.asarray(low).item(), np.asarray(high).item())


@pytest.mark.parametrize("method", METHODS)
def test_any_split_gives_the_same_ranges(
    tmp_path: Path, rng: np.random.Generator, method: str
) -> None:
    x = images(rng) * np.geomspace(1e-3, 10, 12, dtype=np.float32).reshape(-1, 1, 1, 1)
    float_model = model(tmp_path, rng, [RELU], "positive")
    splits = [batches(x, 12), batches(x, *[1] * 12), batches(x[::-1], 5, 1, 6)]
    first, *others = (
        choose(observe(float_model, METADATA, split, method), method) for split in splits
    )
    for other in others:
        # Sums of a pooling or a product may depend on the batch.
        for name in ("input", "scaled", "positive"):
            assert other[name] == first[name]


def test_a_histogram_counts_every_value(rng: np.random.Generator) -> None:
    values = (rng.normal(size=5000) * np.exp(rng.normal(size=5000) * 3)).astype(np.float32)
    values[::7] = 0
    limits, histogram = seen(values, 1, 10, 100, 4889)
    edges, counts = histogram.occupied(with_zeros=True)
    expected = np.floor(values.astype(np.float64) / histogram.width)
    indices, totals = np.unique(expected, return_counts=True)
    assert (edges == indices * histogram.width).all()
    assert (counts == totals).all()
    largest = max(-limits.low, limits.high)
    assert 2048 <= largest / histogram.width < 4096
    _, nonzero = histogram.occupied(with_zeros=False)
    assert nonzero.sum() == np.count_nonzero(values)


@pytest.mark.parametrize("scale", [1e-44, 1e-38, 1.0, 3e38])
def test_a_histogram_of_extreme_values(rng: np.random.Generator, scale: float) -> None:
    values = (np.array([-1, -0.5, 0, 0.25, 1]) * scale).astype(np.float32)
    _, histogram = seen(values, 2, 3)
    assert histogram.occupied(with_zeros=True)[1].sum() == 5


def test_percentile(rng: np.random.Generator) -> None:
    # A number of values of which no percentile here takes a whole one.
    values = heavy_tailed(rng, 200_003)
    limits, histogram = seen(values)
    for percent in (99.99, 99.0, 50.0):
        found = methods.percentile(limits, histogram, percent)
        cut = (100 - percent) / 2
        low, high = np.percentile(values, [cut, 100 - cut], method="inverted_cdf")
        assert found.low == pytest.approx(low, abs=1.01 * histogram.width)
        assert found.high == pytest.approx(high, abs=1.01 * histogram.width)
    assert methods.percentile(limits, histogram, 100) == limits


def test_percentile_agrees_with_onnx_runtimes_own(rng: np.random.Generator) -> None:
    # Even, so that one value more or less above a percentile moves it little.
    values = rng.uniform(-1, 3, size=200_000).astype(np.float32)
    collector = calibrate.HistogramCollector("percentile", False, 2048, 2048, 99.99, "same")
    collector.collect({"x": [values]})
    low, high, *_ = collector.compute_collection_result()["x"]
    edges = collector.get_histogram_dict()["x"][1]
    limits, histogram = seen(values)
    found = methods.percentile(limits, histogram)
    # A bin of each, and the one by which theirs cuts too early.
    tolerance = 2 * float(edges[1] - edges[0]) + histogram.width
    assert found.low == pytest.approx(float(low), abs=tolerance)
    assert found.high == pytest.approx(float(high), abs=tolerance)


def squared_error(values: Float32, limits: Range) -> float:
    """Of the values themselves, not of a histogram."""
    grid = grid_over("x", limits)
    codes = np.clip(np.rint(values / np.float64(grid.scale)) + grid.zero_point, 0, 255)
    return float(np.square((codes - grid.zero_point) * grid.scale - values).sum())


def drawn(rng: np.random.Generator, kind: str) -> Float32:
    tail = heavy_tailed(rng, 20_000)
    kinds: dict[str, npt.NDArray[np.floating]] = {
        "normal": rng.normal(size=20_000),
        "heavy": tail,
        "positive": np.maximum(tail, 0),
        "negative": -np.abs(tail) - 0.5,
        "skewed": rng.exponential(size=20_000) - 0.2,
        "uniform": rng.uniform(-1, 3, size=20_000),
    }
    return kinds[kind].astype(np.float32)


@pytest.mark.parametrize("kind", ["normal", "heavy", "positive", "negative", "skewed", "uniform"])
def test_mse_is_as_good_as_brute_force(rng: np.random.Generator, kind: str) -> None:
    values = drawn(rng, kind)
    limits, histogram = seen(values)
    found = methods.mse("x", limits, histogram)
    assert limits.low <= found.low < found.high <= limits.high
    shares = np.linspace(0.05, 1, 40)
    lows = [limits.low] if limits.low >= 0 else limits.low * shares
    highs = [limits.high] if limits.high <= 0 else limits.high * shares
    best = min(squared_error(values, Range(low, high)) for low in lows for high in highs)
    assert squared_error(values, found) <= 1.03 * best


def test_entropy_clips_a_tail_and_keeps_what_is_even(rng: np.random.Generator) -> None:
    values = heavy_tailed(rng)
    limits, histogram = seen(values)
    found = methods.entropy("x", limits, histogram)
    # All but the 20 outliers, which are 40 times as large, lie within 5.
    assert 2.5 < found.high < 0.6 * limits.high
    assert -2.5 > found.low > 0.6 * limits.low
    limits, histogram = seen(rng.uniform(-1, 3, size=200_000).astype(np.float32))
    found = methods.entropy("x", limits, histogram)
    assert found.low == pytest.approx(-1, rel=0.03)
    assert found.high == pytest.approx(3, rel=0.03)


@pytest.mark.parametrize("search", [methods.mse, methods.entropy])
def test_zeros_and_a_factor_change_no_search(
    rng: np.random.Generator,
    search: object,
) -> None:
    assert callable(search)
    values = np.abs(heavy_tailed(rng, 50_000))
    found = search("x", *seen(values))
    padded = np.concatenate([values, np.zeros(500_000, np.float32)])
    limits, histogram = seen(padded)
    assert search("x", limits, histogram).high == pytest.approx(found.high, rel=0.05)
    assert search("x", *seen(values * np.float32(1024))).high == 1024 * found.high


def test_an_end_beyond_zero_stays(rng: np.random.Generator) -> None:
    limits, histogram = seen(rng.uniform(3, 5, size=50_000).astype(np.float32))
    assert methods.mse("x", limits, histogram).low == limits.low
    assert methods.entropy("x", limits, histogram).low == limits.low


def test_custom_operators(tmp_path: Path, rng: np.random.Generator, operator_library: Path) -> None:
    path, weight = shift(tmp_path / "m.onnx", rng)
    properties = metadata(target="jetson-nano", operators='["ShiftConv"]')
    x = images(rng)
    observed = observe(
        onnx.load(path), parse(properties), batches(x, 6, 6), "minmax", str(operator_library)
    )
    maps = np.einsum("mc,nchw->nmhw", weight, x.astype(np.float64))
    found = choose(observed, "minmax")["maps"]
    assert (found.low, found.high) == pytest.approx((maps.min(), maps.max()), rel=1e-5)


def test_only_what_depends_on_the_image_is_an_activation(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    two = numpy_helper.from_array(np.full(1, 2, np.float32))
    nodes = [
        helper.make_node("Constant", [], ["two"], value=two),
        helper.make_node("Mul", ["two", "weight"], ["of_weights"]),
        helper.make_node("Shape", ["scaled"], ["integers"]),
        helper.make_node("Reshape", ["scaled", "integers"], ["same"]),
        helper.make_node("Add", ["same", "of_weights"], ["sum"]),
    ]
    weight = np.ones(1, np.float32)
    float_model = model(tmp_path, rng, nodes, "sum", weight=weight)
    observed = observe(float_model, METADATA, [images(rng)], "minmax")
    assert list(observed) == ["input", "scaled", "same", "sum", "pooled", "flat", "logits"]


@pytest.mark.parametrize("method", METHODS)
def test_a_constant_activation_keeps_its_value(
    tmp_path: Path, rng: np.random.Generator, method: str
) -> None:
    nodes = [
        helper.make_node("Clip", ["scaled", "end", "end"], ["low"]),
        helper.make_node("Relu", ["low"], ["dead/y"]),
    ]
    float_model = model(tmp_path, rng, nodes, "dead/y", end=np.array(-1, np.float32))
    observed = observe(float_model, METADATA, [images(rng)], method)
    ranges = choose(observed, method)
    assert ranges["low"] == Range(-1.0, -1.0)
    assert ranges["dead/y"] == Range(0.0, 0.0)
    assert not ranges["scaled"].constant


@pytest.mark.parametrize(("operator", "value"), [("Log", "nan"), ("Reciprocal", "inf")])
def test_an_activation_that_is_not_finite(
    tmp_path: Path, rng: np.random.Generator, operator: str, value: str
) -> None:
    x = np.abs(images(rng)) + 1
    x[7, 0, 3, 3] = -1 if operator == "Log" else 0
    node = helper.make_node(operator, ["input"], ["wild"])
    float_model = model(tmp_path, rng, [node], "wild")
    with pytest.raises(ModelError, match=f"the activation wild is {value} for an image"):
        observe(float_model, METADATA, batches(x, 6, 6), "mse")


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_weights_that_are_not_finite(
    tmp_path: Path, rng: np.random.Generator, value: float
) -> None:
    weight = np.ones((1, 3, 1, 1), np.float32)
    weight[0, 1] = value
    node = helper.make_node("Add", ["scaled", "offset"], ["sum"])
    with pytest.raises(ModelError, match=f"the weight offset holds {value}"):
        observe(model(tmp_path, rng, [node], "sum", offset=weight), METADATA, [], "minmax")
    constant = helper.make_node("Constant", [], ["offset"], value=numpy_helper.from_array(weight))
    with pytest.raises(ModelError, match=f"the weight offset holds {value}"):
        observe(model(tmp_path, rng, [constant, node], "sum"), METADATA, [], "minmax")
