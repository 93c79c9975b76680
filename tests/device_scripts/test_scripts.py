"""The board's shell scripts, run for real on a stand-in for a Jetson Nano."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.board.standin import MODEL, RELEASE, REPOSITORY, StandIn, pins
from tests.support.commands import assert_refused
from tests.support.engines import variables as tensorrt_variables
from tests.support.standins.modules import OLD

SCRIPTS = sorted((REPOSITORY / "device_scripts").glob("*.sh"))
SOURCED = sorted(
    [*(REPOSITORY / "device_scripts/lib").glob("*.sh"),
     *(REPOSITORY / "device_scripts/boards").glob("*/*.sh")]
)  # fmt: skip
FAKES = sorted((REPOSITORY / "tests" / "support" / "board").glob("*bin/*"))
NAMES = {"install", "build_plugins", "build_engine", "infer", "benchmark", "doctor"}
BUILD_FAKES = REPOSITORY / "tests" / "support" / "board" / "build_bin"

Result = subprocess.CompletedProcess[str]


@pytest.fixture
def board(tmp_path: Path, bundle_models: Path, operator_library: Path) -> StandIn:
    """A board with an unpacked bundle, on which nothing was installed."""
    board = StandIn(tmp_path)
    board.unpack(bundle_models, operator_library)
    return board


@pytest.fixture(scope="session")
def installed(
    tmp_path_factory: pytest.TempPathFactory, bundle_models: Path, operator_library: Path
) -> tuple[StandIn, Result]:
    """A board with CUDA on which install.sh has run, and what it said. Not to be changed."""
    board = StandIn(tmp_path_factory.mktemp("installed"))
    board.unpack(bundle_models, operator_library)
    board.index()
    board.give_gpu()
    # TensorRT's module is one of the system's, as the Python of the stand-in is.
    return board, board.run("install.sh", PYTHONPATH=str(_tensorrt(board)))


def _tensorrt(board: StandIn) -> Path:
    folder = board.folder / "dist-packages"
    folder.mkdir(exist_ok=True)
    (folder / "tensorrt.py").touch()
    return folder


def _said(result: Result) -> str:
    return result.stdout + result.stderr


def _path(*folders: Path | str) -> str:
    return ":".join(map(str, folders))


def test_the_scripts_are_all_there() -> None:
    assert {script.stem for script in SCRIPTS} == NAMES


@pytest.mark.parametrize("file", [*SCRIPTS, *SOURCED, *FAKES], ids=lambda file: file.name)
def test_shellcheck_is_content(file: Path) -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    checked = subprocess.run(
        [shellcheck, "-x", file.relative_to(REPOSITORY)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert (checked.returncode, checked.stdout) == (0, "")
    assert subprocess.run(["bash", "-n", file]).returncode == 0
    assert os.access(file, os.X_OK) == (file not in SOURCED)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_help_is_the_head_of_the_script(script: Path) -> None:
    told = subprocess.run([script, "--help"], capture_output=True, text=True, check=True).stdout
    assert f"device_scripts/{script.name}" in told
    assert "Exit codes:" in told
    assert "#" not in told
    assert "set -" not in told


@pytest.mark.parametrize("script", ["install.sh", "build_plugins.sh", "doctor.sh", "benchmark.sh"])
def test_an_unknown_option_is_refused(board: StandIn, script: str) -> None:
    assert_refused(board.run(script, "--fast"), "--fast")


# --- install.sh -------------------------------------------------------------------------------


def test_installs_everything(installed: tuple[StandIn, Result]) -> None:
    board, result = installed
    assert (result.returncode, result.stderr) == (0, "")
    wanted = pins("cpu") + pins("gpu")
    assert (board.root / ".installed").read_text().split("\n") == [
        "L4T 32.7.1", "Python 3.6", *wanted, "",
    ]  # fmt: skip
    frozen = subprocess.run(
        [board.root / "venv" / "bin" / "python", "-m", "pip", "list", "--format=freeze"],
        env=board.environment(), capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert set(wanted + pins("tools")) <= {line.replace("_", "-") for line in frozen}
    assert board.done() == []  # nothing of the system was missing


def test_programs_of_ones_own_get_openblas_core_type(installed: tuple[StandIn, Result]) -> None:
    board, _ = installed
    environment = board.environment()
    assert "OPENBLAS_CORETYPE" not in environment
    ask = "import os, numpy; print(os.environ['OPENBLAS_CORETYPE'], numpy.__version__)"
    python = board.root / "venv" / "bin" / "python"
    answer = subprocess.run(
        [python, "-c", ask], env=environment, capture_output=True, text=True, check=True
    )
    assert answer.stdout.split() == ["ARMV8", "1.19.5"]


def test_a_second_run_changes_nothing(installed: tuple[StandIn, Result]) -> None:
    board, _ = installed
    before = board.listing()
    again = board.run("install.sh", PYTHONPATH=str(_tensorrt(board)))
    assert (again.returncode, again.stderr) == (0, "")
    assert "installing" not in again.stdout
    assert "making" not in again.stdout
    assert again.stdout.count("ok: ") >= 9
    after = board.listing()
    written = {Path(path).name for path, status in after.items() if before.get(path) != status}
    assert written <= {board.root.name, ".installed", "install.log"}
    assert before.keys() == after.keys()


def test_a_dry_run_changes_nothing(board: StandIn) -> None:
    board.give_gpu()
    board.write("proc/meminfo", "MemTotal: 2000000 kB\nMemAvailable: 900000 kB\nSwapFree: 0 kB\n")
    before = board.listing()
    result = board.run("install.sh", "--dry-run", STANDIN_FREE_MIB="9000")
    assert (result.returncode, result.stderr) == (0, "")
    commands = [line for line in result.stdout.splitlines() if line.startswith("+ ")]
    venv = board.root / "venv"
    assert f"+ python3 -m venv --system-site-packages {venv}" in commands
    for group in ("tools", "cpu", "gpu"):
        assert any(
            line.endswith(" ".join(pins(group))) and "pip install" in line for line in commands
        )
    assert any("mkswap" in line for line in commands)
    assert board.listing() == before
    assert board.done() == []


@pytest.mark.parametrize("release", ["6.1", "7.6"])
def test_every_jetpack_4_6_is_taken(board: StandIn, release: str) -> None:
    board.write("etc/nv_tegra_release", RELEASE.format(release))
    result = board.run("install.sh", "--dry-run")
    jetpack = {"6.1": "4.6", "7.6": "4.6.6"}[release]
    assert result.returncode == 0
    assert f"L4T 32.{release} (JetPack {jetpack})" in result.stdout


def _orin(board: StandIn) -> None:
    text = RELEASE.format("3.0").replace("R32", "R36").replace("t210ref", "generic")
    board.write("etc/nv_tegra_release", text)


def _old(board: StandIn) -> None:
    board.write("etc/nv_tegra_release", RELEASE.format("4.4"))


def _no_jetson(board: StandIn) -> None:
    (board.system / "etc" / "nv_tegra_release").unlink()


def _damaged(board: StandIn) -> None:
    library = board.root / "libshiftadd_ort.so"
    content = bytearray(library.read_bytes())
    content[len(content) // 2] ^= 1
    library.write_bytes(content)


def _truncated(board: StandIn) -> None:
    (board.root / "models" / f"{MODEL}.onnx").unlink()


def _without_sums(board: StandIn) -> None:
    (board.root / "SHA256SUMS").unlink()


@pytest.mark.parametrize(
    ("spoil", "parts"),
    [
        (_orin, ("L4T 36.3.0 (JetPack 6)", "JetPack 4.6", "--any-jetpack")),
        (_old, ("L4T 32.4.4 (JetPack 4)", "JetPack 4.6")),
        (_no_jetson, ("nv_tegra_release", "JetPack 4.6")),
        (_damaged, ("libshiftadd_ort.so is damaged or missing", "unpack")),
        (_truncated, (f"models/{MODEL}.onnx is damaged or missing", "unpack")),
        (_without_sums, ("SHA256SUMS is missing", "unpack")),
    ],
)
def test_what_does_not_fit_stops_before_anything_is_done(
    board: StandIn, spoil: Callable[[StandIn], None], parts: tuple[str, ...]
) -> None:
    spoil(board)
    before = board.listing()
    result = board.run("install.sh")
    assert_refused(result, *parts)
    assert board.listing() == before


@pytest.mark.parametrize(
    ("variables", "parts"),
    [
        ({"STANDIN_MACHINE": "x86_64"}, ("x86_64", "on the Jetson")),
        ({"STANDIN_FREE_MIB": "120"}, ("120 MiB are free", "400 are needed")),
        ({"STANDIN_PYTHON": "/usr/bin/false"}, ("python3",)),
        ({"SUDO_USER": "nano"}, ("run it as nano, without sudo",)),
    ],
)
def test_an_unfit_machine_stops_before_anything_is_done(
    board: StandIn, variables: dict[str, str], parts: tuple[str, ...]
) -> None:
    before = board.listing()
    assert_refused(board.run("install.sh", **variables), *parts)
    assert board.listing() == before


def test_another_jetpack_is_tried_where_it_is_asked_for(board: StandIn, tmp_path: Path) -> None:
    _orin(board)
    python = tmp_path / "python310"
    # Orin's: all that a dry run asks of it.
    python.write_text('#!/bin/sh\ncase "$2" in *format*) echo 3.10 ;; esac\n')
    python.chmod(0o755)
    result = board.run("install.sh", "--dry-run", "--any-jetpack", STANDIN_PYTHON=str(python))
    assert result.returncode == 0, result.stderr
    assert result.stderr == "warning: L4T 36.3.0 was never tried\n"
    assert "onnxruntime==1.16.3" in result.stdout
    assert "OPENBLAS_CORETYPE" not in result.stdout


def test_without_a_network_it_stops_and_goes_on_later(board: StandIn) -> None:
    """And a package that is damaged afterwards, or was installed by half, is installed anew."""
    offline = {
        "PIP_NO_INDEX": "0",
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_FIND_LINKS": str(board.folder),
    }
    stopped = board.run("install.sh", **offline)
    assert_refused(stopped, "installing pip==21.3.1", "package index cannot be reached", "network")
    assert not (board.root / ".installed").exists()
    board.index()
    _interrupt(board, "numpy/core")
    assert not (board.root / ".installed").exists()
    result = board.run("install.sh")
    assert (result.returncode, result.stderr) == (0, "")
    assert f"ok: {board.root}/venv" in result.stdout
    assert "installing " in result.stdout
    site = board.root / "venv" / "lib" / "python3.6" / "site-packages"
    (site / "PIL" / "Image.py").unlink()
    with (site / "flatbuffers" / "number_types.py").open("a") as file:
        file.write("#")
    repaired = board.run("install.sh")
    assert (repaired.returncode, repaired.stderr) == (0, "")
    assert "half installed, and now anew: Pillow==8.4.0 flatbuffers==2.0.7" in repaired.stdout
    assert "installing Pillow==8.4.0 flatbuffers==2.0.7" in repaired.stdout
    assert (site / "PIL" / "Image.py").is_file()


@pytest.mark.parametrize(
    ("said", "parts"),
    [
        ("OSError: [Errno 28] No space left on device", ("the disk is full",)),
        ("g++: fatal error: Killed signal terminated program cc1plus", ("memory ran out", "--yes")),
        ("ERROR: something else\nmore of it", ("ERROR: something else", "install.log")),
    ],
)
def test_why_a_command_failed_is_told(
    board: StandIn, tmp_path: Path, said: str, parts: tuple[str, ...]
) -> None:
    """A Python whose venv fails as it does on a board that lacks something."""
    python = tmp_path / "python36"
    real = board.environment()["STANDIN_PYTHON"]
    python.write_text(
        f'#!/bin/bash\n[[ $2 != venv ]] && exec {real} "$@"\nmkdir -p "${{@: -1}}"\n'
        f"echo '{said}' >&2; exit 1\n"
    )
    python.chmod(0o755)
    result = board.run("install.sh", STANDIN_PYTHON=str(python))
    assert_refused(result, f"making {board.root}/venv", *parts)
    assert not (board.root / ".installed").exists()


def test_interrupted_while_the_environment_is_made(board: StandIn) -> None:
    board.index()
    _interrupt(board, "pip")
    venv = board.root / "venv"
    assert not (venv / "bin" / "pip3").exists()  # which would have come last
    result = board.run("install.sh", "--dry-run")
    assert result.returncode == 0
    assert f"+ rm -rf {venv}" in result.stdout


def _interrupt(board: StandIn, moment: str) -> None:
    """Ends install.sh with SIGTERM as soon as `moment` is in the environment's site-packages."""
    path = board.root / "venv" / "lib" / "python3.6" / "site-packages" / moment
    process = subprocess.Popen(
        board.command("install.sh"), env=board.environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    while not path.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143
    assert stderr == "error: interrupted; run it again to go on\n"
    assert _processes_of(board) == []


def _processes_of(board: StandIn) -> list[str]:
    """The commands at work in the board's folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(board.root) in command:
            found.append(command)
    return found


def test_only_one_installs_at_a_time(board: StandIn) -> None:
    with subprocess.Popen(["flock", "--no-fork", board.root, "sleep", "60"]) as holder:
        while subprocess.run(["flock", "-n", board.root, "true"]).returncode == 0:
            time.sleep(0.01)
        assert_refused(board.run("install.sh", "--dry-run"), "another install.sh")
        holder.kill()


def test_apt_installs_what_the_system_lacks(board: StandIn, tmp_path: Path) -> None:
    python = tmp_path / "python36"
    python.write_text(
        '#!/bin/sh\ncase "$2" in *ensurepip*) exit 1 ;; *include*) echo /nowhere ;;'
        " *format*) echo 3.6 ;; esac\n"
    )
    python.chmod(0o755)
    board.give_gpu()
    result = board.run("install.sh", STANDIN_PYTHON=str(python), STANDIN_APT="fails")
    assert result.returncode == 2
    assert "apt-get failed" in result.stderr.splitlines()[-1]
    assert "sudo apt-get install python3-venv python3-dev" in result.stderr
    asked = [line for line in board.done() if line.startswith("apt-get install")]
    assert asked == ["apt-get install -q -y --no-install-recommends python3-venv python3-dev"]


def _without_venv(tmp_path: Path) -> Path:
    """A Python that lacks its module venv, as Ubuntu's does until apt brings it."""
    python = tmp_path / "python36"
    python.write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1 ;; *format*) echo 3.6 ;; esac\n')
    python.chmod(0o755)
    return python


@pytest.mark.parametrize("busy", [1, 3])
def test_a_locked_apt_is_waited_for(board: StandIn, tmp_path: Path, busy: int) -> None:
    script = (
        f"source {board.root}/device_scripts/install.sh --dry-run >/dev/null; "
        "dry_run= apt_pause_s=0; system_packages"
    )
    python = _without_venv(tmp_path)
    variables = board.environment(STANDIN_PYTHON=str(python), STANDIN_APT=f"locked:{busy}")
    result = subprocess.run(
        ["bash", "-c", script], env=variables, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert "apt is locked, as after a start: waiting for it, up to 10 minutes" in result.stdout
    asked = [line for line in board.done() if line.startswith("apt-get")]
    assert asked.count("apt-get update -q") == busy + 1
    assert asked[-1] == "apt-get install -q -y --no-install-recommends python3-venv"


def test_an_apt_that_stays_locked_is_told(board: StandIn, tmp_path: Path) -> None:
    script = (
        f"source {board.root}/device_scripts/install.sh --dry-run >/dev/null; "
        "dry_run= apt_wait_s=0; system_packages"
    )
    variables = board.environment(
        STANDIN_PYTHON=str(_without_venv(tmp_path)), STANDIN_APT="locked:9"
    )
    result = subprocess.run(
        ["bash", "-c", script], env=variables, capture_output=True, text=True, timeout=60
    )
    assert_refused(result, "apt-get failed", "sudo apt-get install python3-venv")
    assert "Could not get lock" in result.stdout


@pytest.mark.parametrize("asks", [False, True])
def test_a_sudo_that_cannot_ask_is_told(board: StandIn, tmp_path: Path, asks: bool) -> None:
    """As with `make deploy` from a script, which gives the board no terminal."""
    user = tmp_path / "id"
    user.write_text("#!/bin/sh\necho 1000\n")
    user.chmod(0o755)
    script = (
        f"source {board.root}/device_scripts/install.sh --dry-run >/dev/null; dry_run=;"
        "as_root apt-get install x"
    )
    variables = board.environment(STANDIN_SUDO="asks" if asks else "")
    result = subprocess.run(
        ["bash", "-c", script],
        env={**variables, "PATH": _path(tmp_path, variables["PATH"])},
        capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    if asks:
        assert_refused(result, "sudo asks for a password", "no terminal", "in a terminal")
        assert board.done() == []
    else:
        assert (result.returncode, result.stderr) == (0, "")
        assert board.done() == ["sudo true", "sudo apt-get install x", "apt-get install x"]


@pytest.mark.parametrize("version", [(8, 0, 1), (7, 1, 3), (8, 1, 9)])
def test_an_older_tensorrt_is_told_and_left_out(
    board: StandIn, version: tuple[int, int, int]
) -> None:
    """JetPack 4.6 on L4T 32.6.1 has 8.0.1."""
    board.give_gpu(version)
    found = "TensorRT {}.{}.{} is older than 8.2".format(*version)
    installed = board.run("install.sh", "--dry-run")
    assert installed.returncode == 0
    assert installed.stderr.startswith(f"warning: {found}, which JetPack 4.6.1 (L4T 32.7.1) is")
    assert installed.stderr.count("\n") == 1
    assert "pycuda" not in installed.stdout
    assert_refused(_plugins(board), found, "update JetPack")
    examined = board.run("doctor.sh")
    assert f"wrong    TensorRT         {found}" in examined.stdout
    assert "update JetPack" in examined.stdout


@pytest.mark.parametrize("version", [(8, 2, 0), (8, 10, 0), (10, 0, 1)])
def test_a_newer_tensorrt_is_taken(board: StandIn, version: tuple[int, int, int]) -> None:
    board.give_gpu(version)
    installed = board.run("install.sh", "--dry-run")
    assert (installed.returncode, installed.stderr) == (0, "")
    assert "pycuda" in installed.stdout
    assert "ok       TensorRT         {}.{}.{}".format(*version) in board.run("doctor.sh").stdout


# Less memory than compilers need: a Nano with 2 GB.
_SHORT = "MemTotal:  2027000 kB\nMemAvailable:  900000 kB\nSwapTotal: 0 kB\nSwapFree:  0 kB\n"


def test_swap_is_made_where_memory_is_short_and_it_was_agreed(
    installed: tuple[StandIn, Result],
) -> None:
    board, _ = installed
    memory = board.system / "proc" / "meminfo"
    before = memory.read_text()
    swap = board.root / "build.swap"
    variables = {"PYTHONPATH": str(_tensorrt(board)), "STANDIN_FREE_MIB": "9000"}
    try:
        memory.write_text(_SHORT)
        refused = board.run("install.sh", **variables)
        assert refused.returncode == 0
        assert "memory is short for building" in refused.stderr
        assert board.done() == []
        assert_refused(
            board.run("install.sh", "--yes", **{**variables, "STANDIN_FREE_MIB": "4500"}),
            "no room for 4096 MiB of swap",
        )
        made = board.run("install.sh", "--yes", **variables)
        assert (made.returncode, made.stderr) == (0, "")
        assert f"sudo swapoff {swap}; sudo rm {swap}" in made.stdout
        assert [line for line in board.done() if not line.startswith("sudo")] == [
            f"fallocate -l 4096M {swap}", f"chown root {swap}", f"mkswap {swap}", f"swapon {swap}",
        ]  # fmt: skip
        assert swap.stat().st_mode & 0o777 == 0o600
        again = board.run("install.sh", "--yes", **variables)
        assert "swap" not in _said(again)
    finally:
        memory.write_text(before)
        board.log.write_text("")
        swap.unlink(missing_ok=True)


def test_swap_is_asked_for_on_a_terminal(board: StandIn) -> None:
    """`n` is a no; nothing is made."""
    board.give_gpu()
    board.write("proc/meminfo", _SHORT)
    script = (
        f"source {board.root}/device_scripts/install.sh --dry-run >/dev/null; dry_run=; make_swap"
    )
    terminal, side = pty.openpty()
    with subprocess.Popen(
        ["bash", "-c", script], env=board.environment(STANDIN_FREE_MIB="9000"), stdin=side,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        os.write(terminal, b"n\n")
        _, stderr = process.communicate(timeout=60)
    os.close(terminal)
    os.close(side)
    assert "Make 4096 MiB of swap" in stderr
    assert "one compiler at a time" in stderr
    assert board.done() == []


# --- build_plugins.sh -------------------------------------------------------------------------


def _plugins(board: StandIn, *arguments: str, **variables: str) -> Result:
    library = str(board.root / "libshiftadd_ort.so")
    path = _path(BUILD_FAKES, board.environment()["PATH"])
    return board.run(
        "build_plugins.sh", *arguments, PATH=path, STANDIN_LIBRARY=library, **variables
    )


def test_plugins_are_built_for_the_boards_gpu(board: StandIn) -> None:
    board.give_gpu()
    result = _plugins(board)
    assert (result.returncode, result.stderr) == (0, "")
    library = board.root / "libshiftadd_tensorrt.so"
    assert f"wrote {library}" in result.stdout
    assert library.read_bytes() == (board.root / "libshiftadd_ort.so").read_bytes()
    configured, built = board.done()
    assert configured.split()[1] == str(board.root / "plugins")
    assert "-DSHIFTADD_CUDA_ARCHS=53" in configured.split()
    processors = len(os.sched_getaffinity(0))  # as nproc counts, and not the machine's own
    assert built == f"cmake --build . -- -j{min(2, processors)}"  # 2.6 GiB are enough for two
    again = _plugins(board, "--jobs", "1")
    assert "is up to date" in again.stdout
    assert board.done()[-1] == "cmake --build . -- -j1"


def test_one_compiler_at_a_time_where_memory_is_short(board: StandIn) -> None:
    board.give_gpu()
    board.write("proc/meminfo", _SHORT)
    assert _plugins(board).returncode == 0
    assert board.done()[-1] == "cmake --build . -- -j1"


@pytest.mark.parametrize(
    ("trouble", "parts"),
    [
        ("misconfigured", ("CMake", "libnvinfer.so not found", "build.log")),
        ("killed", ("memory ran out", "install.sh --yes", "--jobs 1")),
    ],
)
def test_a_build_that_fails_leaves_the_old_plugins(
    board: StandIn, trouble: str, parts: tuple[str, ...]
) -> None:
    board.give_gpu()
    library = board.root / "libshiftadd_tensorrt.so"
    library.write_text("old")
    assert_refused(_plugins(board, STANDIN_CMAKE=trouble), *parts)
    assert library.read_text() == "old"
    assert _plugins(board).returncode == 0
    assert library.read_text(errors="ignore") != "old"


def test_what_the_build_needs_is_named(board: StandIn, tmp_path: Path) -> None:
    assert_refused(_plugins(board), "no nvcc", "nvidia-jetpack")
    board.give_gpu()
    bare = _tools(tmp_path / "bin", without=("cmake",))
    assert_refused(
        board.run("build_plugins.sh", PATH=str(bare)), "no cmake: sudo apt-get install cmake"
    )
    (board.system / "usr/include/aarch64-linux-gnu/NvInferRuntime.h").unlink()
    assert_refused(_plugins(board), "NvInferRuntime.h", "libnvinfer-dev")


def _tools(folder: Path, without: tuple[str, ...] = ()) -> Path:
    """A folder with some of this system's programs, and no others."""
    folder.mkdir()
    for name in (
        "bash",
        "basename",
        "dirname",
        "env",
        "sed",
        "awk",
        "nproc",
        "make",
        "g++",
        "tr",
        "head",
    ):
        if name not in without:
            (folder / name).symlink_to(f"/usr/bin/{name}")
    (folder / "uname").symlink_to(REPOSITORY / "tests" / "support" / "board" / "bin" / "uname")
    return folder


# --- build_engine.sh, infer.sh ----------------------------------------------------------------


def _with_tensorrt(board: StandIn, library: Path, **gpu: object) -> dict[str, str]:
    """The stand-ins of TensorRT and PyCUDA, in this Python, as the board's."""
    python = board.root / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return tensorrt_variables(board.folder, OLD, library, gpu)


def test_an_engine_is_built_and_used(board: StandIn, operator_library: Path) -> None:
    board.give_gpu()
    variables = _with_tensorrt(board, operator_library)
    assert_refused(board.run("infer.sh", "--gpu", "x.png", **variables), "build_engine.sh")
    assert_refused(board.run("build_engine.sh", **variables), "build_plugins.sh")
    assert _plugins(board).returncode == 0
    result = board.run("build_engine.sh", **variables)
    assert (result.returncode, result.stderr) == (0, "")
    assert {path.name for path in (board.root / "engines").glob("*.engine")} == {
        f"{MODEL}.fp16.engine"
    }
    told = board.run("infer.sh", "--gpu", board.root / "images" / "chelsea.png", **variables)
    assert (told.returncode, told.stderr) == (0, "")
    assert "cat" in told.stdout
    assert_refused(board.run("build_engine.sh", "--precision", "int8", **variables), "int8")


def test_int8_takes_the_bundles_calibration_cache(board: StandIn, operator_library: Path) -> None:
    board.give_gpu()
    xavier = {"name": "Xavier", "compute_capability": [7, 2], "fast_int8": True}
    variables = _with_tensorrt(board, operator_library, **xavier)
    assert _plugins(board).returncode == 0
    # The stand-in knows no tensors but these.
    cache = board.root / "models" / f"{MODEL}.int8.cache"
    cache.write_text("TRT-8201-EntropyCalibration2\ninput: 3c010a14\nlogits: 3d010a14\n")
    result = board.run("build_engine.sh", "--precision", "int8", **variables)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"int8 scales of 2 tensors from {cache}" in result.stdout
    assert (board.root / "engines" / f"{MODEL}.int8.engine").is_file()


def test_a_photo_is_named(installed: tuple[StandIn, Result]) -> None:
    board, _ = installed
    photo = board.root / "images" / "chelsea.png"
    answers = {}
    ways: dict[str, list[str]] = {
        "int8": [], "float": ["--float"], "named": [f"{board.root}/models/{MODEL}.onnx"],
    }  # fmt: skip
    for name, options in ways.items():
        result = board.run("infer.sh", *options, photo, "--json")
        assert (result.returncode, result.stderr) == (0, "")
        answer = json.loads(result.stdout)
        answers[name] = answer["predictions"]
        assert answers[name][0]["label"] == "cat"
    assert answers["float"] == answers["named"] != answers["int8"]
    integer = board.root / "models" / f"{MODEL}.int8.onnx"
    aside = integer.rename(integer.with_suffix(".aside"))
    try:
        without = board.run("infer.sh", photo, "--json")
    finally:
        aside.rename(integer)
    assert (without.returncode, without.stderr) == (0, "")
    assert json.loads(without.stdout)["predictions"] == answers["float"]
    assert_refused(board.run("infer.sh", "--gpu", photo), "no engine", "build_engine.sh")
    assert_refused(board.run("infer.sh"), "IMAGE")


# --- doctor.sh --------------------------------------------------------------------------------


def test_the_doctor_is_content(installed: tuple[StandIn, Result]) -> None:
    board, _ = installed
    result = board.run("doctor.sh", PYTHONPATH=str(_tensorrt(board)))
    assert (result.returncode, result.stderr) == (0, "")
    cpu, gpu = result.stdout.split("For the GPU\n")
    assert "missing" not in cpu
    assert "wrong" not in cpu
    for part in (
        "NVIDIA Jetson Nano",
        "32.7.1 (JetPack 4.6.1)",
        "1.10.0",
        "MAXN",
        "int8.onnx runs",
    ):
        assert part in cpu
    lines = {line[9:25].strip(): line.split()[0] for line in gpu.splitlines() if line[:1].strip()}
    assert lines["CUDA"] == lines["TensorRT"] == lines["pycuda"] == lines["PyCUDA"] == "ok"
    assert lines["plugins"] == lines["engines"] == "missing"
    assert "10.2" in gpu
    assert "8.2.1" in gpu


def test_the_doctor_names_what_is_missing(board: StandIn) -> None:
    _damaged(board)
    board.write("etc/nv_tegra_release", RELEASE.format("4.4"))
    result = board.run("doctor.sh", STANDIN_POWER_MODE="5W", STANDIN_FREE_MIB="3")
    assert (result.returncode, result.stderr) == (1, "")
    for part in (
        "-> device_scripts/install.sh", "libshiftadd_ort.so is damaged or missing", "32.4.4",
        "3 MiB free", "5W; the fastest: sudo nvpmodel -m 0",
    ):  # fmt: skip
        assert part in result.stdout


def test_the_doctor_needs_no_commands(board: StandIn, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("bash", "env", "dirname", "basename"):
        (bare / name).symlink_to(f"/usr/bin/{name}")
    result = board.run("doctor.sh", PATH=str(bare))
    assert result.returncode == 1
    assert "to repair for the CPU" in result.stdout
    assert "For the GPU" in result.stdout


def test_the_doctor_looks_into_packages(installed: tuple[StandIn, Result]) -> None:
    board, _ = installed
    broken = board.root / "venv/lib/python3.6/site-packages/onnxruntime/capi/_pybind_state.py"
    text = broken.read_bytes()
    try:
        broken.unlink()
        result = board.run("doctor.sh")
    finally:
        broken.write_bytes(text)
    assert result.returncode == 1
    assert "damaged onnxruntime/capi/_pybind_state.py" in result.stdout
