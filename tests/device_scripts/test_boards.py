"""A board is a folder: what the host and the scripts read of it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from device_scripts.host import boards
from runtime.core.errors import ShiftAddError

REPOSITORY = Path(__file__).resolve().parents[2]
_READ_BY_THE_SCRIPTS = """
source "$1/device_scripts/lib/packages.sh" && source "$1/device_scripts/lib/board.sh"
declare -F is_supported jetpack_of compute_capability pins >/dev/null || exit 3
printf '%s\\n' "$board_title" "$board_system" "$board_releases" "$board_multiarch"
echo $((disk_cpu_mib + disk_gpu_mib + disk_again_mib + build_memory_mib + swap_mib + compiler_mib))
"""


def facts(root: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """What scripts below `root` know of their board."""
    return subprocess.run(
        ["bash", "-euc", _READ_BY_THE_SCRIPTS, "bash", root],
        env={"PATH": "/usr/bin:/bin", **environment}, capture_output=True, text=True, timeout=30,
    )  # fmt: skip


@pytest.mark.parametrize("name", boards.names())
def test_a_board_has_everything(name: str) -> None:
    board = boards.find(name)
    assert board.toolchain.is_file()
    assert "ziglang" in board.cross_compiler()
    assert (REPOSITORY / board.page).is_file()
    told = facts(REPOSITORY, SHIFTADD_BOARD=name)
    assert (told.returncode, told.stderr) == (0, "")
    title, *others, sum_of_limits = told.stdout.splitlines()
    assert title == board.title
    assert all(others)
    assert int(sum_of_limits) > 0


def test_an_unknown_board_is_one_line() -> None:
    with pytest.raises(ShiftAddError) as raised:
        boards.find("x")
    assert str(raised.value) == f"no board 'x'; known boards: {', '.join(boards.names())}"
    told = facts(REPOSITORY, SHIFTADD_BOARD="x")
    assert told.returncode == 2
    assert told.stderr.count("\n") == 1
    assert "boards/x/facts.sh is missing" in told.stderr


COMPLETE = {"title": "Other Board", "elf_machine": 183, "page": "docs/other.md"}


@pytest.mark.parametrize(
    ("entries", "line"),
    [
        (None, "cannot be read: "),
        ("not JSON", "cannot be read: "),
        ([], "has to be a JSON object with title, elf_machine, page"),
        ({"title": "Other Board", "page": "docs/other.md"}, "the key 'elf_machine' is missing"),
        ({**COMPLETE, "colour": "green"}, "unknown key 'colour'; known keys: title, "),
        ({**COMPLETE, "elf_machine": "183"}, "'elf_machine' has to be of type int"),
    ],
)
def test_a_faulty_board_json_is_one_line_with_its_path(
    entries: object, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boards, "FOLDER", tmp_path)
    file = tmp_path / "other" / "board.json"
    file.parent.mkdir()
    if entries is not None:
        file.write_text(entries if isinstance(entries, str) else json.dumps(entries))
    with pytest.raises(ShiftAddError) as raised:
        boards.find("other")
    assert str(raised.value).startswith(f"{file}: {line}")
    assert "\n" not in str(raised.value)


def test_a_folder_without_files_is_a_board_that_lacks_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the test of every board fails for it."""
    monkeypatch.setattr(boards, "FOLDER", tmp_path)
    (tmp_path / "empty").mkdir()
    assert boards.names() == ["empty"]


def test_a_bundle_knows_its_own_board(tmp_path: Path) -> None:
    """The next board is another folder, and its bundle has that folder alone."""
    shutil.copytree(REPOSITORY / "device_scripts/lib", tmp_path / "device_scripts/lib")
    other = tmp_path / "device_scripts/boards/other"
    other.mkdir(parents=True)
    of_nano = (REPOSITORY / "device_scripts/boards/jetson-nano/facts.sh").read_text()
    (other / "facts.sh").write_text(of_nano.replace("Jetson Nano", "Other Board"))
    told = facts(tmp_path)
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.splitlines()[0] == "Other Board"
