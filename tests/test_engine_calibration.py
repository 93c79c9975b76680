"""int8 engines on stand-ins for TensorRT: calibrated on images, from caches, and refused.

The stand-in calls the calibrator as TensorRT does; a tensor's scale is to it the largest
magnitude over 127, whatever the calibrator: how TensorRT chooses is not what is tested.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from runtime import calibration_cache, calibration_images
from runtime.errors import DataError, ModelError
from runtime.metadata import parse
from runtime.preprocess import preprocess
from tests import runtime_engines
from tests.runtime_commands import PYTHONS, assert_refused, interpreter
from tests.runtime_engines import DESKTOP, NEW, OLD, VERSIONS, XAVIER, Machine, facts, module
from tests.runtime_models import SIZE, linear, metadata, photo, shift

METADATA = parse(metadata())
HEADERS = {
    (OLD, "entropy"): "TRT-8201-EntropyCalibration2",
    (OLD, "minmax"): "TRT-8201-MinMaxCalibration",
    (NEW, "entropy"): "TRT-100300-EntropyCalibration2",
    (NEW, "minmax"): "TRT-100300-MinMaxCalibration",
}
INT8 = ("--precision", "int8")

Build = Callable[..., dict[str, Any]]


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    """40 images, some of them in folders."""
    for i in range(40):
        path = tmp_path / "images" / ("class" if i % 3 else ".") / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(rng, 30 + i, 28).save(path)
    return tmp_path / "images"


@pytest.fixture
def model(tmp_path: Path, rng: np.random.Generator) -> Path:
    return linear(tmp_path / "m.onnx", rng)[0]


def prepared(folder: Path) -> npt.NDArray[np.float32]:
    paths = sorted(folder.rglob("*.png"), key=lambda path: path.relative_to(folder).as_posix())
    return np.stack([preprocess(Image.open(path), METADATA) for path in paths])


# --- the images ---


@pytest.mark.parametrize(
    ("samples", "shape"), [(512, (2, 20)), (32, (1, 32)), (33, (2, 16)), (1, (1, 1)), (7, (1, 7))]
)
def test_batches_are_of_one_size(folder: Path, samples: int, shape: tuple[int, int]) -> None:
    images = calibration_images.read(str(folder), METADATA, samples)
    assert images.shape == (*shape, *SIZE)
    used = shape[0] * shape[1]
    expected = prepared(folder)[[i * 40 // used for i in range(used)]]
    assert np.array_equal(images.reshape(used, *SIZE), expected)


def test_a_zip_is_read_alike(folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "zipped", ignore_errors=True)
    archive = tmp_path / "data.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for path in (folder / "class").iterdir():
            zipped.write(path, f"class/{path.name}")
    images = calibration_images.read(str(archive), METADATA, 9)
    assert np.array_equal(images, calibration_images.read(str(folder / "class"), METADATA, 9))


def test_an_image_that_cannot_be_read_is_named(folder: Path) -> None:
    bad = folder / "class" / "01.png"
    bad.write_bytes(bad.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"class/01\.png: cannot read the image"):
        calibration_images.read(str(folder), METADATA, 40)
    photo(np.random.default_rng(0), 200000, 1).save(bad)
    with pytest.raises(DataError, match=r"class/01\.png: too elongated"):
        calibration_images.read(str(folder), METADATA, 40)


# --- the calibrators, in this process ---


@pytest.fixture(params=[(v, gpu) for v in VERSIONS for gpu in ("Xavier", "desktop")])
def standins(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, operator_library: Path
) -> Iterator[Any]:
    version, gpu = request.param
    entries = DESKTOP if gpu == "desktop" else XAVIER
    with runtime_engines.in_this_process(
        monkeypatch, version, operator_library, entries
    ) as modules:
        yield modules


@pytest.fixture
def build(standins: Any, model: Path) -> Build:
    """Builds an int8 engine with a source; returns what the stand-in says of it."""
    tensorrt, _ = standins

    def build(source: Any, precision: str = "int8") -> dict[str, Any]:
        gpu = module("gpu").Gpu()
        try:
            with gpu.current():
                builder = module("tensorrt_builder").EngineBuilder(gpu)
                settings = module("tensorrt_builder").Settings(precision, 64, 3, source)
                try:
                    built = builder.build(model.read_bytes(), SIZE, settings)
                finally:
                    builder.release()
        finally:
            gpu.release()
        found: dict[str, Any] = tensorrt._unpack(built.engine)[0]
        return found

    return build


@pytest.fixture
def images(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    return rng.normal(size=(3, 5, *SIZE)).astype(np.float32)


@pytest.mark.parametrize("method", ["entropy", "minmax"])
def test_tensorrt_gets_every_batch_and_its_cache_serves_again(
    build: Build,
    standins: Any,
    images: npt.NDArray[np.float32],
    tmp_path: Path,
    method: str,
) -> None:
    tensorrt, _ = standins
    path = tmp_path / "new" / "m.cache"
    found = build(module("tensorrt_calibrator").ImageSource(images, method, str(path)))
    assert np.array_equal(tensorrt.calibrated, images)
    assert found["scales"]["input"] == pytest.approx(np.abs(images).max() / 127, rel=1e-6)
    assert found["flags"] == ["FP16", "INT8"]
    assert path.read_text().splitlines()[0] == HEADERS[tensorrt.VERSION, method]
    cache = calibration_cache.read(str(path))
    assert cache.version == tensorrt.VERSION.rpartition(".")[0]
    assert cache.scales == pytest.approx(found["scales"], rel=1e-6)
    again = build(module("tensorrt_calibrator").CacheSource(cache))
    assert again["scales"] == pytest.approx(found["scales"], rel=1e-6)
    assert len(tensorrt.calibrated) == len(images)


def test_without_fast_fp16_plugins_compute_in_fp32(
    build: Build, standins: Any, images: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    _, cuda = standins
    cuda.GPU["fast_fp16"] = False
    source = module("tensorrt_calibrator").ImageSource(images, "entropy", str(tmp_path / "c"))
    assert build(source)["flags"] == ["INT8"]


def test_an_error_among_the_batches_is_raised_and_no_cache_is_kept(
    build: Build,
    standins: Any,
    images: npt.NDArray[np.float32],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tensorrt, cuda = standins
    path = tmp_path / "m.cache"
    source = module("tensorrt_calibrator").ImageSource(images, "entropy", str(path))
    synchronize = cuda.Stream.synchronize

    def fail_at_the_second(stream: Any) -> None:
        if tensorrt.calibrated:
            raise cuda.Error("cuStreamSynchronize failed:\nunspecified launch failure")
        synchronize(stream)

    with monkeypatch.context() as patch:
        patch.setattr(cuda.Stream, "synchronize", fail_at_the_second)
        words = "cannot give the GPU the calibration images: cuStreamSynchronize failed: unsp"
        with pytest.raises(ModelError, match=words):
            build(source)
    assert len(tensorrt.calibrated) == 1
    assert not path.exists()


def test_no_memory_for_a_batch(
    build: Build, standins: Any, images: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    _, cuda = standins
    cuda.GPU["memory"] = images[0].nbytes - 1
    source = module("tensorrt_calibrator").ImageSource(images, "entropy", str(tmp_path / "c"))
    with pytest.raises(ModelError, match=f"no memory for {images[0].nbytes} bytes on the GPU"):
        build(source)


def test_a_cache_that_cannot_be_written(
    build: Build, images: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    source = module("tensorrt_calibrator").ImageSource(
        images, "entropy", str(tmp_path / "file" / "m.cache")
    )
    with pytest.raises(ModelError, match=r"file/m\.cache: cannot write the calibration cache"):
        build(source)


def test_an_engine_that_was_not_calibrated_is_not_kept(
    build: Build,
    standins: Any,
    images: npt.NDArray[np.float32],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """TensorRT leaves the calibrator alone where the model holds scales of its own."""
    tensorrt, _ = standins
    source = module("tensorrt_calibrator").ImageSource(images, "entropy", str(tmp_path / "c"))
    monkeypatch.setattr(tensorrt, "_calibrate", lambda *_: {})
    with pytest.raises(ModelError, match="without calibrating it"):
        build(source)


def test_a_tensorrt_without_calibrators(
    build: Build, images: npt.NDArray[np.float32], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As 11 is."""
    source = module("tensorrt_calibrator").ImageSource(images, "entropy", str(tmp_path / "c"))
    monkeypatch.delattr(module("tensorrt_api").trt, "IInt8EntropyCalibrator2")
    with pytest.raises(ModelError, match="calibrates no more: use --precision fp16"):
        build(source)


# --- the command ---


@pytest.fixture
def machine(tmp_path: Path, operator_library: Path) -> Machine:
    """A Xavier under TensorRT 8.2."""
    return Machine(interpreter("this Python"), tmp_path, operator_library, gpu=dict(XAVIER))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("python", PYTHONS)
def test_the_whole_way(
    machine: Machine,
    folder: Path,
    tmp_path: Path,
    rng: np.random.Generator,
    python: str,
    version: str,
) -> None:
    """From images to an engine, from its cache to another, with a plugin in the network."""
    machine.python, machine.version = interpreter(python), version
    model, _ = shift(tmp_path / "m.onnx", rng)
    library = runtime_engines.plugin_library(tmp_path, machine.operator_library)
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
    assert cache.read_text().startswith(HEADERS[version, "minmax"] + "\n")

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


@pytest.mark.parametrize("python", PYTHONS)
def test_images_that_cannot_be_used(
    machine: Machine, model: Path, folder: Path, python: str
) -> None:
    machine.python = interpreter(python)
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
