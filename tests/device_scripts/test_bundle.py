"""`make bundle`: what the archive holds, that it is always the same, and that damage is told."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from calibration import table
from calibration.comparison.inputs import sample_patches
from device_scripts.host.bundle import __main__ as command
from device_scripts.host.bundle import archive
from device_scripts.host.bundle.archive import BundleError
from export.checkpoint import load_model
from export.models import MODELS
from export.validation.reference import Reference as Network
from runtime.core import reference
from runtime.core.errors import ShiftAddError
from tests.support.commands import WRITTEN_MEANWHILE, environment
from tests.support.models.bundles import FOLDER, MODEL, NAME, for_this_machine, make, unpack
from tests.support.models.runtime import REPOSITORY
from tests.support.toolchains.cpp_programs import jetson_nano_library
from tests.support.toolchains.python36 import find_python36, venv36

CONTENTS = {"a.txt": b"one\n", "folder/b.sh": b"#!/bin/sh\n", "folder/deep/c": bytes(range(256))}
COPIED = ("calibration", "device_scripts", "docs", "export", "plugins", "runtime")


def members(path: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(path) as packed:
        return {member.name: member for member in packed}


def test_the_layout(bundle: Path, tmp_path: Path) -> None:
    folder = unpack(bundle, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FOLDER]
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    scripts = ("install", "build_plugins", "build_engine", "infer", "benchmark", "doctor")
    assert files >= {
        *("libshiftadd_ort.so", "manifest.json", "SHA256SUMS", "docs/jetson-nano.md"),
        *("runtime/__init__.py", "runtime/infer.py", "runtime/check.py", "images/chelsea.png"),
        *("plugins/CMakeLists.txt", "plugins/cmake/tensorrt.cmake"),
        *(f"models/{MODEL}{ending}" for ending in (".onnx", ".int8.onnx", ".int8.cache")),
        *(f"device_scripts/{name}.sh" for name in scripts),
        f"reference/{MODEL}.npz",
    }
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "runtime"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert {name for name in files if name.startswith("runtime/")} == set(tracked)
    tops = {name.split("/")[0] for name in files if "/" in name}
    assert tops == {
        *("device_scripts", "docs", "images", "models", "plugins", "reference", "runtime"),
    }
    # Nothing of the host: no Python but the device's, no caches, no other kernels.
    python = {name for name in files if name.endswith((".py", ".pyc"))}
    assert {name.partition("/")[0] for name in python} == {"runtime", "device_scripts"}
    folders = {name.rpartition("/")[0] for name in python if name.startswith("device_scripts")}
    assert folders == {"device_scripts/board"}
    assert not [name for name in files if "kernels/cpu" in name or "/." in name or "test" in name]
    for name in (f"models/{MODEL}.onnx", "libshiftadd_ort.so"):
        assert (folder / name).stat().st_mode & 0o777 == 0o644
    for script in (folder / "device_scripts").glob("*.sh"):
        assert script.stat().st_mode & 0o777 == 0o755


def test_the_manifest_and_the_sums(bundle: Path, bundle_models: Path, tmp_path: Path) -> None:
    folder = unpack(bundle, tmp_path)
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=folder, check=True, timeout=60)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["format"], manifest["model"]) == (1, MODEL)
    project = (REPOSITORY / "pyproject.toml").read_text()
    assert f'\nversion = "{manifest["version"]}"\n' in project
    beside = {"manifest.json", "SHA256SUMS"}
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(manifest["files"]) == files - beside
    for name, entry in manifest["files"].items():
        content = (folder / name).read_bytes()
        assert entry == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    summed = {line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    assert summed == files - {"SHA256SUMS"}
    model = folder / "models" / f"{MODEL}.onnx"
    assert model.read_bytes() == (bundle_models / model.name).read_bytes()
    assert (folder / "libshiftadd_ort.so").read_bytes() == jetson_nano_library().read_bytes()


def test_the_reference_is_pytorchs(bundle: Path, bundle_models: Path, tmp_path: Path) -> None:
    """And the integer model's bytes are those of the host's ONNX Runtime."""
    found = reference.read(str(unpack(bundle, tmp_path) / "reference" / f"{MODEL}.npz"))
    network, sha256 = load_model(MODEL)
    assert (found.model, found.checkpoint_sha256) == (MODEL, sha256)
    _, exact = Network(network, MODELS[MODEL].input_size).logits(found.images)
    np.testing.assert_allclose(found.logits, exact, rtol=1e-6, atol=1e-6)
    kinds = [name.split()[0] for name in found.names.tolist()]
    assert kinds == ["photograph"] * 4 + ["noise"] * 2
    int8 = bundle_models / f"{MODEL}.int8.onnx"
    assert found.int8_sha256 == hashlib.sha256(int8.read_bytes()).hexdigest()
    assert 0 < np.abs(found.int8_logits - exact).max() < 10
    assert len(np.unique(found.images, axis=0)) == len(found.images)


def test_the_bytes_are_the_same_elsewhere(
    bundle: Path, bundle_models: Path, operator_library: Path, tmp_path: Path
) -> None:
    """In another checkout, with another umask, other times, another language and another clock."""
    checkout = tmp_path / "another" / "place"
    for name in COPIED:
        shutil.copytree(REPOSITORY / name, checkout / name, ignore=WRITTEN_MEANWHILE)
    shutil.copy(REPOSITORY / "pyproject.toml", checkout)
    models = tmp_path / "models"
    shutil.copytree(bundle_models, models)
    junk = ("runtime/__pycache__/x.py", "runtime/.#infer.py", "plugins/tensorrt/.blob.cpp.swp")
    for name in junk:
        (checkout / name).parent.mkdir(exist_ok=True)
        (checkout / name).write_text("junk")
    rng = np.random.default_rng()
    for path in [*checkout.rglob("*"), *models.rglob("*")]:
        moment = int(rng.integers(1, 2_000_000_000))
        path.chmod(0o777 if path.is_dir() else 0o666)
        os.utime(path, (moment, moment))
    arguments = ["--models", str(models), "--library", str(jetson_nano_library())]
    arguments += ["--out", str(tmp_path / "out"), "--host-library", str(operator_library)]
    variables = environment(TZ="Asia/Tokyo", LC_ALL="C", PYTHONHASHSEED="7", OMP_NUM_THREADS="3")
    done = subprocess.run(
        [sys.executable, "-m", "device_scripts.host.bundle", MODEL, *arguments],
        cwd=checkout, env=variables, umask=0o077, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out" / NAME).read_bytes() == bundle.read_bytes()


@pytest.mark.slow
def test_the_library_tells_nothing_of_where_it_was_built() -> None:
    """Two builds in two folders are the same then: no paths, and no number drawn for the build."""
    library = jetson_nano_library()
    content = library.read_bytes()
    places = (str(REPOSITORY), str(Path.home()), str(Path(sys.prefix).resolve()))
    assert not [place for place in places if len(place) > 1 and place.encode() in content]
    sections = subprocess.run(
        ["readelf", "-SW", library], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert ".text" in sections
    assert not re.search(r"\.(debug|symtab|comment\.date|note\.gnu\.build-id)", sections)


def test_headers_hold_no_time_and_no_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bundle.tar.gz"
    archive.write(path, "small", "1.2", CONTENTS)
    content = path.read_bytes()
    assert content[3] == 0  # gzip: no name, no comment
    assert content[4:8] == bytes(4)  # no time
    entries = members(path)
    assert list(entries) == sorted(entries)
    assert {(e.uid, e.gid, e.uname, e.gname) for e in entries.values()} == {(0, 0, "", "")}
    assert len({entry.mtime for entry in entries.values()}) == 1
    modes = {name.partition("/")[2]: entry.mode for name, entry in entries.items()}
    assert (modes["folder"], modes["folder/b.sh"], modes["a.txt"]) == (0o755, 0o755, 0o644)
    time.sleep(1.1)  # another second on the clock
    archive.write(tmp_path / "again.tar.gz", "small", "1.2", dict(reversed(CONTENTS.items())))
    assert (tmp_path / "again.tar.gz").read_bytes() == content
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    archive.write(path, "small", "1.2", CONTENTS)
    assert {entry.mtime for entry in members(path).values()} == {1_700_000_000}
    for wrong in ("yesterday", "-1", "1" * 12, "१२"):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", wrong)
        with pytest.raises(BundleError, match="SOURCE_DATE_EPOCH is"):
            archive.write(path, "small", "1.2", CONTENTS)


def test_a_damaged_or_half_archive_is_told(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "bundle.tar.gz"
    archive.write(path, "small", "1.2", {**CONTENTS, "noise": rng.bytes(5000)})
    manifest = archive.verify(path)
    assert (manifest.model, manifest.version, manifest.folder) == ("small", "1.2", "shiftadd-small")
    content = path.read_bytes()
    for _ in range(100):
        damaged = bytearray(content)
        # A whole byte, since some single bits mean nothing: those behind the last block.
        damaged[rng.integers(10, len(content))] ^= 0xFF
        half = content[: rng.integers(len(content))]
        for wrong in (bytes(damaged), half):
            path.write_bytes(wrong)
            with pytest.raises(BundleError, match=r"bundle\.tar\.gz: truncated or damaged"):
                archive.verify(path)
    path.unlink()
    with pytest.raises(BundleError, match="no such bundle"):
        archive.verify(path)


def repacked(path: Path, name: str, change: bytes | None) -> None:
    """Packs the archive again, whole but with another content for a file, or without it."""
    with tarfile.open(path) as packed:
        entries = []
        for member in packed:
            file = packed.extractfile(member)
            entries.append((member, file.read() if file else b""))
    with tarfile.open(path, "w:gz") as packed:
        for member, content in entries:
            if member.name.endswith("/" + name):
                if change is None:
                    continue
                content, member.size = change, len(change)
            packed.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.txt", b"two\n", "a.txt is not what SHA256SUMS has"),
        ("a.txt", None, "a.txt is not what SHA256SUMS has"),
        ("manifest.json", b'{"format": 1, "model": "m", "version": "1", "files": {}}', "manifest"),
        ("manifest.json", b'{"format": 2}', "a bundle of format 2, not 1"),
        ("manifest.json", b"[]", "no manifest.json or SHA256SUMS that fit"),
        ("SHA256SUMS", b"half a li", "no manifest.json or SHA256SUMS that fit"),
        ("SHA256SUMS", None, "no manifest.json or SHA256SUMS that fit"),
    ],
)
def test_an_archive_that_is_not_what_it_says(
    tmp_path: Path, name: str, content: bytes | None, why: str
) -> None:
    path = tmp_path / "bundle.tar.gz"
    archive.write(path, "small", "1.2", CONTENTS)
    repacked(path, name, content)
    with pytest.raises(BundleError, match=re.escape(why)):
        archive.verify(path)


def renamed(path: Path, change: Callable[[tarfile.TarInfo], None]) -> None:
    """Packs the archive again, with other headers."""
    with tarfile.open(path) as packed:
        entries = [(member, packed.extractfile(member)) for member in packed]
        with tarfile.open(path.with_suffix(".new"), "w:gz") as target:
            for member, content in entries:
                change(member)
                target.addfile(member, content if member.isfile() else None)
    path.with_suffix(".new").replace(path)


@pytest.mark.parametrize(
    "name",
    ["../.ssh/authorized_keys", "/etc/passwd", "other/a.txt", "shiftadd-small/../../x", "x",
     "shiftadd-small//a.txt", "./shiftadd-small/a.txt"],
)  # fmt: skip
def test_a_member_outside_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "bundle.tar.gz"
    archive.write(path, "small", "1.2", CONTENTS)

    def change(member: tarfile.TarInfo) -> None:
        if member.name.endswith("/a.txt"):
            member.name = name

    renamed(path, change)
    with pytest.raises(BundleError, match=r"outside of its folder|is no file of its folder"):
        archive.verify(path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_a_member_that_is_no_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "bundle.tar.gz"
    archive.write(path, "small", "1.2", CONTENTS)

    def change(member: tarfile.TarInfo) -> None:
        if member.name.endswith("/a.txt"):
            member.type, member.linkname, member.size = kind, "shiftadd-small/manifest.json", 0

    renamed(path, change)
    with pytest.raises(BundleError, match="is no file of its folder"):
        archive.verify(path)


@pytest.mark.parametrize("model", ["x/../.ssh", "..", ".ssh", "", "-rf", "a b", "x" * 101, "\n"])
def test_a_manifest_that_names_another_folder_is_refused(tmp_path: Path, model: str) -> None:
    """On the board the folder of this name takes the place of another."""
    path = tmp_path / "bundle.tar.gz"
    archive.write(path, "small", "1.2", CONTENTS)
    files = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        for name, content in CONTENTS.items()
    }
    manifest = {"format": 1, "model": model, "version": "1.2", "files": files}
    changed = json.dumps(manifest).encode()
    sums = [(hashlib.sha256(changed).hexdigest(), "manifest.json")]
    sums += [(hashlib.sha256(content).hexdigest(), name) for name, content in CONTENTS.items()]
    repacked(path, "manifest.json", changed)
    repacked(path, "SHA256SUMS", "".join(f"{digest}  {name}\n" for digest, name in sums).encode())
    with pytest.raises(BundleError, match="names the model"):
        archive.verify(path)


def test_nothing_half_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be read back takes nobody's place."""
    path = tmp_path / "bundle.tar.gz"
    archive.write(path, "small", "1.2", CONTENTS)
    before = path.read_bytes()
    compress = gzip.GzipFile.write
    monkeypatch.setattr(
        gzip.GzipFile, "write", lambda self, data: compress(self, bytes(data)[: len(data) // 2])
    )
    with pytest.raises(BundleError, match="truncated or damaged"):
        archive.write(path, "small", "1.3", CONTENTS)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def run(*arguments: str | Path) -> int:
    return command.main([str(argument) for argument in arguments])


def test_without_an_integer_model(
    bundle_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """None at all, and one that is of another float model: said in a line, and left out."""
    models = tmp_path / "models"
    models.mkdir()
    shutil.copy(bundle_models / f"{MODEL}.onnx", models)
    arguments = ("--models", models, "--library", jetson_nano_library(), "--out", tmp_path)
    assert run(MODEL, *arguments) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert "has no int8 model" in line
    assert f"`make calibrate MODEL={MODEL} DATA=" in line
    for name in (f"{MODEL}.int8.onnx", f"{MODEL}.int8.cache", f"{MODEL}.int8.json"):
        shutil.copy(bundle_models / name, models)
    entries = json.loads((models / f"{MODEL}.int8.json").read_text())
    assert table.read(models / f"{MODEL}.int8.json", entries["model_sha256"])
    text = json.dumps({**entries, "model_sha256": "0" * 64})
    (models / f"{MODEL}.int8.json").write_text(text)
    assert run(MODEL, *arguments) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert "has no int8 model" in line
    assert "of another model" in line
    packed = {name.split("/", 1)[1] for name in members(tmp_path / NAME) if "/" in name}
    assert {name for name in packed if name.startswith("models/")} == {f"models/{MODEL}.onnx"}
    found = reference.read(
        str(unpack(tmp_path / NAME, tmp_path / "out") / f"reference/{MODEL}.npz")
    )
    assert (found.int8_sha256, len(found.int8_logits)) == ("", 0)


def test_refusals(bundle_models: Path, operator_library: Path, tmp_path: Path) -> None:
    library = jetson_nano_library()
    with pytest.raises(ShiftAddError, match="unknown model 'resnet'; known models: "):
        run("resnet", "--out", tmp_path)
    common = ("--out", tmp_path, "--library", library, "--models")
    with pytest.raises(ShiftAddError, match=rf"No such file.*`make export MODEL={MODEL}`"):
        run(MODEL, *common, tmp_path)
    other = tmp_path / f"{MODEL}.onnx"
    shutil.copy(bundle_models / f"{MODEL}.onnx", tmp_path / "ghostnet.onnx")
    with pytest.raises(
        ShiftAddError, match=rf"is {MODEL} for the target jetson-nano, not ghostnet"
    ):
        run("ghostnet", *common, tmp_path)
    content = (bundle_models / f"{MODEL}.onnx").read_bytes()
    sha256 = re.search(rb"[0-9a-f]{64}", content)
    assert sha256 is not None
    other.write_bytes(content.replace(sha256[0], b"0" * 64))
    with pytest.raises(ShiftAddError, match="was exported from other weights than PyTorch has"):
        run(MODEL, *common, tmp_path)
    wrong = ("--out", tmp_path, "--models", bundle_models, "--library")
    with pytest.raises(
        BundleError,
        match="no library for the Jetson Nano: build it with `make",
    ):
        run(MODEL, *wrong, operator_library)
    with pytest.raises(BundleError, match=r"none\.so: No such file.*`make plugins BOARD=jetson"):
        run(MODEL, *wrong, tmp_path / "none.so")
    assert not (tmp_path / NAME).exists()


def make_bundle(models: Path, out: Path, *variables: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "-C", str(REPOSITORY), "bundle", f"MODEL={MODEL}", f"OUT={models}"]
    return subprocess.run(
        [*command, f"ARGS=--out {out}", *variables],
        capture_output=True, text=True, env=own, timeout=1500,
    )  # fmt: skip


def test_make_bundle(bundle: Path, bundle_models: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(bundle_models, models)
    for path in models.iterdir():
        path.touch()
    done = make_bundle(models, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"bundle  {tmp_path / NAME}" in done.stdout
    assert (tmp_path / NAME).read_bytes() == bundle.read_bytes()
    refused = make_bundle(models, tmp_path, "TARGET=portable")
    assert refused.returncode == 2
    assert refused.stderr.startswith("bundle: TARGET is jetson-nano, or left out; got portable\n")


def test_make_bundle_calibrates_where_it_has_data(bundle_models: Path, tmp_path: Path) -> None:
    """An integer model that is missing is made, and one that is there is taken as it is."""
    models, data = tmp_path / "models", tmp_path / "data"
    models.mkdir()
    data.mkdir()
    shutil.copy(bundle_models / f"{MODEL}.onnx", models)
    for i, patch in enumerate(sample_patches(5)):
        patch.save(data / f"{i}.png")
    done = make_bundle(models, tmp_path, f"DATA={data}", "METHOD=minmax")
    assert done.returncode == 0, done.stderr
    assert "by minmax over 5 images" in done.stdout
    assert f"shiftadd-{MODEL}/models/{MODEL}.int8.onnx" in members(tmp_path / NAME)
    first = (tmp_path / NAME).read_bytes()
    done = make_bundle(models, tmp_path, f"DATA={data}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "over 5 images" not in done.stdout
    assert (tmp_path / NAME).read_bytes() == first


def test_on_the_nanos_python(bundle: Path, operator_library: Path, tmp_path: Path) -> None:
    """All of its Python under CPython 3.6, and what it was made for in ONNX Runtime 1.10."""
    if find_python36() is None:
        pytest.skip("no Python 3.6 is installed: the Jetson Nano's version is not checked here")
    packed = for_this_machine(bundle, operator_library, tmp_path / "bundle.tar.gz")
    folder = unpack(packed, tmp_path / "board")
    python = venv36()
    compiles = (
        "import sys\n"
        "for path in sys.argv[1:]: compile(open(path, encoding='utf-8').read(), path, 'exec')"
    )
    files = sorted(folder.rglob("*.py"))
    assert len(files) > 20
    subprocess.run([python, "-W", "error", "-c", compiles, *files], check=True, timeout=60)

    def on_the_board(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(python), *arguments],
            cwd=folder, capture_output=True, text=True, timeout=120, env=environment(),
        )  # fmt: skip

    result = on_the_board("runtime/check.py")
    assert (result.returncode, result.stderr) == (0, "")
    integer, float32 = result.stdout.splitlines()
    assert integer == f"{MODEL}.int8.onnx: int8, passed: the host's bytes for 6 of 6 inputs"
    assert float32.startswith(f"{MODEL}.onnx: fp32, passed: ")
    assert (folder / "reports" / "check.json").is_file()
    for model in (f"models/{MODEL}.onnx", f"models/{MODEL}.int8.onnx"):
        result = on_the_board("runtime/infer.py", model, "images/chelsea.png", "--json")
        assert (result.returncode, result.stderr) == (0, "")
        assert json.loads(result.stdout)["predictions"][0]["label"] == "cat"


def test_a_second_bundle_is_made_of_what_is_there_then(
    bundle: Path, bundle_models: Path, operator_library: Path, tmp_path: Path
) -> None:
    """The same bytes for the same files is not the same bytes for others."""
    models = tmp_path / "models"
    shutil.copytree(bundle_models, models)
    cache = models / f"{MODEL}.int8.cache"
    cache.write_bytes(cache.read_bytes() + b"\n")
    assert make(models, operator_library, tmp_path).read_bytes() != bundle.read_bytes()
