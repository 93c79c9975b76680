"""One ssh connection to a board: a single login for all commands, by OpenSSH's multiplexing.

Without a terminal ssh asks nothing (BatchMode). A command on the board ends when this process does,
so that two deployments never work there at the same time.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from runtime.core.errors import ShiftAddError, one_line

_READY = "shiftadd: ready"
# TMPDIR is not used here, since the path of a socket may have only some 100 characters.
_SOCKETS = "/tmp"
_LOST = 255  # ssh's own exit code, where the command has none
_INTERRUPTED = 130
_CHUNK = 1 << 16
_LARGEST_LOG = 64 << 20

# Runs "$@" until it ends, or until the other side disconnects, which closes standard input.
_RUN = """
exec 3<&0 2>&1
setsid "$@" </dev/null & job=$!
{ cat <&3 >/dev/null; kill -TERM -- "-$job"; } >/dev/null 2>&1 & watch=$!
code=0
wait "$job" || code=$?
kill "$watch"
exit "$code"
"""


class DeployError(ShiftAddError):
    """What keeps a deployment from going on, in one line."""


class Connection:
    """A login on `device`, "user@host" or a name of ~/.ssh/config, for the length of a block.

    Args:
        options: further options of ssh, as its command line has them.

    Raises DeployError, on entry where there is no login, and later where the connection is lost.
    """

    def __init__(self, device: str, options: Sequence[str]) -> None:
        self.device = device
        self.terminal = sys.stdin.isatty() and sys.stdout.isatty()
        self._options = options
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._held: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Connection:
        if shutil.which("ssh") is None:
            raise DeployError(
                "no ssh on this machine: install it (Debian and Ubuntu: apt-get install "
                "openssh-client)"
            )
        self._folder = tempfile.TemporaryDirectory(prefix="shiftadd-", dir=_SOCKETS)
        try:
            with tempfile.TemporaryFile() as stderr:
                batch = [] if self.terminal else ["-o", "BatchMode=yes"]
                master = [*batch, "-o", "ControlMaster=yes", "-o", "ControlPersist=no"]
                master += ["-o", "ConnectTimeout=15", "-o", "ServerAliveInterval=15"]
                if not self._hold(master, "true", stderr):
                    stderr.seek(0)
                    text = stderr.read().decode("utf-8", "backslashreplace")
                    raise DeployError(_no_login(self.device, text))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The master was opened first and is closed last.
        for process in reversed(self._held):
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
        self._held.clear()
        if self._folder is not None:
            self._folder.cleanup()

    def hold(self, command: str) -> bool:
        """Runs `command` and returns whether it succeeded. Files that it opened with exec stay
        open, and locked, until the connection ends."""
        return self._hold([], command, subprocess.DEVNULL)

    def answer(self, script: str, *arguments: str) -> str:
        """What a bash script prints when it is run with these arguments. Raises DeployError where
        it fails."""
        done = subprocess.run(
            self._ssh([], script, *arguments), stdin=subprocess.DEVNULL, capture_output=True
        )
        if done.returncode != 0:
            raise self._failed(done.returncode, done.stderr)
        return done.stdout.decode("utf-8", "backslashreplace")

    def fetch(self, script: str, target: IO[bytes], most: int) -> None:
        """Writes what a bash script prints to `target`.

        Raises DeployError where it fails, and where it prints more than `most` bytes.
        """
        with tempfile.TemporaryFile() as stderr:
            process = subprocess.Popen(
                self._ssh([], script),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr,
            )  # fmt: skip
            with process:
                assert process.stdout is not None
                while chunk := process.stdout.read(_CHUNK):
                    target.write(chunk)
                    if target.tell() > most:
                        process.kill()
                        raise DeployError(
                            f"{self.device}: sends more than {most >> 20} MiB of reports: remove "
                            "old ones there"
                        )
            if process.returncode != 0:
                stderr.seek(0)
                raise self._failed(process.returncode, stderr.read())

    def send(self, source: IO[bytes], advance: Callable[[int], object], script: str) -> None:
        """Gives the rest of `source` to a bash script; `advance` is called with the number of bytes
        that were sent.

        Raises DeployError where the script fails.
        """
        with tempfile.TemporaryFile() as stderr:
            process = subprocess.Popen(
                self._ssh([], script), stdin=subprocess.PIPE, stdout=stderr, stderr=stderr
            )
            assert process.stdin is not None
            try:
                while chunk := source.read(_CHUNK):
                    process.stdin.write(chunk)
                    advance(len(chunk))
                process.stdin.close()
            except BrokenPipeError:
                pass  # the exit code and stderr say why
            except BaseException:
                process.kill()
                raise
            code = process.wait()
            if code != 0:
                stderr.seek(0)
                raise self._failed(code, stderr.read())

    def run(self, log: Path, *command: str) -> int:
        """Runs a command on the board and returns its exit code. Its output is shown, and kept in
        `log`, up to 64 MiB of it.

        Where this process has a terminal the command gets one too, on which sudo can ask for a
        password.

        Raises DeployError where the connection is lost, KeyboardInterrupt where the command was
        interrupted.
        """
        if self.terminal:
            arguments, stdin = self._ssh(["-tt"], 'exec "$@"', *command), None
        else:
            arguments, stdin = self._ssh([], _RUN, *command), subprocess.PIPE
        process = subprocess.Popen(arguments, stdin=stdin, stdout=subprocess.PIPE)
        with process, log.open("wb") as file:
            assert process.stdout is not None
            # The output is read in chunks and not by lines, since a question for a password does
            # not end its line.
            while chunk := os.read(process.stdout.fileno(), _CHUNK):
                if file.tell() < _LARGEST_LOG:
                    file.write(chunk)
                    file.flush()
                sys.stdout.buffer.write(chunk)
                sys.stdout.flush()
            code = process.wait()
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
        if code == _LOST:
            raise DeployError(f"{self.device}: the connection was lost; run the command again")
        return code

    def _hold(self, options: Sequence[str], command: str, stderr: int | IO[bytes]) -> bool:
        script = f'{command} && echo "{_READY}" && exec cat >/dev/null'
        process = subprocess.Popen(
            self._ssh(options, script),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr,
        )  # fmt: skip
        self._held.append(process)
        assert process.stdout is not None
        # Whatever the login prints before that is skipped.
        return any(line.decode("ascii", "replace").strip() == _READY for line in process.stdout)

    def _ssh(self, options: Sequence[str], script: str, *arguments: str) -> list[str]:
        assert self._folder is not None
        remote = shlex.join(["bash", "-c", script, "shiftadd", *arguments])
        socket = f"ControlPath={self._folder.name}/socket"
        return ["ssh", *self._options, *options, "-o", socket, "--", self.device, remote]

    def _failed(self, code: int, stderr: bytes) -> DeployError:
        text = stderr.decode("utf-8", "backslashreplace")
        if code == _LOST:
            return DeployError(f"{self.device}: the connection was lost: {last_line(text)}")
        # The first line is the one that counts: tar, for example, ends by saying that it fails
        # because of earlier errors.
        why = one_line(text.strip().partition("\n")[0]) or f"exit code {code}"
        room = ": make room there, or name another disk with --folder"
        return DeployError(f"{self.device}: {why}{room if 'No space left' in why else ''}")


def last_line(text: str) -> str:
    """The last line with anything in it; "" where there is none."""
    lines = [line for line in text.splitlines() if line.strip()]
    return one_line(lines[-1]) if lines else ""


# What to do, by what ssh says.
_REMEDIES = {
    "Could not resolve hostname": "check the name, or give the board's address",
    "Connection refused": "the board is on, but no ssh server answers there; check the port",
    "timed out": "check that the board is on, and on this network",
    "No route to host": "check that the board is on, and on this network",
    "Network is unreachable": "check this machine's network",
    "Permission denied": "no login; put your key there with `ssh-copy-id {}`",
    "Too many authentication failures": "no login; name the key with -o IdentityFile=...",
    "IDENTIFICATION HAS CHANGED": "its host key has changed; see `ssh {}`",
    "Host key verification failed": "its host key is not known; log in once with `ssh {}`",
}


def _no_login(device: str, text: str) -> str:
    for symptom, remedy in _REMEDIES.items():
        if symptom in text:
            return f"{device}: {last_line(text)}: {remedy.format(device)}"
    return f"{device}: {last_line(text) or 'ssh ends without a word'}"
