"""ONNX Runtime (1.10 or newer) behind the session interface, on the CPU."""

import contextlib
import io
import os
import sys
from typing import Any, Dict, List, Optional, Sequence

import numpy as np

from runtime.core import library as operator_library
from runtime.core.arrays import AnyArray
from runtime.core.errors import ModelError, one_line
from runtime.core.external_data import check_external_data
from runtime.core.imports import why
from runtime.core.metadata import Metadata, parse_any
from runtime.core.onnx_header import read_metadata
from runtime.core.session import Session
from runtime.core.tensors import Tensor
from runtime.core.threads import check_threads
from runtime.engines.onnxruntime.errors import explain
from runtime.engines.onnxruntime.native_stderr import NativeStderr

try:
    import onnxruntime  # type: ignore[import-untyped]
except ImportError as missing:
    raise ModelError(
        "onnxruntime cannot be imported ({}): pip install onnxruntime".format(why(missing))
    ) from missing

# ONNX Runtime also logs what it raises; the exception's text is the one line that is shown.
_FATAL_ONLY = 4
_TYPES = {
    "tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16",
    "tensor(bool)": "bool",
    "tensor(int8)": "int8", "tensor(int16)": "int16", "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8", "tensor(uint16)": "uint16", "tensor(uint32)": "uint32",
    "tensor(uint64)": "uint64",
}  # fmt: skip


class OnnxRuntimeSession(Session):
    """A model run by ONNX Runtime; `run` may be called from several threads at a time."""

    def __init__(self, metadata: Metadata, session: Any) -> None:
        super().__init__(metadata, _tensors(session.get_inputs()), _tensors(session.get_outputs()))
        self._session = session
        self._options = onnxruntime.RunOptions()
        self._options.log_severity_level = _FATAL_ONLY

    def _execute(self, inputs: Dict[str, AnyArray]) -> Dict[str, AnyArray]:
        names = [tensor.name for tensor in self.outputs]
        try:
            values = self._session.run(names, inputs, self._options)
        except Exception as error:
            raise ModelError(explain(error)) from error
        return {name: np.asarray(value) for name, value in zip(names, values)}


def _tensors(arguments: Sequence[Any]) -> List[Tensor]:
    """ONNX Runtime's inputs or outputs. Raises ModelError for what is no tensor of numbers."""
    tensors = []
    for argument in arguments:
        dtype = _TYPES.get(argument.type)
        if dtype is None:
            raise ModelError(
                "{!r} is a {}, and this runtime takes tensors of numbers".format(
                    argument.name, argument.type
                )
            )
        shape = tuple(
            extent if isinstance(extent, int) else extent or "?{}".format(axis)
            for axis, extent in enumerate(argument.shape)
        )
        tensors.append(Tensor(argument.name, shape, np.dtype(dtype)))
    return tensors


def load(
    path: str, library: Optional[str] = None, threads: Optional[int] = None
) -> OnnxRuntimeSession:
    """Loads and warms up the ONNX model at `path`.

    `library` is the operator library's path (searched for when None), `threads` how many threads
    one run may use (ONNX Runtime's choice when None). The library is registered when the model
    holds custom operators, or when it was named.

    Raises ModelError for everything that keeps the model from running.
    """
    try:
        metadata = parse_any(read_metadata(path))
        check_external_data(path)
        options = _options(metadata, library, threads)
        if metadata.operators and _library_prints():
            return _start_without_prints(path, metadata, options)
        return _start(path, metadata, options)
    except ModelError as error:
        raise ModelError("{}: {}".format(path, error)) from error


def _start(path: str, metadata: Metadata, options: Any) -> OnnxRuntimeSession:
    session = OnnxRuntimeSession(metadata, _create(path, options))
    session.warm_up()
    return session


def _library_prints() -> bool:
    """Whether the operator library prints a refusal before it throws it. Below ONNX Runtime 1.17 it
    can only throw exceptions, whose text gets lost where the two were built with different C++
    libraries."""
    return tuple(int(part) for part in onnxruntime.__version__.split(".")[:2]) < (1, 17)


def _start_without_prints(path: str, metadata: Metadata, options: Any) -> OnnxRuntimeSession:
    """Does what `_start` does, and adds to an error whatever was printed meanwhile and is not in it
    yet."""
    printed = NativeStderr()
    try:
        with printed:
            session = _start(path, metadata, options)
    except ModelError as error:
        text = str(error)
        lines = [one_line(line) for line in printed.text.splitlines()]
        more = [line for line in lines if line and line not in text]
        raise ModelError("; ".join([text] + more)) from error
    sys.stderr.write(printed.text)
    return session


def _options(metadata: Metadata, library: Optional[str], threads: Optional[int]) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    if threads is not None:
        check_threads(threads)
        options.intra_op_num_threads = threads
        # Below ONNX Runtime 1.17 the library runs its nodes on threads of its own, and reads their
        # number from this variable when the session is made.
        os.environ["SHIFTADD_NUM_THREADS"] = str(threads)
    if metadata.operators or library is not None:
        _register(options, metadata, operator_library.find(library))
    return options


def _register(options: Any, metadata: Metadata, found: Optional[str]) -> None:
    if found is None:
        # A portable file needs no library: it brings function bodies for its operators.
        if metadata.target == "portable":
            return
        raise ModelError(
            "needs the operator library for {}, and no {} was found: build it with "
            "`make plugins`, or point to it with --library or {}".format(
                " and ".join(metadata.operators),
                operator_library.ONNXRUNTIME.name,
                operator_library.ONNXRUNTIME.variable,
            )
        )
    operator_library.check_machine(found)
    try:
        options.register_custom_ops_library(found)
    except Exception as error:
        raise ModelError(
            "cannot load the operator library {}: {}".format(found, explain(error))
        ) from error


def _create(path: str, options: Any) -> Any:
    try:
        # On an error ONNX Runtime prints that it falls back from the CPU to the CPU.
        with contextlib.redirect_stdout(io.StringIO()):
            session = onnxruntime.InferenceSession(
                path, sess_options=options, providers=["CPUExecutionProvider"]
            )
    except Exception as error:
        raise ModelError(explain(error)) from error
    session.disable_fallback()
    return session
