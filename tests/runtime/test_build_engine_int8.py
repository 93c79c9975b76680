"""int8 engines as a user builds them, on stand-ins for TensorRT, from images and from caches."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.support.commands import PYTHONS, assert_refused, interpreter
from tests.support.engines import Machine, facts
from tests.support.models.runtime import linear, prepared, scattered_images, shift
from tests.support.standins import modules as runtime_standins
from tests.support.standins.modules import CACHE_HEADERS, VERSIONS, XAVIER

INT8 = ("--precision", "int8")


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    return scattered_images(tmp_path / "images", rng)


@pytest.fixture
def model(tmp_path: Path, rng: np.random.Generator) -> Path:
    return linear(tmp_path / "m.onnx", rng)[0]


@pytest.fixture(params=PYTHONS)
def machine(request: pytest.FixtureRequest, tmp_path: Path, operator_library: Path) -> Machine:
    """A Xavier under TensorRT 8.2."""
    return Machine(interpreter(request.param), tmp_path, operator_library, gpu=dict(XAVIER))


@pytest.mark.parametrize("version", VERSIONS)
def test_the_whole_way(
    machine: Machine,
    folder: Path,
    tmp_path: Path,
    rng: np.random.Generator,
    version: str,
) -> None:
    """From images to an engine, from its cache to another, with a plugin in the network."""
    machine.version = version
    model, _ = shift(tmp_path / "m.onnx", rng)
    library = runtime_standins.plugin_library(tmp_path, machine.operator_library)
    engine, log, cache = (tmp_path / f"m.{end}" for end in ("engine", "log", "calibration.cache"))
    common = (model, *INT8, "--library", library, "--output", engine)
    done = machine.run(
        "build_engine.py", *common, "--calibration-data", folder, "--calibration-method", "minmax"
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    told = done.stdout.splitlines()
    assert told[0] == (
        f"int8 scales from 40 images of {folder} in batches of 20, by MinMaxCalibration; to be "
        f"kept in {cache}"
    )
    assert "int8 for Xavier (compute capability 7.2)" in told[1]
    assert '"precision": "int8"' in Path(f"{engine}.json").read_text()
    text = log.read_text(encoding="utf-8")
    assert text.count("Calibrated batch") == 2
    assert "timed the layers of" in text
    scales = facts(engine)["scales"]
    assert scales["input"] == pytest.approx(np.abs(prepared(folder)).max() / 127, rel=1e-6)
    assert cache.read_text().startswith(CACHE_HEADERS[version, "minmax"] + "\n")

    shutil.rmtree(folder)
    kept = cache.read_bytes()
    done = machine.run("build_engine.py", *common, "--calibration-cache", cache)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == (
        f"int8 scales of 2 tensors from {cache}, a calibration cache of TensorRT "
        f"{version.rpartition('.')[0]}"
    )
    assert facts(engine)["scales"] == pytest.approx(scales, rel=1e-6)
    text = log.read_text(encoding="utf-8")
    assert "Reading Calibration Cache for calibrator: MinMaxCalibration" in text
    assert "Calibrated batch" not in text
    assert cache.read_bytes() == kept


def test_the_number_of_samples(machine: Machine, model: Path, folder: Path) -> None:
    data = ("--calibration-data", folder, "--calibration-samples", "3")
    machine.build(model, *INT8, *data)
    log = (machine.folder / "m.log").read_text(encoding="utf-8")
    assert log.count("Calibrated batch") == 1
    cache = (machine.folder / "m.calibration.cache").read_text()
    assert cache.startswith("TRT-8201-EntropyCalibration2\n")


@pytest.mark.parametrize(
    ("written_for", "here", "taken"),
    [
        ("8201", "8.2.1.8", True),
        ("8201", "8.2.3.0", True),
        ("8201", "10.3.0.26", False),
        ("100300", "10.3.0.26", True),
        ("100300", "8.2.1.8", False),
    ],
)
def test_a_cache_of_another_version_is_told_and_left_to_tensorrt(
    machine: Machine, model: Path, written_for: str, here: str, taken: bool
) -> None:
    machine.version = here
    cache, engine = machine.folder / "table", machine.folder / "m.engine"
    cache.write_text(f"TRT-{written_for}-EntropyCalibration2\ninput: 3c010a14\nlogits: 3d000000\n")
    done = machine.run(
        "build_engine.py", model, "--output", engine, *INT8, "--calibration-cache", cache
    )
    version = {"8201": "8.2.1", "100300": "10.3.0"}[written_for]
    same = here.startswith(version)
    assert ("which may refuse it" in done.stdout) is not same
    if taken:
        assert (done.returncode, done.stderr) == (0, "")
        assert facts(engine)["scales"]["logits"] == 2.0**-5
    else:
        assert_refused(
            done, f"TensorRT {here} does not take the calibration cache {cache}, which is of "
            f"TensorRT {version}", f'ARGS="--tensorrt {here.rpartition(".")[0]}"', "m.log",
        )  # fmt: skip
        assert not engine.exists()


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (None, ("cannot read the calibration cache", "table: No such file")),
        (b"", ("no calibration cache of TensorRT: it begins with ''",)),
        (b'{\n  "format_version": 1', ("it begins with '{'", "make calibrate")),
        (b"\x89PNG\r\n\x1a\n\0", ("no calibration cache",)),
        (b"TRT-8201-EntropyCalibration2\n", ("holds no scale",)),
        (b"TRT-8201-EntropyCalibration\nx: 3c010a14\n", ("of EntropyCalibration:",)),
        (b"TRT-8201-EntropyCalibration2\ninput: 3c010a14\nlog", ("damaged at 'log'",)),
        (
            b"TRT-8201-EntropyCalibration2\ninput: 3c010a14\na: 3c010a14\nb: 3c010a14\n",
            ("of another model: this one has 1 of the 3 tensors",),
        ),
    ],
)
def test_caches_that_cannot_be_used(
    machine: Machine, model: Path, content: bytes | None, parts: tuple[str, ...]
) -> None:
    cache = machine.folder / "table"
    if content is not None:
        cache.write_bytes(content)
    engine = machine.folder / "m.engine"
    done = machine.run(
        "build_engine.py", model, *INT8, "--calibration-cache", cache, "--output", engine
    )
    assert_refused(done, "m.onnx", str(cache), *parts)
    assert not engine.exists()


def test_images_that_cannot_be_used(machine: Machine, model: Path, folder: Path) -> None:
    data = (*INT8, "--calibration-data")
    missing, empty = folder / "none", machine.folder / "empty"
    empty.mkdir()
    for path, words in (
        (missing, "cannot read the data set: No such file"),
        (empty, "no images in this directory"),
        (model, "not a data set: neither a folder nor a complete zip"),
    ):
        assert_refused(machine.run("build_engine.py", model, *data, path), f"{path}: {words}")
    bad = folder / "00.png"
    bad.write_text("nothing")
    done = machine.run("build_engine.py", model, *data, folder, "--output", folder / "m.engine")
    assert_refused(done, f"{bad}: not an image")
    assert not list(folder.glob("m.*"))


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (INT8, ("--calibration-cache FILE", "--calibration-data PATH", "--precision fp16")),
        (
            (*INT8, "--calibration-cache", "c", "--calibration-data", "d"),
            ("--calibration-data: not allowed with argument --calibration-cache",),
        ),
        (
            ("--calibration-cache", "c"),
            ("--calibration-cache is for int8, and this engine is fp16",),
        ),
        (
            ("--precision", "fp32", "--calibration-data", "d"),
            ("--calibration-data is for int8, and this engine is fp32",),
        ),
        ((*INT8, "--calibration-method", "minmax"), ("name a calibration cache",)),
        (
            (*INT8, "--calibration-cache", "c", "--calibration-samples", "9"),
            ("--calibration-samples is for --calibration-data",),
        ),
        ((*INT8, "--calibration-samples", "0"), ("--calibration-samples", "'0'")),
        ((*INT8, "--calibration-method", "mse"), ("--calibration-method", "'mse'", "entropy")),
    ],
)
def test_options_that_do_not_fit_each_other(
    machine: Machine, model: Path, arguments: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    assert_refused(machine.run("build_engine.py", model, *arguments), *parts)


def test_a_nano_reads_no_image_before_it_says_that_it_has_no_int8(
    machine: Machine, model: Path, folder: Path
) -> None:
    machine.gpu = {}
    done = machine.run("build_engine.py", model, *INT8, "--calibration-data", folder / "none")
    assert_refused(done, "no int8 on this GPU: NVIDIA Tegra X1", "MODEL.int8.onnx")
