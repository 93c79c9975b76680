"""An ssh server on this machine's loopback, with a stand-in for a Jetson behind it.

Its keys, port and settings are its own, in a folder; nothing of the machine's own server, or of the
user's, is read or changed. Who logs in is the user who runs the tests, in another home, with fakes
first on PATH and a system of a board's files below SHIFTADD_ROOT_PREFIX.
"""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

RELEASE = (
    "# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t210ref, EABI: aarch64, "
    "DATE: Sat Feb 19 17:05:08 UTC 2022\n"
)
_SERVER = "/usr/sbin/sshd"


def why_not() -> str | None:
    """What is missing here, in a line; None where all is there."""
    for program in (_SERVER, "ssh", "ssh-keygen"):
        if shutil.which(program) is None:
            return f"no {program}; on Debian: apt-get install openssh-server openssh-client"
    return None


@dataclass
class Board:
    """A stand-in for a Jetson.

    Attributes:
        home: where a login begins.
        fakes: first on PATH.
        system: below it are the board's files, such as etc/nv_tegra_release.
        port: of its server.
        login: user and address for ssh.
    """

    folder: Path
    home: Path = field(init=False)
    fakes: Path = field(init=False)
    system: Path = field(init=False)
    port: int = 0
    login: str = field(init=False)

    def __post_init__(self) -> None:
        self.home, self.fakes, self.system = (
            self.folder / name for name in ("home", "fakes", "system")
        )
        for path in (self.home, self.fakes, self.system / "etc", self.folder / "keys"):
            path.mkdir(parents=True)
        (self.folder / "environment").touch()
        self.login = f"{pwd.getpwuid(os.getuid()).pw_name}@127.0.0.1"
        self.fake("uname", 'case "$*" in -m) echo aarch64 ;; *) exec /usr/bin/uname "$@" ;; esac')
        (self.system / "etc" / "nv_tegra_release").write_text(RELEASE)

    def fake(self, name: str, body: str) -> None:
        """A program in place of the board's own."""
        path = self.fakes / name
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)

    def variable(self, name: str, value: str) -> None:
        """A variable of every login's environment from now on."""
        with (self.folder / "environment").open("a") as file:
            file.write(f"export {name}={shlex.quote(value)}\n")

    def give_gpu(self) -> None:
        """Files by which CUDA and TensorRT are known."""
        for name in ("usr/local/cuda/bin/nvcc", "usr/include/aarch64-linux-gnu/NvInferVersion.h"):
            path = self.system / name
            path.parent.mkdir(parents=True)
            path.write_text("#!/bin/sh\n")
            path.chmod(0o755)

    def options(self) -> list[str]:
        """What `ssh` has to be told, as device_scripts.host.deploy takes it."""
        keys = self.folder / "keys"
        settings = (
            *(f"IdentityFile={keys / 'user'}", "IdentitiesOnly=yes"),
            *(f"UserKnownHostsFile={keys / 'known_hosts'}", "GlobalKnownHostsFile=/dev/null"),
            "StrictHostKeyChecking=yes",
        )
        return [f"--port={self.port}", *(f"-o{setting}" for setting in settings)]

    def start(self) -> subprocess.Popen[bytes]:
        """Starts the server, and returns when it answers."""
        keys = self.folder / "keys"
        for name in ("host", "user", "stranger"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / name)]
            subprocess.run(command, check=True, timeout=60)
        shutil.copy(keys / "user.pub", keys / "authorized_keys")
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # it locks itself in there before a login
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        kind, key = (keys / "host.pub").read_text().split()[:2]
        (keys / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {kind} {key}\n")
        shell = self.folder / "login"
        shell.write_text(
            f"#!/bin/bash\nexport HOME={shlex.quote(str(self.home))}\n"
            f"export PATH={shlex.quote(str(self.fakes))}:$PATH\n"
            f"export SHIFTADD_ROOT_PREFIX={shlex.quote(str(self.system))}\n"
            f"source {shlex.quote(str(self.folder / 'environment'))}\n"
            'cd "$HOME" && exec bash -c "$SSH_ORIGINAL_COMMAND"\n'
        )
        shell.chmod(0o755)
        (self.folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {keys / 'host'}\n"
            f"AuthorizedKeysFile {keys / 'authorized_keys'}\nForceCommand {shell}\n"
            "PidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            # The default, post-quantum one takes a tenth of a second of either side.
            "KexAlgorithms curve25519-sha256\n"
        )
        with (self.folder / "sshd.log").open("wb") as log:
            server = subprocess.Popen(
                [_SERVER, "-D", "-e", "-f", self.folder / "sshd_config"], stderr=log
            )
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return server
            if server.poll() is not None:
                break
            time.sleep(0.1)
        server.kill()
        server.wait()
        raise RuntimeError((self.folder / "sshd.log").read_text())
