"""Sound files, small ones, that the fuzzers begin with."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from calibration import table
from calibration.quantization import Range
from runtime.engines.tensorrt import calibration_cache, engine_file
from tests.support.models import runtime as runtime_models

SHA256 = "0123456789abcdef" * 4
ENGINE = b"an engine"
_SIZE = (12, 9)


def properties() -> dict[str, str]:
    """The metadata of a sound model."""
    return runtime_models.metadata()


def image() -> bytes:
    """A small photo."""
    return _encoded(_photo(), "PNG")


def _photo(mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (*_SIZE[::-1], 4)).astype(np.uint8)
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    return Image.fromarray(pixels, "RGBA").convert(mode)


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _images() -> list[bytes]:
    turned = Image.Exif()
    turned[0x0112] = 6  # orientation: a quarter to the right
    return [
        *(_encoded(_photo(mode), "PNG") for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "I;16")),
        *(_encoded(_photo(mode), "JPEG", exif=turned) for mode in ("RGB", "L", "CMYK")),
        *(
            _encoded(_photo(), "TIFF", compression=c)
            for c in ("raw", "tiff_lzw", "tiff_adobe_deflate")
        ),
        *(_encoded(_photo(), kind) for kind in ("BMP", "GIF", "PPM", "WEBP")),
    ]


def _archives() -> list[bytes]:
    found = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            archive.writestr("set/cat/1.png", image())
            archive.writestr("set/dog/2.ppm", _encoded(_photo("L"), "PPM"))
        found.append(buffer.getvalue())
    return found


def _in_a_folder(make: Callable[[Path], Path]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return make(Path(folder)).read_bytes()


def _models() -> list[bytes]:
    rng = np.random.default_rng(0)
    return [
        _in_a_folder(lambda folder: runtime_models.linear(folder / "m", rng)[0]),
        _in_a_folder(lambda folder: runtime_models.shift(folder / "m", rng)[0]),
        _in_a_folder(lambda folder: runtime_models.constant(folder / "m", range(7))),
    ]


def _sidecars() -> list[bytes]:
    sidecar = engine_file.Sidecar(
        format_version=1,
        tensorrt_version="8.2.1.8",
        gpu="Tegra X1",
        compute_capability="5.3",
        precision="fp16",
        max_batch=8,
        onnx_file="m.onnx",
        onnx_sha256=SHA256,
        engine_sha256=hashlib.sha256(ENGINE).hexdigest(),
        library_sha256="",
        metadata=properties(),
    )

    def written(folder: Path) -> Path:
        engine = str(folder / "m.engine")
        engine_file.write(engine, sidecar)
        return Path(engine_file.sidecar_path(engine))

    return [_in_a_folder(written)]


def _tables() -> list[bytes]:
    ranges = {"input": Range(-2.5, 2.25), "a/b": Range(0.0, 6.0)}
    found = table.Table("small", SHA256, "mse", 7, SHA256, ranges)
    return [table.to_bytes(found), json.dumps(json.loads(table.to_bytes(found))).encode()]


def _caches() -> list[bytes]:
    lines = [
        calibration_cache.line(name, scale) for name, scale in (("input", 0.01), ("a: b", 3.0))
    ]
    return [
        "\n".join([calibration_cache.header(version, method), *lines, ""]).encode()
        for version, method in (("8.2.1", "entropy"), ("10.3.0.26", "minmax"))
    ]


# By the target; each time the same.
SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "metadata": _models,
    "engine_sidecar": _sidecars,
    "calibration_table": _tables,
    "calibration_cache": _caches,
    "image": _images,
    "image_archive": _archives,
    "infer": _models,
}
