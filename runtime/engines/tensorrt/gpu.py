"""The GPU through PyCUDA: one context, a stream, and buffers that both sides reach."""

import contextlib
import threading
from typing import Any, Iterator

import numpy as np

from runtime.core.arrays import FloatArray
from runtime.core.errors import ModelError, one_line

try:
    import pycuda.driver as cuda
except ImportError as missing:
    raise ModelError(
        "pycuda cannot be imported ({}): python3 -m pip install pycuda (on a Jetson it is compiled "
        "against /usr/local/cuda, whose bin folder has to be in PATH)".format(one_line(missing))
    ) from missing

_DEVICE = 0  # CUDA_VISIBLE_DEVICES says which one that is
_ITEM = np.dtype(np.float32).itemsize


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Turns an error of CUDA into a ModelError that says what was being done."""
    try:
        yield
    except cuda.Error as error:
        raise ModelError("{}: {}".format(what, one_line(error))) from error


class Gpu:
    """The first GPU, with a CUDA context of its own that is current only within `current`.

    `integrated` says whether CPU and GPU share their memory, as on every Jetson. `name` and
    `compute_capability` ("5.3") are what an engine is bound to.

    Raises ModelError where there is no GPU that CUDA can use.
    """

    def __init__(self) -> None:
        with explained("no usable GPU"):
            cuda.init()
            device = cuda.Device(_DEVICE)
            self.name = str(device.name())
            self.compute_capability = "{}.{}".format(*device.compute_capability())
            self.integrated = bool(device.get_attribute(cuda.device_attribute.INTEGRATED))
            # Before CUDA 11 a context can map host memory only if it was created with this flag.
            self._context: Any = device.make_context(cuda.ctx_flags.MAP_HOST)
            self._context.pop()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Makes the context current in this thread for the block, and ends that after an exception,
        too.

        Raises ModelError when the GPU was released.
        """
        context = self._context
        if context is None:
            raise ModelError("the GPU was released: the session is closed")
        with explained("cannot make the CUDA context current"):
            context.push()
        try:
            yield
        finally:
            context.pop()

    def buffer(self, size: int) -> "Buffer":
        """A buffer of `size` float32; the context has to be current."""
        with explained("no memory for {} bytes on the GPU".format(size * _ITEM)):
            return MappedBuffer(size) if self.integrated else StagedBuffer(size)

    def release(self) -> None:
        """Destroys the context. Whatever was made in it has to be released first."""
        with self._lock:
            context, self._context = self._context, None
        if context is not None:
            # PyCUDA leaks a context that is detached from another thread than the one that made it,
            # unless it is current there. Detaching also takes it off that thread's stack.
            context.push()
            context.detach()


class Buffer:
    """Float32 values that the host reads and writes as `host`, and the GPU at `address`."""

    host: FloatArray
    address: int

    def upload(self, count: int, stream: Any) -> None:
        """Gives the first `count` values to the GPU, in the stream's order."""

    def download(self, count: int, stream: Any) -> None:
        """Fetches the first `count` values from the GPU, in the stream's order."""

    def free(self) -> None:
        """Releases the memory; the context has to be current. `host` is not to be used after."""
        self.host.base.free()  # type: ignore[union-attr]  # PyCUDA's allocation, not an array


class MappedBuffer(Buffer):
    """Host memory that the GPU reads and writes in place; where the two share their memory nothing
    is copied."""

    def __init__(self, size: int) -> None:
        self.host = cuda.pagelocked_empty(
            size, np.float32, mem_flags=cuda.host_alloc_flags.DEVICEMAP
        )
        self.address = int(self.host.base.get_device_pointer())  # type: ignore[union-attr]


class StagedBuffer(Buffer):
    """Pinned host memory and the GPU's own, with copies that do not wait for each other."""

    def __init__(self, size: int) -> None:
        self.host = cuda.pagelocked_empty(size, np.float32)
        try:
            self._device = cuda.mem_alloc(size * _ITEM)
        except cuda.Error:
            super().free()
            raise
        self.address = int(self._device)

    def upload(self, count: int, stream: Any) -> None:
        cuda.memcpy_htod_async(self.address, self.host[:count], stream)

    def download(self, count: int, stream: Any) -> None:
        cuda.memcpy_dtoh_async(self.host[:count], self.address, stream)

    def free(self) -> None:
        self._device.free()
        super().free()


def new_stream() -> Any:
    """A stream of the current context; it is destroyed with its last reference."""
    with explained("cannot make a CUDA stream"):
        return cuda.Stream()
