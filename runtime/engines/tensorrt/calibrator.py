"""TensorRT's calibrators for int8: they answer with a cache, or calibrate on images.

TensorRT calls them from C++ during a build. An exception there ends the process in 8.2, whose
bindings call Python from noexcept functions (python/src/infer/pyInt8.cpp). Errors are therefore
kept, and raised when the build is over.
"""

from typing import Any, Collection, List, Optional

from runtime.core import files
from runtime.core.arrays import FloatArray
from runtime.core.errors import ModelError, reason
from runtime.engines.tensorrt.api import VERSION, trt
from runtime.engines.tensorrt.calibration_cache import Cache
from runtime.engines.tensorrt.gpu import Buffer, Gpu, explained, new_stream


class Source:
    """What a calibrator answers from; `method` is one of calibration_cache.METHODS.

    `batch_size` is the number of images in each batch, which the calibration profile has to match.
    """

    method: str
    batch_size: int

    def check_tensors(self, names: Collection[str]) -> None:
        """Raises ModelError where the scales cannot belong to a network with these tensors."""

    def begin(self, gpu: Gpu) -> None:
        """Allocates what it needs on the GPU. The context has to be current in this and the other
        methods."""

    def next_batch(self) -> List[int]:
        """The address of the next batch on the GPU, in a list; an empty list at the end."""
        raise NotImplementedError

    def cache(self) -> Optional[bytes]:
        """The cache that spares a calibration, where there is one."""
        raise NotImplementedError

    def keep(self, cache: bytes) -> None:
        """Takes the cache that TensorRT made."""
        raise NotImplementedError

    def end(self) -> None:
        """Gives back what was taken of the GPU."""

    def check(self, built: bool) -> None:
        """Raises what went wrong while TensorRT built, or did not build, the engine."""
        raise NotImplementedError


class CacheSource(Source):
    """A cache that was written before; there are no images."""

    batch_size = 1

    def __init__(self, cache: Cache) -> None:
        self.method = cache.method
        self._cache = cache
        self._refused = False

    def check_tensors(self, names: Collection[str]) -> None:
        scales = self._cache.scales
        known = sum(name in names for name in scales)
        # Only some names have to be there: names that TensorRT makes up may differ between
        # versions.
        if 2 * known < len(scales):
            raise ModelError(
                "the calibration cache {} is of another model: this one has {} of the {} tensors "
                "that it has scales of".format(self._cache.path, known, len(scales))
            )

    def next_batch(self) -> List[int]:
        # TensorRT asks for batches only if it did not accept the cache.
        self._refused = True
        return []

    def cache(self) -> Optional[bytes]:
        return self._cache.content

    def keep(self, cache: bytes) -> None:
        pass

    def check(self, built: bool) -> None:
        if self._refused:
            raise ModelError(
                "TensorRT {} does not take the calibration cache {}, which is of TensorRT {}: "
                'write one by `make calibrate ... ARGS="--tensorrt {}"`, or calibrate here with '
                "--calibration-data".format(
                    VERSION,
                    self._cache.path,
                    self._cache.version,
                    ".".join(VERSION.split(".")[:3]),
                )
            )


class ImageSource(Source):
    """Images, float32 [batches, N, 3, H, W]; the cache that TensorRT makes from them is kept at
    `path`."""

    def __init__(self, images: FloatArray, method: str, path: str) -> None:
        self.method = method
        self.batch_size = images.shape[1]
        self._images = images
        self._path = path
        self._given = 0
        self._kept = False
        # Only the text is kept: the traceback would keep TensorRT's objects alive beyond the GPU's
        # context.
        self._failed: Optional[str] = None
        self._buffer: Optional[Buffer] = None
        self._stream: Any = None

    def begin(self, gpu: Gpu) -> None:
        self._stream = new_stream()
        self._buffer = gpu.buffer(self._images[0].size)

    def next_batch(self) -> List[int]:
        if self._failed is not None or self._given == len(self._images):
            return []
        try:
            return [self._upload(self._images[self._given])]
        except BaseException as error:
            self._failed = reason(error)
            return []

    def _upload(self, batch: FloatArray) -> int:
        assert self._buffer is not None
        with explained("cannot give the GPU the calibration images"):
            self._buffer.host[:] = batch.ravel()
            self._buffer.upload(batch.size, self._stream)
            # TensorRT reads the buffer in a stream of its own, so the copy has to be complete.
            self._stream.synchronize()
        self._given += 1
        return self._buffer.address

    def cache(self) -> Optional[bytes]:
        return None

    def keep(self, cache: bytes) -> None:
        # After an error the cache would stand for a part of the images only.
        if self._failed is not None:
            return
        try:
            files.replace(self._path, cache, "calibration cache")
            self._kept = True
        except BaseException as error:
            self._failed = reason(error)

    def end(self) -> None:
        buffer, self._buffer, self._stream = self._buffer, None, None
        if buffer is not None:
            buffer.free()

    def check(self, built: bool) -> None:
        if self._failed is not None:
            raise ModelError(self._failed)
        if built and not self._kept:
            raise ModelError(
                "TensorRT built the engine without calibrating it, as for a model that is "
                "quantized already: give it the float model"
            )


class _Answers:
    """The methods that TensorRT calls, to be mixed into any of its calibrator classes."""

    _source: Source

    def get_batch_size(self) -> int:
        return self._source.batch_size

    def get_batch(self, names: List[str]) -> List[int]:
        return self._source.next_batch()

    def read_calibration_cache(self) -> Any:
        return self._source.cache()

    def write_calibration_cache(self, cache: Any) -> None:
        self._source.keep(bytes(cache))


def calibrator(source: Source) -> Any:
    """TensorRT's calibrator for the source's method; it has to live until the engine is built.

    Raises ModelError for a TensorRT that has no calibrators: from 11 on int8 has to be in the
    model.
    """
    if not hasattr(trt, "IInt8EntropyCalibrator2"):
        raise ModelError(
            "TensorRT {} calibrates no more: use --precision fp16, or a TensorRT up to 10".format(
                VERSION
            )
        )
    return _entropy(source) if source.method == "entropy" else _minmax(source)


def _entropy(source: Source) -> "trt.IInt8EntropyCalibrator2":
    class EntropyCalibrator(_Answers, trt.IInt8EntropyCalibrator2):  # type: ignore[misc]
        def __init__(self) -> None:
            # pybind11 requires the base's constructor by name.
            trt.IInt8EntropyCalibrator2.__init__(self)
            self._source = source

    return EntropyCalibrator()


def _minmax(source: Source) -> "trt.IInt8MinMaxCalibrator":
    class MinMaxCalibrator(_Answers, trt.IInt8MinMaxCalibrator):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IInt8MinMaxCalibrator.__init__(self)
            self._source = source

    return MinMaxCalibrator()
