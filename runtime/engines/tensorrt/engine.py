"""An engine in memory: deserialised, with its buffers, run on batches of any size."""

import threading
from typing import Any, Dict, List, Mapping, Optional

import numpy as np

from runtime.core.arrays import FloatArray
from runtime.core.errors import ModelError
from runtime.core.tensors import Tensor
from runtime.engines.tensorrt.api import LOGGER, failure, trt
from runtime.engines.tensorrt.bindings import Bindings, Shape, bindings
from runtime.engines.tensorrt.gpu import Buffer, Gpu, explained, new_stream

_BATCH = "N"


class Engine:
    """An engine with float32 inputs and outputs, [N, ...] with N up to `max_batch` in all of them.

    `inputs` and `outputs` are the tensors' names. Several threads may call `run`; the executions
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

    @property
    def input_tensors(self) -> List[Tensor]:
        """The inputs as a session shows them, with a free extent for the batch."""
        return [self._tensor(name) for name in self.inputs]

    @property
    def output_tensors(self) -> List[Tensor]:
        """The outputs, in the same way."""
        return [self._tensor(name) for name in self.outputs]

    def run(self, images: FloatArray) -> Dict[str, FloatArray]:
        """`run_all` of an engine with one input."""
        return self.run_all({self.inputs[0]: images})

    def run_all(self, inputs: Mapping[str, FloatArray]) -> Dict[str, FloatArray]:
        """Every output by name, float32 [N, ...], of a contiguous float32 [N, ...] for every input.

        A batch of more than `max_batch` is run in pieces. Raises ModelError when a run fails.
        """
        count = next(iter(inputs.values())).shape[0]
        with self._lock, self._gpu.current():
            self._bound()
            outputs = {
                name: np.empty((count,) + self._shapes[name][1:], dtype=np.float32)
                for name in self.outputs
            }
            for first in range(0, count, self.max_batch):
                piece = slice(first, min(first + self.max_batch, count))
                self._run_piece(
                    {name: array[piece] for name, array in inputs.items()},
                    {name: array[piece] for name, array in outputs.items()},
                )
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
        if not inputs or others:
            raise ModelError(
                "inputs {} where at least one is expected, and tensors that are not float32: "
                "{}".format(inputs, others)
            )
        self.inputs: List[str] = inputs
        self.outputs: List[str] = [tensor.name for tensor in tensors if not tensor.is_input]

    def _tensor(self, name: str) -> Tensor:
        return Tensor(name, (_BATCH,) + self._shapes[name][1:], np.dtype(np.float32))

    def _allocate(self) -> None:
        """Buffers for the largest batch that the profile allows, made once."""
        bound = self._bound()
        largest = {name: bound.largest_shape(name) for name in self.inputs}
        self.max_batch = min(shape[0] for shape in largest.values())
        self._set_batch(self.max_batch, {name: shape[1:] for name, shape in largest.items()})
        names = self.inputs + self.outputs
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

    def _set_batch(self, batch: int, shapes: Mapping[str, Shape]) -> None:
        """Sets the batch of all inputs, whose other extents are `shapes`."""
        if batch == self._batch:
            return
        for name, shape in shapes.items():
            if not self._bound().set_input_shape(name, (batch,) + tuple(shape)):
                raise failure(
                    "the engine refuses the input {} of shape {}".format(name, list(shape))
                )
        self._batch = batch

    def _run_piece(
        self, inputs: Mapping[str, FloatArray], outputs: Mapping[str, FloatArray]
    ) -> None:
        stream = self._stream
        LOGGER.take()
        batch = next(iter(inputs.values())).shape[0]
        self._set_batch(batch, {name: array.shape[1:] for name, array in inputs.items()})
        for name, array in inputs.items():
            self._buffers[name].host[: array.size] = array.ravel()
        with explained("the GPU failed"):
            for name, array in inputs.items():
                self._buffers[name].upload(array.size, stream)
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
