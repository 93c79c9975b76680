"""Builds the operator library and the plugin library with CMake, one `make` at a time."""

import json
import os
import re
import shlex
import shutil
from typing import Dict, List, NamedTuple, Optional, Sequence

from device_scripts.host.commands.locks import locked
from device_scripts.host.commands.problems import RefusedError
from device_scripts.host.commands.programs import (
    BUILD,
    LOCKS,
    PY,
    ROOT,
    answer,
    cross_compiler,
    find,
    run,
)
from device_scripts.host.commands.variables import Variables

_PLUGINS = os.path.join(BUILD, "plugins")
BOARDS = os.path.join(ROOT, "device_scripts", "boards")
# What CMake reads of the environment; a build folder is configured again where one has changed.
_READ = ("CXX", "CXXFLAGS", "CUDACXX", "TENSORRT_ROOT", "ONNXRUNTIME_INCLUDE_DIR")


class Build(NamedTuple):
    """A build folder: its name below build/, CMake's options, and variables of the environment."""

    target: str
    folder: str
    options: Sequence[str]
    variables: Dict[str, str]


def build_operator_library() -> None:
    """Builds build/plugins/libshiftadd_ort.so for this machine where it is not up to date."""
    compiler = shlex.split(os.environ.get("CXX") or "c++")[0]
    if not find(compiler):
        raise RefusedError(
            "plugins: no C++ compiler ({}); install one (Debian and Ubuntu: apt-get install g++) "
            "or set CXX".format(compiler)
        )
    _build_with_ninja(Build("plugins", "cmake", [_output(_PLUGINS)], {}))


def build_board_library(board: str, symbols: bool = False) -> None:
    """Cross-builds the operator library of a board in build/plugins/BOARD/.

    With `symbols`, the same code is linked once more with its symbols, which `symbols_of` finds.
    """
    toolchain = os.path.join(BOARDS, board, "toolchain.cmake")
    options = [
        _output(os.path.join(_PLUGINS, board)),
        "-DCMAKE_TOOLCHAIN_FILE=" + toolchain,
    ]
    build = Build("plugins", "cmake-" + board, options, cross_compiler())
    if not os.path.isdir(os.path.join(BUILD, build.folder)):
        print(
            "plugins: cross-building for {} (some minutes the first time)".format(board), flush=True
        )
    _build_with_ninja(build)
    if symbols:
        with locked(LOCKS, build.folder) as lock:
            _compile(build, lock, "--quiet", "shiftadd_ort_symbols")


def symbols_of(board: str) -> str:
    """The library that `build_board_library` linked with its symbols."""
    return os.path.join(BUILD, "cmake-" + board, "symbols", "libshiftadd_ort_symbols.so")


def chosen_board(variables: Variables) -> Optional[str]:
    """The board that BOARD names, None where none was named; RefusedError for an unknown one."""
    if not variables.given("BOARD"):
        return None
    boards = known_boards()
    if variables["BOARD"] not in boards:
        raise RefusedError(
            "BOARD={}: no such board; known boards: {}".format(
                variables["BOARD"], ", ".join(boards)
            )
        )
    return variables["BOARD"]


def known_boards() -> List[str]:
    """The folders of device_scripts/boards that say how to build for a board."""
    return sorted(
        name
        for name in os.listdir(BOARDS)
        if os.path.isfile(os.path.join(BOARDS, name, "toolchain.cmake"))
    )


def build_tensorrt_library(variables: Variables) -> None:
    """Builds build/plugins/libshiftadd_tensorrt.so with this machine's CUDA and TensorRT.

    It runs on a board too, which has no .venv, with the board's own CMake: 3.10 on a Jetson Nano.
    """
    if not find("cmake"):
        raise RefusedError("tensorrt-plugins: no cmake; install it (apt-get install cmake)")
    options = [
        _output(_PLUGINS),
        "-DSHIFTADD_TENSORRT=ON",
        "-DSHIFTADD_ONNXRUNTIME=OFF",
        *variables.words("CMAKE_ARGS"),
    ]
    build = Build("tensorrt-plugins", "cmake-tensorrt", options, {})
    with locked(LOCKS, build.folder) as lock:
        _configure(build)
        _compile(build, lock, "--no-print-directory", "-j{}".format(os.cpu_count() or 1))


def _output(folder: str) -> str:
    return "-DCMAKE_LIBRARY_OUTPUT_DIRECTORY=" + folder


def _build_with_ninja(build: Build) -> None:
    build = build._replace(options=["-GNinja", *build.options])
    with locked(LOCKS, build.folder) as lock:
        _configure(build, headers=True)
        # Ninja says "no work to do" whenever there is none: only what it does is worth a line.
        folder = os.path.join(BUILD, build.folder)
        planned = answer(["cmake", "--build", folder, "--", "-n"], **build.variables)
        if planned.returncode != 0 or "no work to do" not in planned.stdout:
            _compile(build, lock)


def _configure(build: Build, headers: bool = False) -> None:
    """Has CMake write the build folder, unless it did with the same options and environment."""
    folder = os.path.join(BUILD, build.folder)
    stamp = os.path.join(folder, ".configured")
    variables = {name: os.environ.get(name, "") for name in _READ}
    wanted = json.dumps([ROOT, list(build.options), variables, build.variables], sort_keys=True)
    if _content(stamp) == wanted:
        return
    options = list(build.options)
    if headers:
        options.append("-DONNXRUNTIME_INCLUDE_DIR=" + _onnxruntime_headers())
    # Nothing that an earlier configuration found out is kept. CMake 3.10 has no --fresh, -S or -B.
    os.makedirs(folder, exist_ok=True)
    shutil.rmtree(os.path.join(folder, "CMakeFiles"), ignore_errors=True)
    for name in ("CMakeCache.txt", ".configured"):
        if os.path.exists(os.path.join(folder, name)):
            os.unlink(os.path.join(folder, name))
    command = ["cmake", "-DCMAKE_BUILD_TYPE=Release", *options, os.path.join(ROOT, "plugins")]
    said = answer(["cmake", "-E", "chdir", folder, *command], **build.variables)
    log = os.path.join(folder, "configure.log")
    with open(log, "w") as file:
        file.write(said.stdout + said.stderr)
    if said.returncode != 0:
        raise RefusedError(
            "{}: {}; all that CMake said is in {}".format(
                build.target, first_error(said.stderr), os.path.relpath(log, ROOT)
            )
        )
    with open(stamp, "w") as file:
        file.write(wanted)


def first_error(text: str) -> str:
    """The first error that CMake reported, in one line."""
    found = re.search(r"^CMake Error[^\n]*:\n+((?:  [^\n]*\n)+)", text, re.MULTILINE)
    if found:
        return " ".join(found.group(1).split())
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else "CMake failed"


def _compile(build: Build, lock: int, *options: str) -> None:
    folder = os.path.join(BUILD, build.folder)
    run(
        ["cmake", "--build", folder, *(["--", *options] if options else [])],
        lock,
        **build.variables,
    )


def _onnxruntime_headers() -> str:
    found = answer([PY, os.path.join("plugins", "onnxruntime", "fetch_headers.py")])
    if found.returncode != 0:
        raise RefusedError("plugins: " + " ".join(found.stderr.split()))
    return found.stdout.strip()


def _content(path: str) -> Optional[str]:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return None
