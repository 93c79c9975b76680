"""An engine's tensors and its execution, in the two ways that TensorRT has had for them.

Below TensorRT 8.5 tensors are bound by an index, in an order of the engine's own. From 8.5 on they
can be bound by name, and from 10 on only by name.
"""

from typing import Any, Dict, List, NamedTuple, Tuple, Union

from runtime.engines.tensorrt.api import NAMED_TENSORS, trt

Shape = Tuple[int, ...]


class Tensor(NamedTuple):
    """An input or output; `is_float32` says whether its values are float32."""

    name: str
    is_input: bool
    is_float32: bool


class IndexedBindings:
    """TensorRT below 8.5."""

    def __init__(self, engine: Any, context: Any) -> None:
        self._engine: Any = engine
        self._context = context
        self._names = [engine.get_binding_name(i) for i in range(engine.num_bindings)]
        self._addresses: List[int] = []

    def release(self) -> None:
        """Lets go of TensorRT's objects, even where the traceback of an exception still refers to
        this one."""
        del self._engine, self._context

    def tensors(self) -> List[Tensor]:
        """All inputs and outputs."""
        engine = self._engine
        return [
            Tensor(name, engine.binding_is_input(i), engine.get_binding_dtype(i) == trt.float32)
            for i, name in enumerate(self._names)
        ]

    def largest_shape(self, name: str) -> Shape:
        """The largest shape that the engine's profile allows for an input."""
        _, _, largest = self._engine.get_profile_shape(0, self._names.index(name))
        return _shape(largest)

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        """Sets the shape of an input; returns whether the engine accepts it."""
        return bool(self._context.set_binding_shape(self._names.index(name), shape))

    def shape(self, name: str) -> Shape:
        """The shape of any tensor, once the inputs have theirs."""
        return _shape(self._context.get_binding_shape(self._names.index(name)))

    def bind(self, addresses: Dict[str, int]) -> bool:
        """Sets where the GPU finds every tensor."""
        self._addresses = [addresses[name] for name in self._names]
        return True

    def enqueue(self, stream: int) -> bool:
        """Starts an execution in the stream with this handle."""
        return bool(self._context.execute_async_v2(bindings=self._addresses, stream_handle=stream))


class NamedBindings:
    """TensorRT 8.5 and newer; the methods are those of IndexedBindings."""

    def __init__(self, engine: "trt.ICudaEngine", context: "trt.IExecutionContext") -> None:
        self._engine = engine
        self._context = context

    def release(self) -> None:
        del self._engine, self._context

    def tensors(self) -> List[Tensor]:
        engine = self._engine
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        return [
            Tensor(
                name,
                engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT,
                engine.get_tensor_dtype(name) == trt.float32,
            )
            for name in names
        ]

    def largest_shape(self, name: str) -> Shape:
        _, _, largest = self._engine.get_tensor_profile_shape(name, 0)
        return _shape(largest)

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        return bool(self._context.set_input_shape(name, shape))

    def shape(self, name: str) -> Shape:
        return _shape(self._context.get_tensor_shape(name))

    def bind(self, addresses: Dict[str, int]) -> bool:
        return all(
            self._context.set_tensor_address(name, address) for name, address in addresses.items()
        )

    def enqueue(self, stream: int) -> bool:
        return bool(self._context.execute_async_v3(stream_handle=stream))


def _shape(dims: "trt.Dims") -> Shape:
    return tuple(dims[i] for i in range(len(dims)))


Bindings = Union[IndexedBindings, NamedBindings]


def bindings(engine: Any, context: Any) -> Bindings:
    """The bindings of an engine and its execution context, in the way of the installed TensorRT."""
    return (NamedBindings if NAMED_TENSORS else IndexedBindings)(engine, context)
