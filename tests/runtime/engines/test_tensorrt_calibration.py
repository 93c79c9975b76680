"""int8 engines on stand-ins for TensorRT: calibrated on images, from caches, and refused.

The stand-in calls the calibrator as TensorRT does; a tensor's scale is to it the largest
magnitude over 127, whatever the calibrator: how TensorRT chooses is not what is tested.
"""

import os
import zipfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import numpy as np
import pytest

from runtime.core.arrays import FloatArray
from runtime.core.errors import DataError, ModelError
from runtime.core.image_sets import image_set
from runtime.core.metadata import parse
from runtime.engines.tensorrt import calibration_cache, calibration_images
from tests.support.models.runtime import SIZE, linear, metadata, photo, prepared, scattered_images
from tests.support.standins import modules as runtime_standins
from tests.support.standins.modules import CACHE_HEADERS, DESKTOP, VERSIONS, XAVIER, module

METADATA = parse(metadata())
Build = Callable[..., Dict[str, Any]]


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    return scattered_images(tmp_path / "images", rng)


@pytest.fixture
def model(tmp_path: Path, rng: np.random.Generator) -> Path:
    return linear(tmp_path / "m.onnx", rng)[0]


# --- the images ---


def read(path: Path, samples: int) -> FloatArray:
    counted: List[None] = []
    chosen = calibration_images.choose(image_set(path), samples)
    images = calibration_images.prepare(chosen, METADATA, lambda: counted.append(None))
    assert len(counted) == images.shape[0] * images.shape[1]
    return images


@pytest.mark.parametrize(
    ("samples", "shape"), [(512, (2, 20)), (32, (1, 32)), (33, (2, 16)), (1, (1, 1)), (7, (1, 7))]
)
def test_batches_are_of_one_size(folder: Path, samples: int, shape: Tuple[int, int]) -> None:
    images = read(folder, samples)
    assert images.shape == (*shape, *SIZE)
    used = shape[0] * shape[1]
    expected = prepared(folder)[[i * 40 // used for i in range(used)]]
    assert np.array_equal(images.reshape(used, *SIZE), expected)


def test_a_zip_is_read_alike(folder: Path, tmp_path: Path) -> None:
    archive = tmp_path / "data.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for path in (folder / "class").iterdir():
            zipped.write(path, f"class/{path.name}")
    images = read(archive, 9)
    assert np.array_equal(images, read(folder / "class", 9))


def test_an_image_that_cannot_be_read_is_named(folder: Path) -> None:
    bad = folder / "class" / "01.png"
    bad.write_bytes(bad.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"class/01\.png: cannot read the image"):
        read(folder, 40)
    photo(np.random.default_rng(0), 200000, 1).save(bad)
    with pytest.raises(DataError, match=r"class/01\.png: too elongated"):
        read(folder, 40)


# --- the calibrators, in this process ---


@pytest.fixture(params=[(v, gpu) for v in VERSIONS for gpu in ("Xavier", "desktop")])
def standins(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, operator_library: Path
) -> Iterator[Any]:
    version, gpu = request.param
    entries = DESKTOP if gpu == "desktop" else XAVIER
    with runtime_standins.in_this_process(
        monkeypatch, version, operator_library, entries
    ) as modules:
        yield modules


@pytest.fixture
def build(standins: Any, model: Path) -> Build:
    """Builds an int8 engine with a source; returns what the stand-in says of it."""
    tensorrt, _ = standins

    def build(source: Any, precision: str = "int8") -> Dict[str, Any]:
        gpu = module("gpu").Gpu()
        try:
            with gpu.current():
                builder = module("builder").EngineBuilder(gpu)
                settings = module("builder").Settings(precision, 64, 3, source)
                try:
                    built = builder.build(model.read_bytes(), settings)
                finally:
                    builder.release()
        finally:
            gpu.release()
        found: Dict[str, Any] = tensorrt._unpack(built.engine)[0]
        return found

    return build


@pytest.fixture
def images(rng: np.random.Generator) -> FloatArray:
    return rng.normal(size=(3, 5, *SIZE)).astype(np.float32)


@pytest.mark.parametrize("method", ["entropy", "minmax"])
def test_tensorrt_gets_every_batch_and_its_cache_serves_again(
    build: Build,
    standins: Any,
    images: FloatArray,
    tmp_path: Path,
    method: str,
) -> None:
    tensorrt, _ = standins
    path = tmp_path / "new" / "m.cache"
    found = build(module("calibrator").ImageSource(images, method, str(path)))
    assert np.array_equal(tensorrt.calibrated, images)
    assert found["scales"]["input"] == pytest.approx(np.abs(images).max() / 127, rel=1e-6)
    assert found["flags"] == ["FP16", "INT8"]
    assert path.read_text().splitlines()[0] == CACHE_HEADERS[tensorrt.VERSION, method]
    cache = calibration_cache.read(str(path))
    assert cache.version == tensorrt.VERSION.rpartition(".")[0]
    assert cache.scales == pytest.approx(found["scales"], rel=1e-6)
    again = build(module("calibrator").CacheSource(cache))
    assert again["scales"] == pytest.approx(found["scales"], rel=1e-6)
    assert len(tensorrt.calibrated) == len(images)


def test_without_fast_fp16_plugins_compute_in_fp32(
    build: Build, standins: Any, images: FloatArray, tmp_path: Path
) -> None:
    _, cuda = standins
    cuda.GPU["fast_fp16"] = False
    source = module("calibrator").ImageSource(images, "entropy", str(tmp_path / "c"))
    assert build(source)["flags"] == ["INT8"]


def test_an_error_among_the_batches_is_raised_and_no_cache_is_kept(
    build: Build,
    standins: Any,
    images: FloatArray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tensorrt, cuda = standins
    path = tmp_path / "m.cache"
    source = module("calibrator").ImageSource(images, "entropy", str(path))
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
    build: Build, standins: Any, images: FloatArray, tmp_path: Path
) -> None:
    _, cuda = standins
    cuda.GPU["memory"] = images[0].nbytes - 1
    source = module("calibrator").ImageSource(images, "entropy", str(tmp_path / "c"))
    with pytest.raises(ModelError, match=f"no memory for {images[0].nbytes} bytes on the GPU"):
        build(source)


def test_a_cache_that_cannot_be_written(build: Build, images: FloatArray, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    source = module("calibrator").ImageSource(images, "entropy", str(tmp_path / "file" / "m.cache"))
    with pytest.raises(ModelError, match=r"file/m\.cache: cannot write the calibration cache"):
        build(source)


def test_an_engine_that_was_not_calibrated_is_not_kept(
    build: Build,
    standins: Any,
    images: FloatArray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """TensorRT leaves the calibrator alone where the model holds scales of its own."""
    tensorrt, _ = standins
    source = module("calibrator").ImageSource(images, "entropy", str(tmp_path / "c"))
    monkeypatch.setattr(tensorrt, "_calibrate", lambda *_: {})
    with pytest.raises(ModelError, match="without calibrating it"):
        build(source)


def test_a_tensorrt_without_calibrators(
    build: Build, images: FloatArray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As 11 is."""
    source = module("calibrator").ImageSource(images, "entropy", str(tmp_path / "c"))
    monkeypatch.delattr(module("api").trt, "IInt8EntropyCalibrator2")
    with pytest.raises(ModelError, match="calibrates no more: use --precision fp16"):
        build(source)


def test_a_cache_is_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(str(tmp_path / "m.cache"))
    with pytest.raises(ModelError, match=r"m\.cache: not a regular file"):
        calibration_cache.read(str(tmp_path / "m.cache"))
