"""device_scripts/host/commands/readable.py: what `make` asks of DATA before it compiles."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from device_scripts.host.commands import readable
from tests.support.commands import assert_refused, in_process


def test_images_are_there_or_not(tmp_path: Path, rng: np.random.Generator) -> None:
    flat, labelled, empty = (tmp_path / name for name in ("flat", "labelled", "empty"))
    for folder in (flat, labelled / "cat", empty / "cat"):
        folder.mkdir(parents=True)
    image = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
    for folder in (flat, labelled / "cat"):
        image.save(folder / "1.png")
    with zipfile.ZipFile(tmp_path / "labelled.zip", "w") as archive:
        archive.write(flat / "1.png", "cat/1.png")
    (tmp_path / "damaged.zip").write_bytes(b"PK")
    for data in (labelled, tmp_path / "labelled.zip"):
        assert readable.main(["--classes", "--", str(data)]) == 0
    assert readable.main(["--", str(flat)]) == 0
    assert_refused(in_process(readable.main, "--classes", "--", flat), f"{flat}: ", "class")
    for data in (empty, tmp_path / "damaged.zip", tmp_path / "none"):
        assert_refused(in_process(readable.main, "--", data), f"{data}: ")
