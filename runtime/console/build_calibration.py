"""What `build_engine.py` asks for int8: its options, and the scales that they lead to."""

import argparse
from typing import TYPE_CHECKING, Optional

from runtime.console import commandline
from runtime.console.progress import Progress
from runtime.core.errors import ModelError
from runtime.core.metadata import Metadata
from runtime.engines.tensorrt import calibration_cache
from runtime.engines.tensorrt.calibration_cache import METHODS

if TYPE_CHECKING:
    from runtime.engines.tensorrt.calibrator import Source

# As many as `make calibrate` takes.
_SAMPLES = 512
_OPTIONS = (
    "calibration_cache", "calibration_data", "calibration_method", "calibration_samples",
)  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds --calibration-cache, --calibration-data, and what goes with the latter."""
    group = parser.add_argument_group("int8", "Where the ranges of the activations come from.")
    either = group.add_mutually_exclusive_group()
    either.add_argument(
        "--calibration-cache", metavar="FILE",
        help="TensorRT's calibration cache, as an earlier build or `make calibrate` wrote it",
    )  # fmt: skip
    either.add_argument(
        "--calibration-data", metavar="PATH",
        help="images to calibrate on: a folder, or a zip with images at class_name/file",
    )  # fmt: skip
    group.add_argument(
        "--calibration-method", choices=sorted(METHODS), metavar="entropy|minmax",
        help="how TensorRT chooses the ranges from the images (default: entropy)",
    )  # fmt: skip
    group.add_argument(
        "--calibration-samples", type=commandline.positive, metavar="N",
        help="take about N of the images, evenly spread (default: {})".format(_SAMPLES),
    )  # fmt: skip


def check(options: argparse.Namespace, precision: str) -> None:
    """Raises ModelError for options that contradict each other, and for int8 without any."""
    given = [
        "--" + name.replace("_", "-") for name in _OPTIONS if getattr(options, name) is not None
    ]
    if precision != "int8":
        if given:
            raise ModelError(
                "{} is for int8, and this engine is {}: add --precision int8, or leave it "
                "out".format(given[0], precision)
            )
    elif options.calibration_cache is None and options.calibration_data is None:
        raise ModelError(
            "int8 needs the ranges of the activations: name a calibration cache with "
            "--calibration-cache FILE (`make calibrate` writes one), or images with "
            "--calibration-data PATH; or build with --precision fp16"
        )
    elif options.calibration_cache is not None and len(given) > 1:
        raise ModelError(
            "{} is for --calibration-data: a calibration cache says it all".format(given[1])
        )


def source(options: argparse.Namespace, metadata: Metadata, cache: str) -> Optional["Source"]:
    """Where int8 takes its scales from, which one printed line says; None for another precision.

    `cache` is the file for what TensorRT learns from images. Raises ShiftAddError for a cache and
    for images that cannot be used.
    """
    if options.calibration_cache is not None:
        return _from_cache(options.calibration_cache)
    if options.calibration_data is not None:
        method = options.calibration_method or "entropy"
        samples = options.calibration_samples or _SAMPLES
        return _from_images(options.calibration_data, metadata, method, samples, cache)
    return None


def _from_cache(path: str) -> "Source":
    from runtime.engines.tensorrt.api import VERSION
    from runtime.engines.tensorrt.calibrator import CacheSource

    cache = calibration_cache.read(path)
    differs = not (VERSION + ".").startswith(cache.version + ".")
    commandline.show(
        "int8 scales of {} tensors from {}, a calibration cache of TensorRT {}{}".format(
            len(cache.scales),
            cache.path,
            cache.version,
            ": here is {}, which may refuse it".format(VERSION) if differs else "",
        )
    )
    return CacheSource(cache)


def _from_images(path: str, metadata: Metadata, method: str, samples: int, cache: str) -> "Source":
    if not metadata.takes_images:
        raise ModelError("the model takes no images, which int8 is calibrated with: use fp16")
    # Imported here, as a board that builds in fp16 needs no Pillow.
    from runtime.core.image_sets import image_set
    from runtime.engines.tensorrt import calibration_images
    from runtime.engines.tensorrt.calibrator import ImageSource

    images = image_set(path)
    commandline.remark_skipped(images)
    chosen = calibration_images.choose(images, samples)
    with Progress("reading images", sum(map(len, chosen)), "image") as progress:
        prepared = calibration_images.prepare(chosen, metadata, progress.advance)
    batches, batch_size = prepared.shape[:2]
    commandline.show(
        "int8 scales from {} images of {} in batches of {}, by {}; to be kept in {}".format(
            batches * batch_size, path, batch_size, METHODS[method], cache
        )
    )
    return ImageSource(prepared, method, cache)
