"""What reads files, in Python: one function a target, from the bytes of a file to an answer.

Each raises for what it must not do: any exception but those of runtime.core.errors, a message of
more than a line, an answer that breaks its own promises.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from calibration import table
from runtime import infer
from runtime.console.commandline import BAD_INPUT, FINE, SOME_FAILED
from runtime.core import metadata, onnx_header
from runtime.core.errors import ShiftAddError
from runtime.core.image_sets import ImageFolder
from runtime.core.images import open_image
from runtime.core.preprocess import preprocess
from runtime.engines.tensorrt import calibration_cache, engine_file
from tests.fuzz import seeds

# Images of more pixels are refused here: how large a one is allowed to be is not the question, and
# a fuzzer would spend its time on decoding.
_MOST_PIXELS = 1 << 18


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Takes an error that a user is told in one line for an answer."""
    try:
        yield
    except ShiftAddError as error:
        if len(str(error).splitlines()) != 1:
            raise AssertionError(f"not one line: {str(error)!r}") from error


def _written(name: str, data: bytes) -> Path:
    """The file of this name with these bytes, in a folder of the process's own."""
    path = Path(_folder()) / name
    path.write_bytes(data)
    return path


def _folder() -> str:
    if os.getpid() not in _FOLDERS:
        _FOLDERS[os.getpid()] = tempfile.TemporaryDirectory(prefix="shiftadd-fuzz-")
    return _FOLDERS[os.getpid()].name


_FOLDERS: dict[int, tempfile.TemporaryDirectory[str]] = {}


def read_metadata(data: bytes) -> None:
    """An ONNX file's header and what it says."""
    with refusals():
        found = metadata.parse(onnx_header.read_metadata(str(_written("m.onnx", data))))
        assert found.labels
        assert min(found.input_size) > 0
        assert min(found.std) > 0


def read_engine_sidecar(data: bytes) -> None:
    """An engine's description, and the checks by it."""
    engine = str(_written("m.engine", seeds.ENGINE))
    _written("m.engine.json", data)
    with refusals():
        sidecar = engine_file.read(engine)
        with refusals():
            engine_file.check_machine(engine, sidecar, "8.2.1.8", "Tegra X1", "5.3")
        with refusals():
            engine_file.check_content(engine, seeds.ENGINE, sidecar)
        metadata.parse(sidecar.metadata)


def read_calibration_table(data: bytes) -> None:
    """A calibration table, which is written again as it was read."""
    path = _written("m.int8.json", data)
    with refusals():
        found = table.read(path, seeds.SHA256)
        table.write(path, found)
        assert table.read(path, seeds.SHA256) == found


def read_calibration_cache(data: bytes) -> None:
    """TensorRT's calibration cache."""
    with refusals():
        cache = calibration_cache.read(str(_written("m.cache", data)))
        calibration_cache.header(cache.version, cache.method)
        for name, scale in cache.scales.items():
            calibration_cache.line(name, scale)


def read_image(data: bytes) -> None:
    """An image, made a network's input."""
    with refusals():
        image = open_image(io.BytesIO(data), "image")
        assert image.mode == "RGB"
        wanted = metadata.parse(seeds.properties())
        prepared = preprocess(image, wanted)
        assert prepared.shape == wanted.input_size
        assert abs(prepared).max() < 100


def read_image_archive(data: bytes) -> None:
    """A zip with a labelled data set."""
    with refusals():
        folder = ImageFolder(_written("set.zip", data))
        try:
            assert sorted(set(folder.classes)) == folder.classes
            for i in range(min(len(folder), 8)):
                assert folder.samples[i][1] < len(folder.classes)
                with refusals():
                    folder.open(i)
        finally:
            folder.close()


def run_infer(data: bytes) -> None:
    """The command, with a sound image and this model."""
    model, image = _written("m.onnx", data), _written("image.png", seeds.image())
    silent = io.StringIO()
    with refusals(), contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
        code = infer.main([str(model), str(image), "--threads", "1"])
        assert code in (FINE, SOME_FAILED, BAD_INPUT)


READERS: dict[str, Callable[[bytes], None]] = {
    "metadata": read_metadata,
    "engine_sidecar": read_engine_sidecar,
    "calibration_table": read_calibration_table,
    "calibration_cache": read_calibration_cache,
    "image": read_image,
    "image_archive": read_image_archive,
    "infer": run_infer,
}


def prepare(name: str) -> Callable[[bytes], None]:
    """The reader, in a process that is set up for many runs of it."""
    Image.MAX_IMAGE_PIXELS = _MOST_PIXELS
    return READERS[name]
