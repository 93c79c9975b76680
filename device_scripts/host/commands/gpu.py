"""Whether this machine has what the targets for an NVIDIA GPU need; one line where it has not."""

from device_scripts.host.commands.problems import RefusedError
from device_scripts.host.commands.programs import PY, answer, find

# A package of types alone, without TensorRT, can be imported too; it has no version.
_IMPORTS = {"tensorrt": "import tensorrt; tensorrt.__version__", "pycuda": "import pycuda"}
_GPU = "import sys, torch; sys.exit(not torch.cuda.is_available())"


def need_gpu(target: str) -> None:
    """Refuses the target where PyTorch can use no NVIDIA GPU, or where nothing builds for one."""
    if not find("nvcc"):
        raise RefusedError(
            "{}: no nvcc: install the CUDA toolkit, and put its bin folder into PATH".format(target)
        )
    if answer([PY, "-c", _GPU]).returncode != 0:
        raise RefusedError(
            "{}: PyTorch in .venv sees no NVIDIA GPU here (torch.cuda.is_available())".format(
                target
            )
        )


def need_tensorrt(target: str, python: str) -> None:
    """Refuses the target where a Python has no TensorRT or PyCUDA."""
    missing = [
        module for module, code in _IMPORTS.items() if answer([python, "-c", code]).returncode != 0
    ]
    if missing:
        raise RefusedError(
            "{}: {} has no module {}: it needs TensorRT and PyCUDA, and an NVIDIA GPU".format(
                target, python, " and no module ".join(missing)
            )
        )
