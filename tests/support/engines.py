"""A machine with the stand-ins for TensorRT and PyCUDA, on which commands are run."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.commands import run
from tests.support.models.runtime import REPOSITORY
from tests.support.standins.modules import OLD

Result = subprocess.CompletedProcess[str]

_FORWARD = "import sys\nfrom tests.support.standins import {0}\nsys.modules[__name__] = {0}.{1}()\n"


def variables(
    folder: Path, version: str, operator_library: Path, gpu: Mapping[str, object] | None = None
) -> dict[str, str]:
    """The environment in which `import tensorrt` and `import pycuda.driver` give the stand-ins.

    `folder` gets the modules that forward to them; `gpu` replaces entries of the stand-in's.
    """
    packages = folder / "standins"
    (packages / "pycuda").mkdir(parents=True, exist_ok=True)
    (packages / "tensorrt.py").write_text(_FORWARD.format("tensorrt", "module"))
    (packages / "pycuda" / "__init__.py").touch()
    (packages / "pycuda" / "driver.py").write_text(_FORWARD.format("pycuda", "driver"))
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
