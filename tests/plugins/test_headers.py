"""The search for ONNX Runtime's headers: its order, apt sources of another suite, clear errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from plugins.onnxruntime import fetch_headers

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "plugins" / "onnxruntime" / "fetch_headers.py"

ONE_LINE = """\
# deb [signed-by=/k.gpg] mirror:/list bookworm main
deb [signed-by=/k.gpg] mirror:/list bookworm main contrib
deb mirror:/list bookworm-updates main
deb-src mirror:/list bookworm main
deb mirror:/vendor vendor-bookworm main
"""
DEB822 = """\
Types: deb
URIs: mirror:/bookworm/list
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/bookworm.gpg

Types: deb
URIs: mirror:/security
Suites: bookworm-security
Components: main

Types: deb
URIs: mirror:/vendor
Suites: nodistro
Components: main
"""


def write_header(folder: Path, version: int) -> Path:
    folder.mkdir(parents=True)
    (folder / fetch_headers.HEADER).write_text(f"#define ORT_API_VERSION {version}\n")
    return folder


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_one_line_sources() -> None:
    assert fetch_headers.replace_suite(ONE_LINE).splitlines() == [
        "deb [signed-by=/k.gpg] mirror:/list trixie main contrib",
        "deb mirror:/list trixie-updates main",
    ]


def test_deb822_sources() -> None:
    replaced = fetch_headers.replace_suite(DEB822)
    assert "Suites: trixie trixie-updates" in replaced
    assert "Suites: trixie-security" in replaced
    assert "nodistro" not in replaced
    # Only the suite: a mirror or a key may carry the name too.
    assert "URIs: mirror:/bookworm/list" in replaced
    assert "keyrings/bookworm.gpg" in replaced


def test_a_newer_suite_is_kept() -> None:
    current = DEB822.replace("bookworm", "trixie")
    assert "Suites: trixie trixie-updates" in fetch_headers.replace_suite(current)


def test_foreign_sources_leave_nothing() -> None:
    assert not fetch_headers.replace_suite("deb mirror:/vendor stable main\n").strip()


def test_the_variable_wins(tmp_path: Path) -> None:
    folder = write_header(tmp_path / "include", 21)
    answer = run(tmp_path / "unused", ONNXRUNTIME_INCLUDE_DIR=str(folder))
    assert (answer.returncode, answer.stdout.strip()) == (0, str(folder))


@pytest.mark.parametrize("version", [10, 16])
def test_old_headers_are_refused(tmp_path: Path, version: int) -> None:
    folder = write_header(tmp_path / "include", version)
    answer = run(tmp_path / "unused", ONNXRUNTIME_INCLUDE_DIR=str(folder))
    assert answer.returncode == 2
    assert f"API version 17 or newer, got version {version} in {folder}" in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_an_earlier_run_is_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONNXRUNTIME_INCLUDE_DIR", raising=False)
    monkeypatch.setattr(fetch_headers, "SYSTEM_FOLDERS", ())
    folder = write_header(tmp_path / "usr" / "include" / "onnxruntime", 21)
    assert fetch_headers.find_headers(tmp_path) == folder


def test_a_machine_without_apt_is_told_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ONNXRUNTIME_INCLUDE_DIR", raising=False)
    monkeypatch.setattr(fetch_headers, "SYSTEM_FOLDERS", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    assert fetch_headers.main([str(tmp_path / "headers")]) == 2
    error = capsys.readouterr().err
    assert "apt-get not found" in error
    assert "set ONNXRUNTIME_INCLUDE_DIR to the folder of onnxruntime_c_api.h" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "headers").exists()


def test_a_folder_of_something_else_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ONNXRUNTIME_INCLUDE_DIR", raising=False)
    monkeypatch.setattr(fetch_headers, "SYSTEM_FOLDERS", ())
    write_header(tmp_path / "usr" / "include" / "onnxruntime", 12)
    (tmp_path / "precious").write_text("mine")
    assert fetch_headers.main([str(tmp_path)]) == 2
    assert f"{tmp_path} is there and holds something else" in capsys.readouterr().err
    assert (tmp_path / "precious").read_text() == "mine"
