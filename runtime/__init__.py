"""Inference on the device: `load` a model, `classify` images.

It runs on Python 3.6 with NumPy, Pillow and ONNX Runtime 1.10 (or TensorRT 8.2 and PyCUDA for
engines), and on every newer version of these.
"""

import os
import platform
import sys
from typing import TYPE_CHECKING, Optional, Union

if TYPE_CHECKING:
    from runtime.core.session import Session

__all__ = ["load"]

# NumPy 1.19, the last for Python 3.6, brings an OpenBLAS that mistakes the Jetson Nano's Cortex-A57
# for a core with more instructions, and crashes on import. It reads this variable when it is
# loaded.
if sys.version_info < (3, 7) and platform.machine() == "aarch64":
    os.environ.setdefault("OPENBLAS_CORETYPE", "ARMV8")

# Microsoft's builds of ONNX Runtime report its use to Microsoft unless this variable forbids it.
# The threads that report start in the middle of whatever is being measured. It is read on import as
# well.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def load(
    path: Union[str, "os.PathLike[str]"],
    library: Optional[str] = None,
    threads: Optional[int] = None,
) -> "Session":
    """Loads the model at `path` and runs it once on a blank image.

    A file that ends in .engine or .plan is a TensorRT engine and runs on the GPU; any other is an
    ONNX model and runs on the CPU. `library` is the path of the operator library, or of an engine's
    plugin library (searched for when None), `threads` the number of CPU threads a run may use (ONNX
    Runtime's own choice when None; an engine computes on none).

    Raises runtime.core.errors.ModelError, whose text is one line, when the model cannot be run.
    """
    # The engine is imported only when a model asks for it: a device may have just one.
    from runtime.engines.tensorrt.engine_file import is_engine

    path = os.fspath(path)
    if is_engine(path):
        from runtime.engines.tensorrt import backend as tensorrt_backend

        return tensorrt_backend.load(path, library)
    from runtime.engines.onnxruntime import backend as onnxruntime_backend

    return onnxruntime_backend.load(path, library, threads)
