"""Runs a model three times on the emulated Cortex-A57; the third run is between two marks.

    python3.11 child.py MODEL [LIBRARY]

MODEL is a file of ONNX Runtime's or LiteRT's. The process has one thread and a fixed input. It
prints its memory map, so that an address can be told the library that it is in. blocks.c knows the
marks.
"""

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

MARK_BEGIN, MARK_END = -57001, -57002


def onnxruntime_session(path: str, library: str) -> Callable[[], Any]:
    """A run of an ONNX file; `library` is that of our operators, or empty."""
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if library:
        options.register_custom_ops_library(library)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (argument,) = session.get_inputs()
    shape = [size if isinstance(size, int) else 1 for size in argument.shape]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return lambda: session.run(None, {argument.name: x})


def litert_interpreter(path: str) -> Callable[[], Any]:
    """A run of a TFLite file."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    (argument,) = interpreter.get_input_details()
    x = np.random.default_rng(0).standard_normal(argument["shape"])
    interpreter.set_tensor(argument["index"], x.astype(argument["dtype"]))
    run: Callable[[], Any] = interpreter.invoke
    return run


def mark(number: int) -> None:
    """A system call that has no effect, and that the plugin sees."""
    with contextlib.suppress(OSError):
        os.getpgid(number)


def main() -> None:
    path, library = (*sys.argv[1:], "")[:2]
    if path.endswith(".tflite"):
        run = litert_interpreter(path)
    else:
        run = onnxruntime_session(path, library)
    run()
    run()
    mark(MARK_BEGIN)
    run()
    mark(MARK_END)
    print(Path("/proc/self/maps").read_text(), end="")


if __name__ == "__main__":
    main()
