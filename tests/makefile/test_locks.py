"""Two `make` in one checkout: one works, the other waits and says so."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from device_scripts.host.commands.locks import locked
from device_scripts.host.commands.problems import RefusedError
from tests.support.checkout import make_checkout

_WAITING = "waiting for another make in this checkout"


def test_two_makes_do_not_build_at_once(tmp_path: Path) -> None:
    """The stand-in for CMake fails where it meets another one in its build folder."""
    checkout = make_checkout(tmp_path, build_seconds=2.0)
    both = [checkout.start("plugins"), checkout.start("plugins")]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum(_WAITING in text for text in said) == 1
    building = [words for words in checkout.programs("cmake") if words[1] == "--build"]
    assert len([words for words in building if words[-1] != "-n"]) == 1


def test_two_makes_do_not_set_up_at_once(tmp_path: Path) -> None:
    checkout = make_checkout(tmp_path)
    (checkout.folder / ".venv" / ".ready").unlink()
    # `python -m venv` is the real one; what it would install is left out by a stand-in of pip.
    site = checkout.folder.parent / "site"
    (site / "venv").mkdir(parents=True)
    (site / "venv" / "__init__.py").write_text("")
    (site / "venv" / "__main__.py").write_text(
        "import os, sys, time\n"
        "mark = os.open(sys.argv[1] + '.busy', os.O_CREAT | os.O_EXCL)\n"
        "time.sleep(2)\n"
        "os.unlink(sys.argv[1] + '.busy')\n"
    )
    os.environ["PYTHONPATH"] = str(site)
    try:
        both = [checkout.start("setup"), checkout.start("setup")]
        said = [process.communicate(timeout=60)[0] for process in both]
    finally:
        del os.environ["PYTHONPATH"]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum("making .venv" in text for text in said) == 1
    assert sum(_WAITING in text for text in said) == 1
    assert len(checkout.runs_of("-m", "pip")) == 1


def test_a_lock_is_held_and_given_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    order = []

    def second() -> None:
        with locked(str(tmp_path), "a"):
            order.append("second")

    with locked(str(tmp_path), "a"), locked(str(tmp_path), "b"):
        other = threading.Thread(target=second)
        other.start()
        other.join(0.5)
        order.append("first")
    other.join(30)
    assert order == ["first", "second"]
    assert capsys.readouterr().out == f"{_WAITING} (a)\n"


def test_a_lock_whose_file_was_removed_is_taken_anew(tmp_path: Path) -> None:
    """`rm -rf build` while somebody waits: two files, of which only the one in place counts."""
    path = tmp_path / "a.lock"
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        taken = threading.Event()
        released = threading.Event()

        def wait() -> None:
            with locked(str(tmp_path), "a") as descriptor:
                assert os.path.samestat(os.fstat(descriptor), path.stat())
                taken.set()
                released.wait(30)

        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not taken.wait(0.5)
        path.unlink()
    assert taken.wait(30)
    with path.open("w") as again, pytest.raises(BlockingIOError):
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    released.set()
    waiting.join(30)


def test_where_no_lock_can_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(RefusedError, match="cannot be locked: Not a directory"),
        locked(str(tmp_path / "file" / "x"), "a"),
    ):
        raise AssertionError("it was locked")


def test_clean_removes_what_was_built_and_keeps_locks(tmp_path: Path) -> None:
    checkout = make_checkout(tmp_path)
    assert checkout.make("plugins").returncode == 0
    (checkout.folder / "build" / "link").symlink_to(tmp_path)
    assert checkout.make("clean").returncode == 0
    assert [path.name for path in (checkout.folder / "build").iterdir()] == ["locks"]
    assert (checkout.folder / ".venv" / "bin" / "python").is_file()
    assert tmp_path.is_dir()
