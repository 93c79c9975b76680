"""OpenCV 4.1.1, as JetPack 4.6 has it, for the cached Python 3.6: in a folder of its own.

The runtime has to do without it, so it is on the path of only those tests that are about it.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.toolchains.python36 import ENVIRONMENT, venv36

FOLDER = ENVIRONMENT.with_name("py36-opencv")
WHEEL = "opencv-python-headless==4.1.1.26"


def folder() -> Path:
    """The folder to put on PYTHONPATH, made on first use.

    Raises RuntimeError and CalledProcessError as venv36 does. Safe to call from several processes.
    """
    python = venv36()
    stamp = FOLDER / ".complete"
    with FOLDER.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.is_file() or stamp.read_text() != WHEEL:
            shutil.rmtree(FOLDER, ignore_errors=True)
            command = [str(python), "-m", "pip", "install", "--quiet", "--no-deps"]
            command += ["--only-binary=:all:", "--target", str(FOLDER), WHEEL]
            subprocess.run(command, check=True, stdout=sys.stderr, timeout=600)
            stamp.write_text(WHEEL)
    return FOLDER
