"""Runs fuzz targets, each in processes of its own, and keeps what they find."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from runtime.core.errors import ShiftAddError
from tests.fuzz import corpus as kept_inputs
from tests.fuzz import native, seeds
from tests.support.cases.implementations import instruction_sets
from tests.support.cases.plugins import REPOSITORY

BUILD = REPOSITORY / "build" / "fuzz"
READERS = tuple(seeds.SEEDS)
MODELS = ("models", "models_sanitized")
TARGETS = (*READERS, *native.NATIVE_TARGETS, *MODELS)

_HANG_SECONDS = 20
_MOST_MEMORY = 3000  # MiB of a process, and half of it in one allocation
_LONGEST = 1 << 15  # bytes of an input
_LONGEST_START = 60  # seconds: Python, NumPy and ONNX Runtime, on a busy machine
# What a sanitizer says where there is no memory, for which a C++ library throws.
_NO_MEMORY = re.compile(
    r"AddressSanitizer: (out of memory|requested allocation size|allocator is out)"
)


@dataclass(frozen=True)
class Outcome:
    """What came of a target.

    Attributes:
        runs: of the code under test.
        reached: how far they came, in words: coverage, or answers.
        findings: inputs that must not do what they do.
        log: what the last process printed.
    """

    runs: int
    reached: str
    findings: list[Path]
    log: Path


def run(target: str, seconds: float, folder: Path = BUILD) -> Outcome:
    """Runs a target for so long, or to its first finding, which goes to a folder of the folder's.

    Raises native.MissingClangError, and ShiftAddError where the fuzzer itself fails.
    """
    findings = folder / "findings" / target
    findings.mkdir(parents=True, exist_ok=True)
    log = folder / f"{target}.log"
    if target in MODELS:
        return _run_models(target, seconds, findings, log)
    corpus = folder / "corpus" / target
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in seeds.SEEDS[target]() if target in READERS else []:
        (corpus / hashlib.sha1(seed).hexdigest()).write_bytes(seed)
    before = set(findings.iterdir())
    options = [
        f"-max_total_time={math.ceil(seconds)}",
        f"-timeout={_HANG_SECONDS}",
        f"-rss_limit_mb={_MOST_MEMORY}",
        f"-malloc_limit_mb={_MOST_MEMORY // 2}",
        f"-max_len={_LONGEST}",
        f"-artifact_prefix={findings}/",
    ]
    kept = kept_inputs.unpack(target, folder / "kept" / target)
    folders = [str(path) for path in (corpus, kept) if path is not None]
    status = _logged([*command(target), *options, *folders], log, seconds + 300)
    found = sorted(set(findings.iterdir()) - before)
    if status != 0 and not found:
        raise ShiftAddError(f"{target}: the fuzzer itself ended with {status}: see {log}")
    text = log.read_text(errors="replace")
    runs = [int(count) for count in re.findall(r"^#(\d+)\s", text, re.MULTILINE)]
    coverage = re.findall(r"(cov: \d+ ft: \d+) corp: (\d+)", text)
    reached = "{}, {} inputs".format(*coverage[-1]) if coverage else "nothing"
    return Outcome(max(runs, default=0), reached, found, log)


def reproduce(target: str, file: Path) -> int:
    """Runs one input, which prints what it has to say; 0 where it is fine."""
    if target in MODELS:
        arguments = [*_MODELS_CHILD, "--input", str(file)]
        return sum(
            abs(subprocess.run(arguments, cwd=REPOSITORY, env=_environment(target, isa)).returncode)
            for isa in instruction_sets()
        )
    return subprocess.run([*command(target), str(file)], cwd=REPOSITORY).returncode


def command(target: str) -> list[str]:
    """Of a target that libFuzzer runs, without its arguments."""
    if target in READERS:
        return [sys.executable, "-m", "tests.fuzz.atheris_child", target]
    return [str(native.build(target))]


def _logged(arguments: list[str], log: Path, timeout: float) -> int:
    # libFuzzer ends the process without giving it time to clean up.
    with tempfile.TemporaryDirectory() as folder, log.open("wb") as file:
        environment = {**os.environ, "TMPDIR": folder}
        try:
            return subprocess.run(
                arguments,
                stdout=file,
                stderr=file,
                cwd=REPOSITORY,
                env=environment,
                timeout=timeout,
            ).returncode
        except subprocess.TimeoutExpired as error:
            raise ShiftAddError(f"the fuzzer does not come to its end: see {log}") from error


_MODELS_CHILD = [sys.executable, "-m", "tests.fuzz.models"]


def _environment(target: str, isa: str) -> dict[str, str]:
    sanitized = native.sanitized_environment() if target == "models_sanitized" else {}
    return {**os.environ, "SHIFTADD_CPU_ISA": isa, **sanitized}


def _run_models(target: str, seconds: float, findings: Path, log: Path) -> Outcome:
    """The same number of seconds for every instruction set; each to its first finding."""
    sets = instruction_sets()
    models = ran = answers = 0
    found = []
    for isa in sets:
        current = findings.parents[1] / target / "current.onnx"
        current.parent.mkdir(parents=True, exist_ok=True)
        environment = _environment(target, isa)
        status = _watched(
            [*_MODELS_CHILD, str(current.parent), str(seconds / len(sets))],
            environment,
            current,
            log,
        )
        text = log.read_text(errors="replace")
        if status != 0 and not current.exists():
            raise ShiftAddError(
                f"{target}: no model was run, the child ended with {status}: see {log}"
            )
        if status != 0 and not _NO_MEMORY.search(text):
            kept = findings / f"{isa}-{hashlib.sha1(current.read_bytes()).hexdigest()}.onnx"
            found.append(Path(shutil.copy(current, kept)))
            shutil.copy(current.with_suffix(".npz"), kept.with_suffix(".npz"))
            shutil.copy(log, kept.with_suffix(".log"))
        for line in re.findall(r'^\{"models".*\}$', text, re.MULTILINE)[-1:]:
            counts = json.loads(line)
            models, ran = models + counts["models"], ran + counts["ran"]
            answers = max(answers, counts["answers"])
    # Each finding has a log of its own.
    log = found[0].with_suffix(".log") if found else log
    return Outcome(models, f"{ran} ran, {answers} different answers", found, log)


def _watched(arguments: list[str], environment: dict[str, str], current: Path, log: Path) -> int:
    """The exit status of a process that writes a file again and again; where it has not for too
    long, it is ended as a hang."""
    current.unlink(missing_ok=True)
    start = time.time()
    with (
        log.open("wb") as file,
        subprocess.Popen(
            arguments, stdout=file, stderr=file, cwd=REPOSITORY, env=environment
        ) as process,
    ):
        try:
            while process.poll() is None:
                time.sleep(0.2)
                begun = current.exists()
                last = current.stat().st_mtime if begun else start
                if time.time() - last > (_HANG_SECONDS if begun else _LONGEST_START):
                    break
        finally:
            process.kill()
        return process.wait()
