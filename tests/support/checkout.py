"""A checkout with the real Makefile and a `.venv` of stand-ins, which write down how they ran."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_COPIED = (
    "Makefile",
    "device_scripts/__init__.py",
    "device_scripts/host/__init__.py",
    "device_scripts/host/commands",
    "device_scripts/host/deploy/__init__.py",
    "device_scripts/host/deploy/device.py",
    "device_scripts/boards",
)
_REQUIREMENTS = ("", "-dev", "-nvidia", "-peers")
_PROGRAM = """#!{python} -IS
import json, os, sys, time
with open({log!r}, "a") as log:
    log.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
{body}
"""
# It stands for all of the checkout's own programs. An export writes a file, as the real one does.
_PYTHON = """
words = sys.argv[1:]
if words[-1].endswith("fetch_headers.py"):
    print("/headers")
if words[:2] == ["-m", "device_scripts.host.commands.known_model"] and words[-1] == "unknown":
    sys.exit("error: unknown model 'unknown'; known models: a, b")
if words[:2] == ["-m", "device_scripts.host.commands.readable"] and words[-1] == "noimages":
    sys.exit("error: noimages: no images in this directory")
if words[:2] == ["-m", "export"]:
    options = dict(word.split("=", 1) for word in words[3:] if "=" in word)
    name = options.get("--name", words[2].rpartition(":")[2])
    suffix = {"jetson-nano": ""}.get(options["--target"], "." + options["--target"])
    os.makedirs(options["--out"], exist_ok=True)
    with open(os.path.join(options["--out"], name + suffix + ".onnx"), "w") as file:
        file.write("exported")
"""
# Ninja says that of a build folder where there is nothing to do.
_CMAKE = """
built = os.path.join(sys.argv[2], "built")
if sys.argv[-1] == "-n":
    print("ninja: no work to do." if os.path.exists(built) else "[1/2] planned")
elif sys.argv[1] == "--build":
    # Whoever finds the other's mark has met another build in the same folder.
    mark = os.open(built + ".busy", os.O_CREAT | os.O_EXCL)
    time.sleep({seconds})
    open(built, "w").close()
    os.unlink(built + ".busy")
"""


@dataclass(frozen=True)
class Checkout:
    """The folder; and the programs that `make` ran since `forget`, each a list of words."""

    folder: Path

    def make(
        self, *words: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs make with these words, in an environment without another make's variables."""
        return subprocess.run(
            ["make", *words], cwd=self.folder, env={**self._environment(), **(environment or {})},
            stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8",
            errors="surrogateescape", timeout=60,
        )  # fmt: skip

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Starts a make that is not waited for."""
        return subprocess.Popen(
            ["make", *words], cwd=self.folder, env=self._environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def _environment(self) -> dict[str, str]:
        return {**own_environment(), "PYTHON": str(self.folder.parent / "quick-python")}

    @property
    def log(self) -> Path:
        return self.folder.parent / "programs.log"

    def programs(self, first: str | None = None) -> list[list[str]]:
        """What was run, in order: the program's name and its words; of one program, if named."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        found: list[list[str]] = [json.loads(line) for line in lines]
        return [words for words in found if first in (None, words[0])]

    def runs_of(self, *module: str) -> list[list[str]]:
        """The words behind `python MODULE...` of the runs of one module or script."""
        size = len(module)
        found = self.programs("python")
        return [words[1 + size :] for words in found if tuple(words[1 : 1 + size]) == module]

    def forget(self) -> None:
        self.log.unlink(missing_ok=True)

    def files(self) -> Iterator[Path]:
        """Everything in the folder and beside it, byte code apart."""
        for path in sorted(self.folder.parent.rglob("*")):
            if "__pycache__" not in path.parts:
                yield path


def own_environment() -> dict[str, str]:
    """This process's environment without what a `make` that runs the tests has put there."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}


def make_checkout(folder: Path, build_seconds: float = 0.0) -> Checkout:
    """A checkout in `folder`/checkout that is set up; building takes `build_seconds` a step."""
    root = folder / "checkout"
    for name in _COPIED:
        source, target = REPOSITORY / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    (root / "export").mkdir()
    (root / "export" / "source.py").touch()
    for suffix in _REQUIREMENTS:
        (root / f"requirements{suffix}.txt").touch()
    checkout = Checkout(root)
    tools = root / ".venv" / "bin"
    tools.mkdir(parents=True)
    _write_program(tools / "python", checkout.log, _PYTHON)
    _write_program(tools / "cmake", checkout.log, _CMAKE.format(seconds=build_seconds))
    # Without what this machine's Python imports at its start.
    quick = folder / "quick-python"
    quick.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    quick.chmod(0o755)
    for stamp in (".ready", ".nvidia"):
        (root / ".venv" / stamp).touch()
    return checkout


def _write_program(path: Path, log: Path, body: str) -> None:
    path.write_text(_PROGRAM.format(python=sys.executable, log=str(log), body=body))
    path.chmod(0o755)
