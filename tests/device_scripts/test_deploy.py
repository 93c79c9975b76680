"""`make deploy` against an ssh server on loopback, behind which a stand-in plays a Jetson."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from device_scripts.host.bundle import archive
from device_scripts.host.bundle.archive import Manifest
from device_scripts.host.deploy import board as board_module
from device_scripts.host.deploy.connection import Connection, DeployError
from tests.support.board.standin import wheels
from tests.support.commands import assert_refused, environment
from tests.support.models.bundles import MODEL, for_this_machine
from tests.support.models.runtime import REPOSITORY
from tests.support.standins import loopback
from tests.support.standins.loopback import Board
from tests.support.toolchains.python36 import find_python36

FOLDER = "shiftadd-small"
Result = subprocess.CompletedProcess[str]

# Notes that it was called, and does what the test has put in its way.
SCRIPT = """#!/usr/bin/env bash
set -eu
cd "$(dirname "$0")/.."
name=$(basename "$0")
echo "$name $*" >> ~/calls
echo "this is $name"
case $name in
  install.sh)
    mkdir -p venv/bin
    printf '#!/bin/sh\\nexec python3 "$@"\\n' > venv/bin/python
    chmod +x venv/bin/python
    test -e venv/made || date +%N > venv/made
    ;;
  build_engine.sh) mkdir -p engines && echo engine > engines/small.engine ;;
  benchmark.sh) mkdir -p reports/benchmark && echo '{}' > reports/benchmark/times.json ;;
esac
if test -e ~/"$name"; then . ~/"$name"; fi
"""
CHECK = """
import os, pathlib, sys
with open(os.path.expanduser("~/calls"), "a") as calls:
    calls.write(" ".join(["check.py"] + sys.argv[1:]) + "\\n")
if os.path.exists(os.path.expanduser("~/check-fails")):
    sys.exit(1)
pathlib.Path("reports").mkdir(exist_ok=True)
pathlib.Path(sys.argv[2]).write_text("[]")
"""
SCRIPTS = ("install", "build_plugins", "build_engine", "benchmark")


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    missing = loopback.why_not()
    if missing is not None:
        pytest.skip(f"nothing is deployed: {missing}")
    board = Board(tmp_path / "board")
    server = board.start()
    yield board
    server.terminate()
    server.wait(timeout=10)


def write_bundle(path: Path, version: str = "1", more: Mapping[str, str] | None = None) -> Path:
    contents = {f"device_scripts/{name}.sh": SCRIPT.encode() for name in SCRIPTS}
    noise = np.random.default_rng().bytes(400_000)  # takes some of ssh's packets
    contents.update({"runtime/check.py": CHECK.encode(), "models/small.onnx": noise})
    contents.update({name: text.encode() for name, text in (more or {}).items()})
    archive.write(path, "small", version, contents)
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A bundle whose scripts are fakes."""
    return write_bundle(tmp_path / "small.tar.gz")


def command(board: Board, bundle: Path, *more: str) -> list[str]:
    own = [sys.executable, "-m", "device_scripts.host.deploy", board.login, str(bundle)]
    return [*own, "--reports", str(board.folder / "reports"), *board.options(), *more]


def deploy(board: Board, bundle: Path, *more: str, **variables: str) -> Result:
    return subprocess.run(
        command(board, bundle, *more),
        cwd=REPOSITORY, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
        env=environment(**variables),
    )  # fmt: skip


def started(board: Board, bundle: Path) -> subprocess.Popen[str]:
    """A deployment in a process group of its own, as a shell starts it."""
    return subprocess.Popen(
        command(board, bundle),
        cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=environment(), start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def calls(board: Board) -> list[str]:
    """What was called since the last time."""
    path = board.home / "calls"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(300):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("waited for 30 s")


def reports(board: Board) -> Path:
    return board.folder / "reports" / "127.0.0.1"


def staged(board: Board) -> list[str]:
    return sorted(path.name for path in (board.home / ".shiftadd-deploy").iterdir())


def part(board: Board, bundle: Path) -> Path:
    """Where the copy grows."""
    (board.home / ".shiftadd-deploy").mkdir(exist_ok=True)
    sha256 = hashlib.sha256(bundle.read_bytes()).hexdigest()
    return board.home / ".shiftadd-deploy" / f"{sha256}.part"


def count_copied(board: Board) -> Path:
    """Has all that goes through `cat` without a file, as the copies do, noted in this file."""
    board.fake(
        "cat", 'if (($#)); then exec /bin/cat "$@"; else exec tee -a "$HOME/copied"; fi'
    )  # fmt: skip
    return board.home / "copied"


def test_the_whole_way(board: Board, small: Path) -> None:
    board.give_gpu()
    result = deploy(board, small, "--runs", "7")
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    assert calls(board) == [
        "install.sh ",
        "build_plugins.sh ",
        "build_engine.sh ",
        "check.py --report reports/check.json",
        "benchmark.sh --runs 7 --out reports/benchmark",
    ]
    assert result.stdout.startswith("board    # R32 (release), REVISION: 7.1")
    assert f"bundle   {FOLDER}, copied" in result.stdout
    assert "this is benchmark.sh" in result.stdout
    folder = board.home / FOLDER
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=folder, check=True, timeout=60)
    assert staged(board) == ["lock"]
    assert (reports(board) / "reports" / "check.json").read_text() == "[]"
    assert (reports(board) / "reports" / "benchmark" / "times.json").is_file()
    logs = {path.stem: path.read_text() for path in reports(board).glob("*.log")}
    assert set(logs) == {"install", "plugins", "engine", "check", "times"}
    assert logs["engine"] == "this is build_engine.sh\n"


def test_a_second_run_copies_nothing(board: Board, small: Path) -> None:
    assert deploy(board, small).returncode == 0
    (board.home / FOLDER / "reports" / "of-mine.txt").write_text("mine")
    copied = count_copied(board)
    result = deploy(board, small)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"bundle   {FOLDER}, there already" in result.stdout
    assert "the CPU only" in result.stdout
    assert not copied.exists() or copied.read_bytes() == b""
    names = [call.split()[0] for call in calls(board)]
    assert names == ["install.sh", "check.py", "benchmark.sh"] * 2
    assert (reports(board) / "reports" / "of-mine.txt").read_text() == "mine"
    # A file that was damaged since is brought again.
    (board.home / FOLDER / "models" / "small.onnx").write_bytes(b"")
    assert f"bundle   {FOLDER}, copied" in deploy(board, small).stdout
    assert (board.home / FOLDER / "models" / "small.onnx").stat().st_size == 400_000


def test_a_new_version_keeps_what_was_installed(board: Board, small: Path, tmp_path: Path) -> None:
    """But no engine, which is of the old one."""
    board.give_gpu()
    assert deploy(board, small).returncode == 0
    folder = board.home / FOLDER
    made = (folder / "venv" / "made").read_text()
    (folder / "engines" / "old.engine").write_text("old")
    result = deploy(board, write_bundle(tmp_path / "2.tar.gz", "2"))
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads((folder / "manifest.json").read_text())["version"] == "2"
    assert (folder / "venv" / "made").read_text() == made
    assert not (folder / "engines" / "old.engine").exists()
    assert staged(board) == ["lock"]


@pytest.mark.parametrize("gone", ["folder", "venv"])
def test_a_board_that_lost_its_power_is_repaired(
    board: Board, small: Path, tmp_path: Path, gone: str
) -> None:
    """Between two steps of taking an older version's place: nothing that was installed is lost."""
    assert deploy(board, small).returncode == 0
    folder, staging = board.home / FOLDER, board.home / ".shiftadd-deploy"
    made = (folder / "venv" / "made").read_text()
    if gone == "folder":
        folder.rename(staging / "old")
    else:
        (staging / "old").mkdir()
        (folder / "venv").rename(staging / "old" / "venv")
    (staging / "new").mkdir()
    (staging / "new" / "half").write_text("half")
    result = deploy(board, write_bundle(tmp_path / "2.tar.gz", "2"))
    assert (result.returncode, result.stderr) == (0, "")
    assert (folder / "venv" / "made").read_text() == made
    assert staged(board) == ["lock"]


@pytest.mark.parametrize("damaged", [False, True])
def test_a_copy_that_was_cut_off_goes_on(
    board: Board, small: Path, damaged: bool, rng: np.random.Generator
) -> None:
    content = small.read_bytes()
    half = int(rng.integers(1, len(content)))
    first = rng.bytes(half) if damaged else content[:half]
    part(board, small).write_bytes(first)
    (board.home / ".shiftadd-deploy" / "another.part").write_bytes(b"of another bundle")
    copied = count_copied(board)
    result = deploy(board, small)
    assert (result.returncode, result.stderr) == (0, "")
    rest = content[half:]
    assert copied.read_bytes() == (rest + content if damaged else rest)
    assert staged(board) == ["lock"]


def test_a_full_disk(board: Board, small: Path) -> None:
    """Seen before the copy; and one that fills up meanwhile."""
    header = "Filesystem 1024-blocks Used Available Capacity Mounted on"
    board.fake("df", f"echo '{header}'; echo '/dev/mmcblk0p1 14384136 14300000 20480 99% /'")
    assert_refused(deploy(board, small), "20 MiB free in .", "MiB are needed", "--folder")
    assert staged(board) == ["lock"]
    (board.fakes / "df").unlink()
    part(board, small).symlink_to("/dev/full")
    assert_refused(deploy(board, small), "No space left on device", "make room", "--folder")
    assert not (board.home / FOLDER).exists()
    part(board, small).unlink()
    assert deploy(board, small).returncode == 0


def test_another_folder(board: Board, small: Path) -> None:
    result = deploy(board, small, "--folder", "disk one/it's")
    assert (result.returncode, result.stderr) == (0, "")
    assert (board.home / "disk one" / "it's" / FOLDER / "venv").is_dir()
    (board.home / "file").touch()
    assert_refused(deploy(board, small, "--folder", "file/below"), "Not a directory")


def test_a_script_that_fails(board: Board, small: Path) -> None:
    board.give_gpu()
    hook = board.home / "install.sh"
    hook.write_text("echo 'error: no network' >&2; exit 2")
    result = deploy(board, small)
    log = reports(board) / "install.log"
    assert_refused(result, "install: exit code 2: error: no network;", str(log))
    assert log.read_text() == "this is install.sh\nerror: no network\n"
    assert calls(board) == ["install.sh "]
    hook.unlink()
    # The rest is tried all the same, and what was measured comes back.
    hook = board.home / "build_plugins.sh"
    hook.write_text("exit 7")
    result = deploy(board, small)
    assert_refused(result, "plugins: exit code 7: this is build_plugins.sh; all it", code=1)
    names = [call.split()[0] for call in calls(board)]
    assert names == ["install.sh", "build_plugins.sh", "check.py", "benchmark.sh"]
    assert (reports(board) / "reports" / "benchmark" / "times.json").is_file()
    hook.unlink()
    (board.home / "check-fails").touch()
    assert_refused(deploy(board, small), "check: exit code 1: without a word", code=1)


def test_reports_of_an_earlier_run_do_not_pass_for_new_ones(board: Board, small: Path) -> None:
    assert deploy(board, small).returncode == 0
    (board.home / "check-fails").touch()
    assert deploy(board, small).returncode == 1
    assert not (reports(board) / "reports" / "check.json").exists()
    assert (reports(board) / "reports" / "benchmark" / "times.json").exists()


def test_no_login(board: Board, small: Path) -> None:
    """Never a question without a terminal, and always a line that says what to do."""
    keys = board.folder / "keys"
    stranger = f"-oIdentityFile={keys / 'stranger'}"
    # ssh takes the first of several: the key that fits goes away.
    (keys / "authorized_keys").write_text((keys / "stranger.pub").read_text())
    assert_refused(deploy(board, small), "Permission denied", f"ssh-copy-id {board.login}")
    assert deploy(board, small, stranger).returncode == 0
    (keys / "known_hosts").write_text("")
    assert_refused(deploy(board, small), "host key is not known", f"`ssh {board.login}`")
    other = (keys / "user.pub").read_text().split()[:2]
    (keys / "known_hosts").write_text(f"[127.0.0.1]:{board.port} {' '.join(other)}\n")
    assert_refused(deploy(board, small), "host key has changed", f"`ssh {board.login}`")


def test_no_question_without_a_terminal(board: Board, small: Path) -> None:
    """A key with a passphrase, and a program that would ask for it in a window."""
    key, asked = board.folder / "keys" / "user", board.folder / "asked"
    change = ["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", str(key)]
    subprocess.run(change, check=True, timeout=60)
    board.fake("askpass", f"touch {asked}; echo secret")
    window = {"SSH_ASKPASS": str(board.fakes / "askpass"), "SSH_ASKPASS_REQUIRE": "force"}
    result = deploy(board, small, DISPLAY=":0", **window)
    assert_refused(result, "Permission denied", "no login")
    assert not asked.exists()


def test_a_board_that_is_not_there(board: Board, small: Path) -> None:
    options = ["--reports", str(board.folder / "reports")]

    def attempt(device: str, *more: str) -> Result:
        return subprocess.run(
            [sys.executable, "-m", "device_scripts.host.deploy", device, small, *options, *more],
            cwd=REPOSITORY, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
            env=environment(),
        )  # fmt: skip

    assert_refused(attempt("127.0.0.1", "--port=1"), "127.0.0.1: ", "refused", "no ssh server")
    assert_refused(attempt("nano@no-such-board.invalid"), "no-such-board", "check the name")
    spy = board.folder / "spy"
    assert_refused(attempt("", "--port=1"), "'' is no board: user@host is expected")
    result = subprocess.run(
        [sys.executable, "-m", "device_scripts.host.deploy", *options, "--",
         f"-oProxyCommand=touch {spy}", small],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=120, env=environment(),
    )  # fmt: skip
    assert_refused(result, "is no board: user@host is expected")
    assert not spy.exists()


def test_what_is_no_jetson(board: Board, small: Path) -> None:
    (board.system / "etc" / "nv_tegra_release").unlink()
    assert_refused(deploy(board, small), "aarch64 without /etc/nv_tegra_release", "not a Jetson")
    (board.system / "etc" / "nv_tegra_release").write_text(loopback.RELEASE)
    board.fake("uname", "echo x86_64")
    assert_refused(deploy(board, small), "a machine of type x86_64: not a Jetson")
    assert list(board.home.iterdir()) == []


def test_a_damaged_bundle_goes_nowhere(board: Board, small: Path) -> None:
    small.write_bytes(small.read_bytes()[:-100])
    assert_refused(deploy(board, small), "small.tar.gz: truncated or damaged", "`make bundle`")
    assert list(board.home.iterdir()) == []


@pytest.mark.parametrize("how", ["interrupted", "killed"])
def test_nothing_goes_on_alone_on_the_board(board: Board, small: Path, how: str) -> None:
    """Where the deployment ends, what it had started there ends too; and a second one repairs."""
    hook = board.home / "install.sh"
    hook.write_text('echo half > half; sleep 1000 & echo $! > ~/pid; wait "$!"')
    pid = board.home / "pid"
    process = started(board, small)
    wait_until(lambda: pid.exists() and pid.read_text() != "")
    if how == "interrupted":
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
        assert (process.returncode, stderr) == (130, "")
    else:
        process.kill()
        process.communicate(timeout=60)
    wait_until(lambda: not Path("/proc", pid.read_text().strip()).exists())
    hook.unlink()
    result = deploy(board, small)
    assert (result.returncode, result.stderr) == (0, "")


def test_one_deployment_at_a_time(board: Board, small: Path) -> None:
    hook = board.home / "install.sh"
    hook.write_text("touch ~/waiting; until test -e ~/go; do sleep 0.1; done")
    first = started(board, small)
    wait_until((board.home / "waiting").exists)
    assert_refused(deploy(board, small), "another deployment is at work there")
    (board.home / "go").touch()
    _, stderr = first.communicate(timeout=60)
    assert (first.returncode, stderr) == (0, "")


def test_a_password_can_be_typed_on_a_terminal(board: Board, small: Path) -> None:
    """As sudo asks for it: on the terminal, without the end of a line, and without an echo."""
    (board.home / "install.sh").write_text(
        'read -rsp "[sudo] password: " word < /dev/tty; echo; echo "$word" > ~/word'
    )
    arguments = command(board, small)
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(REPOSITORY)
        os.execvpe(arguments[0], arguments, environment(TERM="dumb"))
    seen = b""
    try:
        while chunk := os.read(terminal, 4096):
            seen += chunk
            if chunk.endswith(b"password: "):
                os.write(terminal, b"open sesame\n")
    except OSError:  # how a terminal on Linux says that its other side is closed
        pass
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, seen.decode()
    assert (board.home / "word").read_text() == "open sesame\n"
    assert b"sesame" not in seen
    assert b"reports  " in seen


def test_a_board_cannot_write_anywhere_else(
    board: Board, small: Path, rng: np.random.Generator
) -> None:
    name = str(rng.choice(["../evil", "reports/../../evil", "/reports/evil", "evil"]))
    assert deploy(board, small).returncode == 0
    before = sorted((reports(board) / "reports").rglob("*"))
    with tarfile.open(board.home / "evil.tar.gz", "w:gz") as packed:
        link = tarfile.TarInfo("reports/link")
        link.type, link.linkname = tarfile.SYMTYPE, str(board.folder)
        packed.addfile(link)
        entry = tarfile.TarInfo(name)
        entry.size = 4
        packed.addfile(entry, io.BytesIO(b"evil"))
    board.fake("tar", 'cat "$HOME/evil.tar.gz"')
    assert_refused(deploy(board, small), "cannot unpack its reports", repr(name))
    assert sorted((reports(board) / "reports").rglob("*")) == before
    assert not list((board.folder / "reports").rglob("*evil*"))
    assert not list(reports(board).glob(".reports-*"))


@pytest.mark.parametrize("kind", ["packed", "unpacked", "many"])
def test_what_a_board_sends_is_bounded(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    class Sender(Connection):
        def _ssh(self, options: object, script: str, *arguments: str) -> list[str]:
            return ["cat", str(tmp_path / "sent.tar.gz")]

    monkeypatch.setattr(board_module, "_LARGEST_REPORTS", 100_000)
    monkeypatch.setattr(board_module, "_MOST_REPORTS", 10)
    size = {"packed": 200_000, "unpacked": 200_000, "many": 1}[kind]
    content = rng.bytes(size) if kind == "packed" else bytes(size)
    with tarfile.open(tmp_path / "sent.tar.gz", "w:gz") as packed:
        for i in range(11 if kind == "many" else 1):
            entry = tarfile.TarInfo(f"reports/{i}")
            entry.size = size
            packed.addfile(entry, io.BytesIO(content))
    target = tmp_path / "reports"
    board = board_module.Board(Sender("nano", []), ".")
    with pytest.raises(DeployError, match=r"^nano: .*more than .*: remove old ones"):
        board.fetch_reports(Manifest("small", "1", {}), target)
    assert not target.exists()


def test_a_board_with_an_old_tensorrt_runs_on_the_cpu(board: Board, tmp_path: Path) -> None:
    problem = 'tensorrt_problem() { echo "TensorRT 8.0.1 is too old"; }'
    bundle = write_bundle(tmp_path / "old.tar.gz", more={"device_scripts/lib/board.sh": problem})
    board.give_gpu()
    result = deploy(board, bundle)
    assert (result.returncode, result.stderr) == (0, "")
    assert "gpu      TensorRT 8.0.1 is too old: the CPU only" in result.stdout
    assert not any(call.startswith("build_") for call in calls(board))


def test_the_shipped_bundle(
    board: Board, bundle: Path, operator_library: Path, tmp_path: Path
) -> None:
    """With its own scripts, Python 3.6 for the board's, and the board's packages."""
    python = find_python36()
    if python is None:
        pytest.skip("no Python 3.6 is installed: the Jetson Nano's version is not deployed to")
    board.fake("python3", f'exec {python} "$@"')
    wheels()
    settings = {"NO_INDEX": "1", "FIND_LINKS": str(REPOSITORY / "build" / "wheels36")}
    for name, value in {**settings, "CONFIG_FILE": "/dev/null"}.items():
        board.variable(f"PIP_{name}", value)
    packed = for_this_machine(bundle, operator_library, tmp_path / "bundle.tar.gz")
    result = deploy(board, packed, "--runs", "3")
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    assert "L4T 32.7.1" in (reports(board) / "install.log").read_text()
    report = json.loads((reports(board) / "reports" / "check.json").read_text())
    assert report["python"].startswith("3.6.")
    assert [(m["precision"], m["passed"]) for m in report["models"]] == [
        ("int8", True),
        ("fp32", True),
    ]
    times = reports(board) / "reports" / "benchmark" / "benchmark.json"
    assert json.loads(times.read_text())
    assert f"{MODEL}.int8.onnx: int8, passed: the host's bytes for 6 of 6 inputs" in result.stdout
    # Again: nothing is left to install.
    result = deploy(board, packed, "--runs", "3")
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    assert "installing" not in result.stdout


def test_make_deploy_asks_for_the_device() -> None:
    own = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    result = subprocess.run(
        ["make", "-C", REPOSITORY, "deploy"], capture_output=True, text=True, env=own, timeout=60
    )
    assert result.returncode == 2
    assert re.match(r"set DEVICE=user@host", result.stderr)
    assert result.stdout.count("\n") <= 2  # make's own


def test_no_ssh_client(tmp_path: Path, small: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "device_scripts.host.deploy", "nano@127.0.0.1", small,
         "--reports", tmp_path / "reports"],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=60,
        env={**environment(), "PATH": str(tmp_path)},
    )  # fmt: skip
    assert_refused(result, "no ssh on this machine", "openssh-client")
    assert shutil.which("ssh")
