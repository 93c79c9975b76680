"""Other engines, each in a process of its own with packages of its own (requirements-peers.txt)."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from device_scripts.host.bench.timing import ROUND_SECONDS
from runtime.core.errors import ShiftAddError

PEERS = {
    "ONNX Runtime int8": "onnxruntime-int8",
    "OpenVINO fp32": "openvino",
    "OpenVINO int8": "openvino-int8",
    "ncnn fp32": "ncnn",
    "LiteRT fp32": "litert",
    "LiteRT int8": "litert-int8",
}
"""What peer_child.py calls the engines with their precisions. The package of ncnn cannot
quantize."""

_CHILD = "device_scripts.host.bench.peer_child"


class Peer:
    """A model in another engine, as a contestant."""

    def __init__(self, python: Path, engine: str, folder: Path, model: str, threads: int) -> None:
        command = [str(python), "-m", _CHILD, "serve", engine, model, str(folder), str(threads)]
        # Waiting threads soon give the processor back, for when another contestant has its turn.
        # Giving it back at once would slow down ncnn, which waits for its threads many times in a
        # run.
        environment = {**os.environ, "GOMP_SPINCOUNT": "10000", "PYTHONWARNINGS": "ignore"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._engine = engine
        self._repeats = 1
        for _ in range(3):
            self._repeats = max(1, round(ROUND_SECONDS / self.seconds()))

    def seconds(self) -> float:
        """The seconds of one run, as the mean of a turn. Raises ShiftAddError where the process has
        ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{self._repeats}\n")
            self._process.stdin.flush()
            return float(self._process.stdout.readline()) / self._repeats
        except (OSError, ValueError) as error:
            raise ShiftAddError(f"{self._engine}: the engine's process has ended") from error

    def stop(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.wait(timeout=30)


class Peers:
    """The engines that are installed in an environment; none where there is no environment."""

    def __init__(self, python: Path | None) -> None:
        self._python = python

    @contextlib.contextmanager
    def started(
        self, model: str, file: Path, folder: Path, threads: int
    ) -> Iterator[dict[str, Peer]]:
        """All engines with this model, converted to what each reads. Raises ShiftAddError."""
        running: dict[str, Peer] = {}
        try:
            if self._python is not None:
                convert(self._python, model, file, folder)
                for name, engine in PEERS.items():
                    running[name] = Peer(self._python, engine, folder, model, threads)
            yield running
        finally:
            for peer in running.values():
                peer.stop()


def convert(python: Path, model: str, file: Path, folder: Path) -> None:
    """Has the peers' interpreter write what each engine reads, beside `file` in `folder`.

    Raises ShiftAddError where a converter fails.
    """
    command = [str(python), "-m", _CHILD, "convert", model, str(file), str(folder)]
    log = folder / f"{model}.convert.log"
    with log.open("w") as out:
        answer = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, check=False)
    if answer.returncode != 0:
        last = (log.read_text().strip().splitlines() or ["no output"])[-1]
        raise ShiftAddError(f"cannot convert {model} for the peers: {last} (all of it: {log})")
