"""Bundles for the tests: the shipped network's, and the same with a library of this machine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from calibration import __main__ as calibrate
from calibration.comparison.inputs import sample_patches
from device_scripts.host.bundle import __main__ as bundle
from device_scripts.host.bundle import archive
from export import __main__ as export
from tests.support.toolchains.cpp_programs import jetson_nano_library

MODEL = "ghostshiftaddnet"
FOLDER = f"shiftadd-{MODEL}"
NAME = f"{MODEL}-jetson-nano.tar.gz"


def export_models(folder: Path, operator_library: Path) -> None:
    """The shipped network in `folder`, float and on 8-bit integers, from a few photographs."""
    assert export.main([MODEL, "--out", str(folder)]) == 0
    images = folder / "images"
    images.mkdir()
    for i, patch in enumerate(sample_patches(16)):
        patch.save(images / f"{i}.png")
    arguments = [folder / f"{MODEL}.onnx", "--data", images, "--library", operator_library]
    arguments += ["--out", folder / f"{MODEL}.int8.onnx"]
    assert calibrate.main(list(map(str, arguments))) == 0
    shutil.rmtree(images)


def make(models: Path, operator_library: Path, out: Path) -> Path:
    """The bundle of the models in the folder, as `make bundle` writes it."""
    arguments = [MODEL, "--models", models, "--library", jetson_nano_library()]
    arguments += ["--host-library", operator_library, "--out", out]
    assert bundle.main(list(map(str, arguments))) == 0
    return out / NAME


def unpack(path: Path, folder: Path) -> Path:
    """Unpacks a bundle as the device does; its folder."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["tar", "-xzf", path, "-C", folder], check=True, timeout=60)
    return folder / FOLDER


def for_this_machine(path: Path, operator_library: Path, out: Path) -> Path:
    """A bundle as `path`, with the library of this machine in place of the device's."""
    manifest = archive.verify(path)
    folder = unpack(path, out.parent / "unpacked")
    contents = {name: (folder / name).read_bytes() for name in manifest.files}
    contents["libshiftadd_ort.so"] = operator_library.read_bytes()
    archive.write(out, manifest.model, manifest.version, contents)
    shutil.rmtree(folder.parent)
    return out
