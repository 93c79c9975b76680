"""The contract header, the codec and the kernels in C++, under the sanitizers.

Every array ends where its memory ends there, so that a read or write behind one is seen.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.implementations import instruction_sets

REPOSITORY = Path(__file__).resolve().parents[1]
KERNELS = REPOSITORY / "plugins" / "kernels" / "cpu"
FOLDER = REPOSITORY / "build" / "tests"
FLAGS = [
    *("-std=c++14", "-O1", "-g", "-Wall", "-Wextra", "-Werror"),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"),
]
TRAINING = sorted(KERNELS.glob("*_training.cpp"))
INCLUDES = [f"-I{REPOSITORY / 'plugins' / 'include'}", f"-I{KERNELS}"]
# Flags of the sources for one instruction set, as in plugins/CMakeLists.txt.
X86_FLAGS = {
    "micro_kernels_avx2.cpp": ["-mavx2", "-mfma"],
    "micro_kernels_avx512.cpp": ["-mavx512f", "-mavx2", "-mfma", "-Wno-error"],
    "adder_training.cpp": ["-Wno-error"],
}


def run(*command: str | Path) -> str:
    """Output of a command that succeeds; its own report where it does not."""
    answer = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=600
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def compiler() -> list[str]:
    return shlex.split(os.environ.get("CXX", "c++"))


def compile_object(source: Path, *flags: str) -> Path:
    """The object file of a source, compiled again only when a C++ file has changed since."""
    target = FOLDER / f"{source.stem}.o"
    parts = [source, *KERNELS.glob("*.h"), *(REPOSITORY / "plugins/include/shiftadd").glob("*.h")]
    parts.append(Path(__file__))
    newest = max(part.stat().st_mtime for part in parts)
    if not target.is_file() or target.stat().st_mtime < newest:
        FOLDER.mkdir(parents=True, exist_ok=True)
        fresh = target.with_suffix(f".{os.getpid()}.o")
        run(*compiler(), *FLAGS, *flags, *INCLUDES, "-c", source, "-o", fresh)
        fresh.replace(target)
    return target


def link(name: str, objects: list[Path]) -> Path:
    program = FOLDER / name
    run(*compiler(), *FLAGS, *objects, "-pthread", "-o", program)
    return program


def test_contract_and_codec() -> None:
    source = REPOSITORY / "tests" / "cpp" / "contract_test.cpp"
    assert " 0 failures" in run(link("contract_test", [compile_object(source)]))


@pytest.fixture(scope="module")
def kernels_program() -> Path:
    skipped = {source.name for source in TRAINING}
    if platform.machine() != "x86_64":
        skipped |= X86_FLAGS.keys()
    sources = [s for s in sorted(KERNELS.glob("*.cpp")) if s.name not in skipped]
    objects = [compile_object(s, *X86_FLAGS.get(s.name, [])) for s in sources]
    test = compile_object(REPOSITORY / "tests" / "cpp" / "kernels_test.cpp")
    return link("kernels_test", [*objects, test])


def test_kernels_stay_within_their_arrays(kernels_program: Path) -> None:
    assert " 0 failures" in run(kernels_program)


@pytest.fixture(scope="module")
def training_program() -> Path:
    objects = [compile_object(s, *X86_FLAGS.get(s.name, [])) for s in TRAINING]
    test = compile_object(REPOSITORY / "tests" / "cpp" / "training_test.cpp")
    return link("training_test", [*objects, test])


@pytest.mark.parametrize("isa", instruction_sets())
def test_training_kernels_stay_within_their_arrays(
    training_program: Path, monkeypatch: pytest.MonkeyPatch, isa: str
) -> None:
    monkeypatch.setenv("SHIFTADD_CPU_ISA", isa)
    assert " 0 failures" in run(training_program)
