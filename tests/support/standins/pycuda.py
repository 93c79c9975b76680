"""A stand-in for `pycuda.driver`: NumPy memory that keeps the books which a GPU would not show.

It is no GPU and no CUDA. It shows whether our code calls PyCUDA in an order that PyCUDA allows: a
context is current for every call, pushes and pops are in balance, what a stream was told happens
only when somebody waits for it, nothing is used after it was freed, and nothing is left behind. It
cannot show that the calls are what the real PyCUDA takes, nor anything about time. Memory begins as
NaN, so that what nobody wrote shows in the results.

Runs on Python 3.6. What goes wrong is printed on stderr at once, and what is left behind at the
end.
"""

import json
import os
import sys
import threading
import types
import weakref
from typing import Any

import numpy as np

GPU = {
    "name": "NVIDIA Tegra X1",
    "compute_capability": [5, 3],
    "integrated": True,
    "fast_fp16": True,
    "fast_int8": False,
    "memory": 1 << 40,
    "build_fails": False,
    "refuses_engines": False,
}
"""The Jetson Nano's; the environment's STANDIN_GPU replaces entries, as JSON."""
GPU.update(json.loads(os.environ.get("STANDIN_GPU", "{}")))

violations: "list[str]" = []
_memory: "dict[int, Allocation]" = {}
_contexts: "set[Any]" = set()
_stacks = threading.local()
_counter = [0x7000000000]


def violate(text: str) -> None:
    """Something that the real thing would punish, perhaps by a crash and perhaps not at all."""
    violations.append(text)
    sys.stderr.write(f"stand-in: {text}\n")


class Error(Exception):
    """CUDA's."""


class _Stack(list):  # type: ignore[type-arg]
    def __del__(self) -> None:
        if self:
            violate("a thread ends with a context on its stack, where PyCUDA aborts")


def stack() -> "list[Any]":
    """This thread's contexts, the current one last."""
    if not hasattr(_stacks, "contexts"):
        _stacks.contexts = _Stack()
    contexts: list[Any] = _stacks.contexts
    return contexts


def current(what: str) -> Any:
    """The current context, which `what` needs."""
    if not stack():
        violate(f"{what} without a current context")
        raise Error(what + " failed: invalid device context")
    return stack()[-1]


def init() -> None:
    if GPU["name"] is None:
        raise Error("cuInit failed: no CUDA-capable device is detected")


class Device:
    def __init__(self, number: int) -> None:
        assert number == 0

    def name(self) -> Any:
        return GPU["name"]

    def compute_capability(self) -> Any:
        return tuple(GPU["compute_capability"])  # type: ignore[arg-type]

    def get_attribute(self, attribute: str) -> int:
        assert attribute == "INTEGRATED"
        return int(bool(GPU["integrated"]))

    def make_context(self, flags: int = 0) -> "Context":
        return Context(flags)


class Context:
    def __init__(self, flags: int) -> None:
        self.maps_host = bool(flags & 8)
        self.thread = threading.get_ident()
        self.alive = True
        self.objects: Any = weakref.WeakSet()
        _contexts.add(self)
        stack().append(self)

    def push(self) -> None:
        if not self.alive:
            violate("a destroyed context is pushed")
        stack().append(self)

    @staticmethod
    def pop() -> None:
        if not stack():
            violate("pop from an empty stack of contexts")
            return
        stack().pop()

    def detach(self) -> None:
        if not self.alive:
            violate("a context is detached twice")
            return
        if stack() and stack()[-1] is self:
            stack().pop()
        elif threading.get_ident() != self.thread:
            violate("a context is detached by another thread, where it is not current: it leaks")
        if self in stack():
            violate("a context is detached that is still on the stack")
        self.alive = False
        _contexts.discard(self)
        for allocation in list(_memory.values()):
            if allocation.context is self:
                violate(f"a context is destroyed before {allocation}")
        for thing in list(self.objects):
            violate(f"a context is destroyed before a {type(thing).__name__}")


class Allocation:
    """Memory at a device address; `array` is where it really is."""

    def __init__(self, kind: str, count: int, dtype: Any) -> None:
        self.context = current("an allocation")
        self.kind = kind
        self.array = np.full(count, np.nan, dtype=dtype)
        _counter[0] += (self.array.nbytes + 8191) // 4096 * 4096
        self.address = _counter[0]
        if kind != "pinned host memory" and self.array.nbytes > int(GPU["memory"]):  # type: ignore[call-overload]
            raise Error("cuMemAlloc failed: out of memory")
        _memory[self.address] = self

    def __str__(self) -> str:
        return f"{self.kind} of {self.array.nbytes} bytes"

    def free(self) -> None:
        if current("a free") is not self.context:
            violate(f"{self} is freed in another context")
        if _memory.pop(self.address, None) is None:
            violate(f"{self} is freed twice")
        self.array.fill(np.nan)


class HostAllocation(Allocation):
    """What an array of `pagelocked_empty` has for its base."""

    def __init__(self, count: int, dtype: Any, mapped: bool) -> None:
        super().__init__("mapped host memory" if mapped else "pinned host memory", count, dtype)
        self.mapped = mapped
        if mapped and not self.context.maps_host:
            violate("mapped memory in a context that maps none")

    def get_device_pointer(self) -> int:
        if not self.mapped:
            raise Error("cuMemHostGetDevicePointer failed: invalid argument")
        return self.address


class HostArray(np.ndarray):
    """NumPy's arrays let nobody choose their base."""

    allocation: Any = None

    @property
    def base(self) -> Any:
        return self.allocation


def pagelocked_empty(shape: int, dtype: Any, order: str = "C", mem_flags: int = 0) -> Any:
    allocation = HostAllocation(shape, dtype, bool(mem_flags & 2))
    array = allocation.array.view(HostArray)
    array.allocation = allocation
    return array


class DeviceAllocation(Allocation):
    def __init__(self, size: int) -> None:
        super().__init__("device memory", size // 4, np.float32)

    def __int__(self) -> int:
        return self.address


def mem_alloc(size: int) -> DeviceAllocation:
    return DeviceAllocation(size)


def at(address: int, count: int, what: str) -> Any:
    """The `count` float32 that the GPU finds at an address."""
    allocation = _memory.get(address)
    if allocation is None:
        violate(f"{what} at an address that is not allocated")
        raise Error("an illegal memory access was encountered")
    if allocation.kind == "pinned host memory":
        violate(f"{what} in host memory that the GPU does not see")
    if allocation.array.size < count:
        violate(f"{what}: {count} values in {allocation}")
        raise Error("an illegal memory access was encountered")
    return allocation.array[:count]


class Stream:
    """What it is told happens in `synchronize`, and not before."""

    by_handle: Any = weakref.WeakValueDictionary()  # noqa: RUF012 - no ClassVar[Any] on 3.6

    def __init__(self) -> None:
        self.context = current("a stream")
        self.context.objects.add(self)
        self.waiting: list[Any] = []
        _counter[0] += 8
        self.handle = _counter[0]
        Stream.by_handle[self.handle] = self

    def tell(self, action: Any) -> None:
        if current("an operation in a stream") is not self.context:
            violate("a stream is used in another context")
        self.waiting.append(action)

    def synchronize(self) -> None:
        current("synchronize")
        waiting, self.waiting = self.waiting, []
        for action in waiting:
            action()


def memcpy_htod_async(destination: int, source: Any, stream: Stream) -> None:
    if not isinstance(source, HostArray):
        violate("an asynchronous copy of memory that is not pinned")

    def copy() -> None:
        at(destination, source.size, "a copy to the GPU")[...] = source

    stream.tell(copy)


def memcpy_dtoh_async(destination: Any, source: int, stream: Stream) -> None:
    if not isinstance(destination, HostArray):
        violate("an asynchronous copy to memory that is not pinned")

    def copy() -> None:
        destination[...] = at(source, destination.size, "a copy from the GPU")

    stream.tell(copy)


def leftovers() -> "list[str]":
    """What was not given back."""
    left = [f"{allocation} is never freed" for allocation in _memory.values()]
    left += ["a context is never destroyed" for _ in _contexts]
    return left + ["a context is never popped" for _ in stack()]


def _at_exit() -> None:
    for text in leftovers():
        violate(text)


# Finalizers run in the reverse order of their creation: those of sessions come before this one.
_end = type("_End", (), {})()
weakref.finalize(_end, _at_exit)


def driver() -> types.ModuleType:
    """The module `pycuda.driver`."""
    module = types.ModuleType("pycuda.driver")
    for thing in (
        Error, init, Device, pagelocked_empty, mem_alloc, Stream, memcpy_htod_async,
        memcpy_dtoh_async,
    ):  # fmt: skip
        setattr(module, thing.__name__, thing)
    names = types.SimpleNamespace
    vars(module).update(
        device_attribute=names(INTEGRATED="INTEGRATED"),
        ctx_flags=names(MAP_HOST=8),
        host_alloc_flags=names(DEVICEMAP=2),
    )
    return module
