"""TensorRT's calibration cache from our own table: its text, and its way into an int8 engine.

What reads it here is a stand-in of ours (tests/support/standins/tensorrt.py), not TensorRT.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
import pytest

from calibration import __main__ as command
from calibration.quantization import Range
from calibration.table import Table, read
from calibration.tensorrt_cache import write_cache
from runtime.core import files
from runtime.core.errors import ModelError, ShiftAddError
from runtime.engines.tensorrt import calibration_cache
from tests.support.commands import PYTHONS, assert_refused, interpreter
from tests.support.engines import Machine, facts
from tests.support.models.runtime import photo, shift
from tests.support.standins.modules import NEW, OLD, XAVIER, plugin_library


def table(**ranges: tuple[float, float]) -> Table:
    return Table(
        model="small",
        model_sha256="",
        method="minmax",
        samples=1,
        data_sha256="",
        ranges={name: Range(*limits) for name, limits in ranges.items()},
    )


def test_a_cache_as_tensorrt_writes_it(tmp_path: Path) -> None:
    """3c010204 is 1/127: what TensorRT writes for an input within -1..1."""
    path = tmp_path / "new" / "m.int8.cache"
    made = table(input=(-1.0, 0.5), relu=(0.0, 127.0), low=(-254.0, -2.0))
    write_cache(path, Table(**{**vars(made), "ranges": {**made.ranges, "a: b:0": Range(-1, 1)}}))
    assert path.read_bytes() == (
        b"TRT-8201-EntropyCalibration2\ninput: 3c010204\nrelu: 3f800000\nlow: 40000000\n"
        b"a: b:0: 3c010204\n"
    )
    cache = calibration_cache.read(str(path))
    assert (cache.version, cache.method) == ("8.2.1", "entropy")
    assert cache.scales == {
        "input": np.float32(1 / 127), "relu": 1.0, "low": 2.0, "a: b:0": np.float32(1 / 127),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("version", "number"),
    [
        ("8.2.1", "8201"),
        ("8.2.1.8", "8201"),
        ("8.5.2", "8502"),
        ("8.6.2", "8602"),
        ("10.3.0", "100300"),
        ("10.13.3.9", "101303"),
    ],
)
def test_the_header_names_the_version_as_tensorrt_does(
    tmp_path: Path, version: str, number: str
) -> None:
    path = tmp_path / "m.cache"
    write_cache(path, table(input=(0.0, 1.0)), version)
    assert path.read_text().startswith(f"TRT-{number}-EntropyCalibration2\n")
    assert calibration_cache.read(str(path)).version == ".".join(version.split(".")[:3])


def test_scales_are_rounded_once(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "m.cache"
    ends = rng.normal(size=(200, 2)) * 10.0 ** rng.integers(-30, 30, size=(200, 1))
    ranges = {f"t{i}": (float(min(pair)), float(max(pair))) for i, pair in enumerate(ends)}
    write_cache(path, table(**ranges))
    scales = calibration_cache.read(str(path)).scales
    for name, (low, high) in ranges.items():
        assert struct.pack(">f", scales[name]) == struct.pack(">f", max(abs(low), abs(high)) / 127)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ((0.0, np.inf), "odd: its range is 0.0..inf, which is not finite"),
        ((np.nan, 1.0), "odd: its range is nan..1.0, which is not finite"),
        ((-1e39 * 127, 0.0), "odd: no float32 is an int8 scale for its range"),
    ],
)
def test_a_range_without_a_scale_is_refused(
    tmp_path: Path, limits: tuple[float, float], message: str
) -> None:
    path = tmp_path / "m.cache"
    path.write_text("older")
    with pytest.raises(ModelError, match=re.escape(message)):
        write_cache(path, table(input=(0.0, 1.0), odd=limits))
    assert path.read_text() == "older"


def test_what_else_makes_no_cache(tmp_path: Path) -> None:
    made = table(input=(0.0, 1.0))
    for version in ("8.2", "JetPack 4.6", "8.2.1-rc", ""):
        with pytest.raises(ModelError, match="no version of TensorRT: three numbers"):
            write_cache(tmp_path / "m.cache", made, version)
    torn = Table(**{**vars(made), "ranges": {"a\nb": Range(0, 1)}})
    with pytest.raises(ModelError, match=r"'a\\nb': a name of more than one line"):
        write_cache(tmp_path / "m.cache", torn)
    (tmp_path / "file").touch()
    with pytest.raises(ShiftAddError, match=r"m\.cache: cannot write the calibration cache"):
        write_cache(tmp_path / "file" / "m.cache", made)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("python", PYTHONS)
def test_from_images_here_to_an_engine_on_a_device_without_them(
    tmp_path: Path, operator_library: Path, rng: np.random.Generator, python: str
) -> None:
    model, _ = shift(tmp_path / "m.onnx", rng)
    (tmp_path / "images").mkdir()
    for i in range(6):
        photo(rng).save(tmp_path / "images" / f"{i}.png")
    out, cache = tmp_path / "m.int8.onnx", tmp_path / "m.int8.cache"
    arguments = [str(model), "--out", str(out), "--library", str(operator_library)]
    command.main([*arguments, "--data", str(tmp_path / "images"), "--method", "minmax"])
    assert cache.read_text().startswith("TRT-8201-")

    library = plugin_library(tmp_path, operator_library)
    machine = Machine(interpreter(python), tmp_path, operator_library, OLD, dict(XAVIER))
    int8 = ("--precision", "int8", "--library", library, "--calibration-cache", cache)
    found = facts(machine.build(model, *int8))
    assert (found["precision"], found["flags"]) == ("int8", ["FP16", "INT8"])
    ranges = read(out.with_suffix(".json"), files.sha256(model)).ranges
    assert found["scales"] == pytest.approx(
        {name: max(-limits.low, limits.high) / 127 for name, limits in ranges.items()}, rel=1e-7
    )

    machine.version = NEW
    done = machine.run("build_engine.py", model, *int8, "--output", tmp_path / "n.engine")
    assert_refused(done, f"TensorRT {NEW} does not take the calibration cache {cache}", "8.2.1")
    command.main([*arguments, "--table", str(out.with_suffix(".json")), "--tensorrt", "10.3.0"])
    again = facts(machine.build(model, *int8, output="n.engine"))
    assert again["scales"] == found["scales"]


def test_a_version_that_is_none_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main([str(tmp_path / "m.onnx"), "--data", str(tmp_path), "--tensorrt", "8"])
    assert caught.value.code == 2
    assert "--tensorrt: '8' is no version of TensorRT" in capsys.readouterr().err
