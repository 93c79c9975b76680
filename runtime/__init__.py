"""Inference on the device: `load` a model, `classify` images.

Runs on Python 3.6 with NumPy, Pillow and ONNX Runtime 1.10, and on all that is newer.
"""

import os
import platform
import sys
from typing import TYPE_CHECKING, Optional, Union

if TYPE_CHECKING:
    from runtime.session import Session

__all__ = ["load"]

# NumPy 1.19, the last for Python 3.6, brings an OpenBLAS that takes the Jetson Nano's Cortex-A57
# for a core with instructions that it lacks, and dies on import. It reads this when it is loaded.
if sys.version_info < (3, 7) and platform.machine() == "aarch64":
    os.environ.setdefault("OPENBLAS_CORETYPE", "ARMV8")


def load(
    path: Union[str, "os.PathLike[str]"],
    library: Optional[str] = None,
    threads: Optional[int] = None,
) -> "Session":
    """Loads the exported model at `path` and runs it once on a blank image.

    `library` is the operator library's path (searched for when None), `threads` the number of CPU
    threads a run may use (the engine's own choice when None).

    Raises runtime.errors.ModelError, whose text is one line, when the model cannot be run.
    """
    # The engine is imported only when a model asks for it: a device may have just one.
    from runtime import onnxruntime_backend

    return onnxruntime_backend.load(os.fspath(path), library, threads)
