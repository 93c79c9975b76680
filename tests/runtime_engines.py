"""TensorRT and PyCUDA stand-ins for the runtime's tests: in this process, and in a command's."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import runtime
from tests.runtime_commands import run
from tests.runtime_models import REPOSITORY

Result = subprocess.CompletedProcess[str]
OLD, NEW = "8.2.1.8", "10.3.0.26"
VERSIONS = (OLD, NEW)
XAVIER = {"name": "Xavier", "compute_capability": [7, 2], "fast_int8": True}
DESKTOP = {"name": "a desktop's", "compute_capability": [8, 6], "integrated": False}

_STANDINS = ("tests.tensorrt_standin", "tests.pycuda_standin")
_OURS = (
    "gpu", "tensorrt_api", "tensorrt_backend", "tensorrt_bindings", "tensorrt_builder",
    "tensorrt_calibrator", "tensorrt_engine",
)  # fmt: skip
_FORWARD = "import sys\nfrom tests import {0}\nsys.modules[__name__] = {0}.{1}()\n"


def variables(
    folder: Path, version: str, operator_library: Path, gpu: Mapping[str, object] | None = None
) -> dict[str, str]:
    """The environment in which `import tensorrt` and `import pycuda.driver` give the stand-ins.

    `folder` gets the modules that forward to them; `gpu` replaces entries of the stand-in's.
    """
    packages = folder / "standins"
    (packages / "pycuda").mkdir(parents=True, exist_ok=True)
    (packages / "tensorrt.py").write_text(_FORWARD.format("tensorrt_standin", "module"))
    (packages / "pycuda" / "__init__.py").touch()
    (packages / "pycuda" / "driver.py").write_text(_FORWARD.format("pycuda_standin", "driver"))
    return {
        "PYTHONPATH": f"{packages}:{REPOSITORY}",
        "STANDIN_TENSORRT": version,
        "STANDIN_ORT_LIBRARY": str(operator_library),
        "STANDIN_GPU": json.dumps(gpu or {}),
    }


@dataclass
class Machine:
    """A machine with stand-ins: its Python, and the environment that says what they are."""

    python: Path
    folder: Path
    operator_library: Path
    version: str = OLD
    gpu: dict[str, object] = field(default_factory=dict)

    def variables(self) -> dict[str, str]:
        return variables(self.folder, self.version, self.operator_library, self.gpu)

    def run(self, script: str, *arguments: str | Path, **more: str) -> Result:
        return run(self.python, script, *arguments, cwd=None, **self.variables(), **more)

    def build(self, model: Path, *arguments: str | Path, output: str = "m.engine") -> Path:
        """The engine of a build that has to succeed."""
        path = self.folder / output
        done = self.run("build_engine.py", model, "--output", path, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return path


def facts(engine: Path) -> dict[str, Any]:
    """What the stand-in wrote into an engine about how it was built."""
    content = engine.read_bytes()
    text = content[content.index(b"{", 24) :].decode("latin-1")  # behind magic, checksum, length
    found: dict[str, Any] = json.JSONDecoder().raw_decode(text)[0]
    return found


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
    gpu: Mapping[str, object] | None = None,
) -> Iterator[tuple[ModuleType, ModuleType]]:
    """The stand-ins of tensorrt and pycuda, which the runtime then imports afresh.

    At the end nothing may be left on the "GPU", and nothing may have gone wrong on the way.
    """
    with monkeypatch.context() as patch:
        patch.setenv("STANDIN_TENSORRT", version)
        patch.setenv("STANDIN_ORT_LIBRARY", str(operator_library))
        patch.setenv("STANDIN_GPU", json.dumps(gpu or {}))
        for name in _OURS:
            patch.delitem(sys.modules, f"runtime.{name}", raising=False)
            patch.delattr(runtime, name, raising=False)
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
            sys.modules.pop(f"runtime.{name}", None)
            vars(runtime).pop(name, None)


def _forget_standins(patch: pytest.MonkeyPatch) -> None:
    """So that they are made anew, for another version and with an empty memory."""
    tests = sys.modules["tests"]
    for name in _STANDINS:
        patch.delitem(sys.modules, name, raising=False)
        patch.delattr(tests, name.split(".")[1], raising=False)


def module(name: str) -> Any:
    """One of the runtime's modules, as the stand-ins made it."""
    return importlib.import_module(f"runtime.{name}")
