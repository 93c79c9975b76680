"""TensorRT and PyCUDA stand-ins in this process. Runs on Python 3.6."""

import importlib
import json
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Iterator, Mapping, Optional, Tuple

import pytest

OLD, NEW = "8.2.1.8", "10.3.0.26"
VERSIONS = (OLD, NEW)
XAVIER = {"name": "Xavier", "compute_capability": [7, 2], "fast_int8": True}
DESKTOP = {"name": "a desktop's", "compute_capability": [8, 6], "integrated": False}
CACHE_HEADERS = {
    (OLD, "entropy"): "TRT-8201-EntropyCalibration2",
    (OLD, "minmax"): "TRT-8201-MinMaxCalibration",
    (NEW, "entropy"): "TRT-100300-EntropyCalibration2",
    (NEW, "minmax"): "TRT-100300-MinMaxCalibration",
}
"""The first line of the calibration cache that a version writes for a method."""

_STANDINS = ("tests.support.standins.tensorrt", "tests.support.standins.pycuda")
_PACKAGE = "runtime.engines.tensorrt"
_OURS = ("api", "backend", "bindings", "builder", "calibrator", "engine", "gpu")
"""The modules of that package that import tensorrt or pycuda."""


def plugin_library(folder: Path, operator_library: Path) -> Path:
    """A library of the plugins' name, which can be loaded; there are no plugins in it."""
    path = folder / "libshiftadd_tensorrt.so"
    shutil.copy(operator_library, path)
    return path


@contextmanager
def in_this_process(
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    operator_library: Path,
    gpu: Optional[Mapping[str, object]] = None,
) -> Iterator[Tuple[ModuleType, ModuleType]]:
    """The stand-ins of tensorrt and pycuda, which the runtime then imports afresh.

    At the end nothing may be left on the "GPU", and nothing may have gone wrong on the way.
    """
    with monkeypatch.context() as patch:
        patch.setenv("STANDIN_TENSORRT", version)
        patch.setenv("STANDIN_ORT_LIBRARY", str(operator_library))
        patch.setenv("STANDIN_GPU", json.dumps(gpu or {}))
        package = importlib.import_module(_PACKAGE)
        for name in _OURS:
            patch.delitem(sys.modules, "{}.{}".format(_PACKAGE, name), raising=False)
            patch.delattr(package, name, raising=False)
        _forget_standins(patch)
        cuda, tensorrt = (importlib.import_module(name) for name in _STANDINS[::-1])
        patch.setitem(sys.modules, "tensorrt", tensorrt.module())
        patch.setitem(sys.modules, "pycuda", ModuleType("pycuda"))
        patch.setattr(sys.modules["pycuda"], "VERSION_TEXT", "2021.1", raising=False)
        patch.setitem(sys.modules, "pycuda.driver", cuda.driver())
        patch.setattr(sys.modules["pycuda"], "driver", sys.modules["pycuda.driver"], raising=False)
        yield tensorrt, cuda
        assert cuda.violations == []
        assert cuda.leftovers() == []
        for name in _OURS:
            sys.modules.pop("{}.{}".format(_PACKAGE, name), None)
            vars(package).pop(name, None)


def _forget_standins(patch: pytest.MonkeyPatch) -> None:
    """So that they are made anew, for another version and with an empty memory."""
    package = importlib.import_module(_STANDINS[0].rpartition(".")[0])
    for name in _STANDINS:
        patch.delitem(sys.modules, name, raising=False)
        patch.delattr(package, name.rpartition(".")[2], raising=False)


def module(name: str) -> Any:
    """One of _OURS, as the stand-ins made it."""
    return importlib.import_module("{}.{}".format(_PACKAGE, name))
