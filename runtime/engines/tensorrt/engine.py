"""An engine in memory: deserialised, with its buffers, run on batches of any size."""

import threading
from typing import Any, Dict, List, Optional

import numpy as np

from runtime.core.arrays import FloatArray
from runtime.core.errors import ModelError
from runtime.engines.tensorrt.api import LOGGER, failure, trt
from runtime.engines.tensorrt.bindings import Bindings, Shape, bindings
from runtime.engines.tensorrt.gpu import Buffer, Gpu, explained, new_stream


class Engine:
    """An engine with one input, float32 [N, ...] with N up to `max_batch`, and float32 outputs.

    `input` and `outputs` are the tensors' names. Several threads may call `run`; the executions
    take place one after another.

    Raises ModelError when TensorRT refuses the engine, or when its tensors are others.
    """

    def __init__(self, gpu: Gpu, content: bytes) -> None:
        self._gpu = gpu
        self._lock = threading.Lock()
        self._runtime: Optional["trt.Runtime"] = None
        self._engine: Optional["trt.ICudaEngine"] = None
        self._context: Optional["trt.IExecutionContext"] = None
        self._bindings: Optional[Bindings] = None
        self._stream: Any = None
        self._buffers: Dict[str, Buffer] = {}
        self._batch = 0
        try:
            with gpu.current():
                self._deserialise(content)
                self._name_tensors()
                self._allocate()
        except BaseException:
            self.release()
            raise

    def run(self, images: FloatArray) -> Dict[str, FloatArray]:
        """Every output by name, float32 [N, ...], of a contiguous float32 [N, ...].

        More than `max_batch` images are run in pieces. Raises ModelError when a run fails.
        """
        count = images.shape[0]
        with self._lock, self._gpu.current():
            self._bound()
            outputs = {
                name: np.empty((count,) + self._shapes[name][1:], dtype=np.float32)
                for name in self.outputs
            }
            for first in range(0, count, self.max_batch):
                piece = slice(first, min(first + self.max_batch, count))
                self._run_piece(images[piece], {n: o[piece] for n, o in outputs.items()})
        return outputs

    def release(self) -> None:
        """Gives everything back in the reverse order; the GPU's context stays. It may be called
        again."""
        with self._lock, self._gpu.current():
            # TensorRT's objects are destroyed with their last reference.
            if self._bindings is not None:
                self._bindings.release()
            self._bindings = None
            self._context = None
            self._engine = None
            self._runtime = None
            while self._buffers:
                _, buffer = self._buffers.popitem()
                buffer.free()
            self._stream = None

    def _deserialise(self, content: bytes) -> None:
        LOGGER.take()
        self._runtime = trt.Runtime(LOGGER)
        self._engine = self._runtime.deserialize_cuda_engine(content)
        if self._engine is None:
            raise failure("TensorRT cannot read the engine")
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise failure("TensorRT cannot prepare the engine's execution")
        self._bindings = bindings(self._engine, self._context)

    def _name_tensors(self) -> None:
        tensors = self._bound().tensors()
        inputs = [tensor.name for tensor in tensors if tensor.is_input]
        others = [tensor.name for tensor in tensors if not tensor.is_float32]
        if len(inputs) != 1 or others:
            raise ModelError(
                "inputs {} where one is expected, and tensors that are not float32: {}".format(
                    inputs, others
                )
            )
        self.input = inputs[0]
        self.outputs: List[str] = [tensor.name for tensor in tensors if not tensor.is_input]

    def _allocate(self) -> None:
        """Buffers for the most images that the profile allows, made once."""
        bound = self._bound()
        largest = bound.largest_shape(self.input)
        self.max_batch = largest[0]
        self._set_batch(self.max_batch, largest[1:])
        names = [self.input] + self.outputs
        self._shapes = {name: bound.shape(name) for name in names}
        self._stream = new_stream()
        for name, shape in self._shapes.items():
            if not shape or shape[0] != self.max_batch or min(shape) < 1:
                raise ModelError(
                    "the tensor {} has shape {} for {} images".format(
                        name, list(shape), self.max_batch
                    )
                )
            self._buffers[name] = self._gpu.buffer(_volume(shape))
        if not bound.bind({name: buffer.address for name, buffer in self._buffers.items()}):
            raise failure("TensorRT refuses the buffers")

    def _set_batch(self, batch: int, image: Shape) -> None:
        if batch != self._batch:
            if not self._bound().set_input_shape(self.input, (batch,) + image):
                raise failure("the engine refuses images of shape {}".format(list(image)))
            self._batch = batch

    def _run_piece(self, images: FloatArray, outputs: Dict[str, FloatArray]) -> None:
        stream, given = self._stream, self._buffers[self.input]
        LOGGER.take()
        self._set_batch(images.shape[0], images.shape[1:])
        given.host[: images.size] = images.ravel()
        with explained("the GPU failed"):
            given.upload(images.size, stream)
            if not self._bound().enqueue(stream.handle):
                raise failure("TensorRT cannot run the engine")
            for name, output in outputs.items():
                self._buffers[name].download(output.size, stream)
            stream.synchronize()
        for name, output in outputs.items():
            output[...] = self._buffers[name].host[: output.size].reshape(output.shape)

    def _bound(self) -> Bindings:
        if self._bindings is None:
            raise ModelError("the engine was released: the session is closed")
        return self._bindings


def _volume(shape: Shape) -> int:
    return int(np.prod(shape, dtype=np.int64))
