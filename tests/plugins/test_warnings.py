"""A user's compiler may warn; continuous integration's may not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.models.runtime import REPOSITORY

CMAKE = Path(sys.executable).with_name("cmake")


@pytest.mark.parametrize("wanted", ["", "1"])
def test_a_warning_is_an_error_where_it_is_wanted(tmp_path: Path, wanted: str) -> None:
    subprocess.run(
        [CMAKE, "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON", f"-DONNXRUNTIME_INCLUDE_DIR={tmp_path}",
         REPOSITORY / "plugins"],
        cwd=tmp_path, env={**os.environ, "SHIFTADD_WERROR": wanted}, check=True, timeout=60,
        capture_output=True,
    )  # fmt: skip
    compiled = json.loads((tmp_path / "compile_commands.json").read_text())
    assert len(compiled) > 20
    for entry in compiled:
        assert "-Wall -Wextra" in entry["command"]
        assert (" -Werror" in entry["command"]) == bool(wanted)
