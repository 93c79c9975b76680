"""What the targets ask for, what they make first, and what they say where something is missing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from device_scripts.host.commands import programs, variables
from device_scripts.host.commands.libraries import known_boards
from device_scripts.host.commands.problems import FailedError
from tests.support.checkout import Checkout, make_checkout
from tests.support.models.runtime import REPOSITORY

MODEL = "build/models/ghostshiftaddnet.onnx"
_BOARDS = ", ".join(known_boards())


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """With what the tests name; the stand-ins do not read what is in it."""
    made = make_checkout(tmp_path)
    for name in ("a.png", "a.onnx", "b.onnx", "m.int8.onnx", "other.onnx", "w.pt", "a.txt"):
        (made.folder / name).touch()
    for name in ("d", "data"):
        (made.folder / name / "class").mkdir(parents=True)
    (made.folder / "empty").mkdir()
    return made


def refused(checkout: Checkout, *words: str, **environment: str) -> str:
    """The one line of ours on stderr; nothing was compiled."""
    done = checkout.make(*words, environment=environment)
    assert done.returncode == 2, done.stdout
    ours = [line for line in done.stderr.splitlines() if not line.startswith("make: ")]
    assert len(ours) == 1, done.stderr
    assert not [words for words in checkout.programs("cmake") if words[1] == "--build"]
    return ours[0]


def export_count(checkout: Checkout) -> int:
    return len(checkout.runs_of("-m", "export"))


@pytest.mark.parametrize("target", ["bundle", "deploy", "train", "finetune"])
def test_an_unknown_model_is_refused_before_anything_is_compiled(
    checkout: Checkout, target: str
) -> None:
    line = refused(checkout, target, "MODEL=unknown", "DATA=data", DEVICE="user@nano")
    assert line.startswith("unknown model 'unknown'; known models: ")


@pytest.mark.parametrize(
    "target", ["evaluate", "calibrate", "validate-int8", "bundle", "train", "finetune"]
)
def test_data_without_images_is_refused_before_anything_is_compiled(
    checkout: Checkout, target: str
) -> None:
    (checkout.folder / "noimages" / "class").mkdir(parents=True)
    assert refused(checkout, target, "DATA=noimages") == "noimages: no images in this directory"
    ((*options, _, data),) = checkout.runs_of("-m", "device_scripts.host.commands.readable")
    assert data == "noimages"
    # Only what is measured or trained needs to know the images' classes.
    assert options == (["--classes"] if target in ("evaluate", "train", "finetune") else [])


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["infer"], "set IMAGE=file-or-folder"),
        (["evaluate"], "set DATA=folder-or-zip"),
        (["calibrate"], "set DATA=folder-or-zip"),
        (["train"], "set DATA=folder-or-zip"),
        (["cifar10"], "set ARCHIVE=cifar-10-python.tar.gz"),
        (["cifar10", "ARCHIVE=no.tar.gz"], "ARCHIVE=no.tar.gz: no such file"),
        (["cifar10", "ARCHIVE=/dev/zero"], "ARCHIVE=/dev/zero: not a regular file"),
        (["infer", "IMAGE=/dev/zero"], "IMAGE=/dev/zero: not a regular file"),
        (["evaluate", "DATA=/dev/zero"], "DATA=/dev/zero: not a regular file"),
        (["calibrate", "DATA=/dev/zero"], "DATA=/dev/zero: not a regular file"),
        (["export", "CHECKPOINT=/dev/zero"], "CHECKPOINT=/dev/zero: not a regular file"),
        (["infer", "IMAGE=no.png"], "IMAGE=no.png: no such file or folder"),
        (["infer", "IMAGE=empty"], "IMAGE=empty: the folder is empty"),
        (["bench", "MODEL=unknown"], "unknown model 'unknown'"),
        (["evaluate", "DATA=no.zip"], "DATA=no.zip: no such file or folder"),
        (["calibrate", "DATA=no.zip"], "DATA=no.zip: no such file or folder"),
        (["train", "DATA=no.zip"], "DATA=no.zip: no such file or folder"),
        (["finetune", "DATA=no.zip"], "DATA=no.zip: no such file or folder"),
        (["bundle", "DATA=no.zip"], "DATA=no.zip: no such file or folder"),
        (["deploy", "DEVICE=u@h", "DATA=no.zip"], "DATA=no.zip: no such file or folder"),
        (["validate-int8", "DATA=no.zip"], "DATA=no.zip: no such file or folder"),
        (["validate", "INT8=1", "DATA=no.zip"], "DATA=no.zip: no such file or folder"),
        (["deploy"], "set DEVICE=user@host"),
        (["deploy", "DEVICE=@"], "DEVICE: '@' is no board"),
        (["deploy", "DEVICE=-oProxyCommand=x"], "DEVICE: '-oProxyCommand=x' is no board"),
        (["deploy", "DEVICE=nano@"], "DEVICE: 'nano@' is no board"),
        (["deploy", "DEVICE=a b"], "DEVICE: 'a b' is no board"),
        (["plugins", "BOARD=none"], f"BOARD=none: no such board; known boards: {_BOARDS}"),
        (["bundle", "BOARD=none"], "BOARD=none: no such board"),
        (["plugins", "TARGET=portable"], "plugins: TARGET is the form of an exported file"),
        (["export", "TARGET=none"], "TARGET is one of jetson-nano, portable, standard; got none"),
        (["bundle", "TARGET=portable"], "bundle: TARGET is jetson-nano, or left out; got portable"),
        (["infer", "IMAGE=a.png", "ARGS='"], "ARGS: no closing quotation"),
        (["export", "NAME=../x"], "NAME=../x: '../x' is no name for a file"),
        (["export", "MODEL=-m"], "MODEL=-m: '-m' is no name for a file"),
        (["validate", "INT8=1", "BACKEND=tensorrt"], "validate: INT8=1 compares in ONNX Runtime"),
        (["validate", "BACKEND=x"], "validate: BACKEND is one of onnxruntime, tensorrt; got x"),
        (["bench", "PYTHON=/no/python"], "bench: no /no/python: install Python 3.10 or newer"),
        (["engine", "ENGINE_PYTHON=/no/python"], "/no/python: no such Python"),
        (["plugins", "TARGET="], ""),
    ],
)  # fmt: skip
def test_what_is_refused(checkout: Checkout, words: list[str], line: str) -> None:
    if line:
        assert refused(checkout, *words).startswith(line)
        assert export_count(checkout) == 0
    else:
        assert checkout.make(*words).returncode == 0


def without_cuda(checkout: Checkout) -> dict[str, str]:
    """A PATH with what a shell needs, and a Python with nothing but the standard library."""
    tools = checkout.folder.parent / "tools"
    tools.mkdir()
    for tool in ("bash", "sh", "make", "awk", "env"):
        (tools / tool).symlink_to(f"/usr/bin/{tool}")
    return {"PATH": str(tools)}


@pytest.mark.parametrize("words", [["test-gpu"], ["bench-gpu"]])
def test_without_cuda_a_line_says_so(checkout: Checkout, words: list[str]) -> None:
    line = refused(checkout, *words, **without_cuda(checkout))
    assert line.startswith(f"{' '.join(words)}: no nvcc: install the CUDA toolkit")


@pytest.mark.parametrize("target", ["test-gpu", "bench-gpu"])
def test_without_a_gpu_a_line_says_so(checkout: Checkout, target: str) -> None:
    python = checkout.folder / ".venv" / "bin" / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    compiler = checkout.folder / ".venv" / "bin" / "nvcc"
    compiler.write_text("#!/bin/sh\n")
    compiler.chmod(0o755)
    line = refused(checkout, target)
    assert line == (
        f"{target}: PyTorch in .venv sees no NVIDIA GPU here (torch.cuda.is_available())"
    )


@pytest.mark.parametrize(("tool", "package"), [("qemu-aarch64", "qemu-user"), ("llvm-mca", "llvm")])
def test_without_the_emulator_a_line_says_so(checkout: Checkout, tool: str, package: str) -> None:
    variables = without_cuda(checkout)
    if tool == "llvm-mca":
        (Path(variables["PATH"]) / "qemu-aarch64").symlink_to("/bin/true")
    line = refused(checkout, "bench-a57", "MODELS=1", **variables)
    assert line == (
        f"bench-a57 MODELS=1: no {tool}; install it (Debian 12: apt-get install {package})"
    )


def test_without_tensorrt_a_line_says_so(checkout: Checkout) -> None:
    bare = checkout.folder.parent / "bare-python"
    bare.write_text("#!/bin/sh\nexit 1\n")
    bare.chmod(0o755)
    line = refused(checkout, "engine", f"ENGINE_PYTHON={bare}")
    assert line.startswith(f"engine: {bare} has no module tensorrt and no module pycuda")
    python = checkout.folder / ".venv" / "bin" / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    line = refused(checkout, "validate", "BACKEND=tensorrt")
    assert line.startswith(f"validate BACKEND=tensorrt: {python} has no module tensorrt")


def test_what_cmake_misses_is_one_line(checkout: Checkout) -> None:
    cmake = checkout.folder / ".venv" / "bin" / "cmake"
    cmake.write_text(
        "#!/bin/sh\ncat >&2 <<'END'\n"
        "CMake Error at cmake/tensorrt.cmake:11 (message):\n"
        "  NvInferRuntime.h not found: set\n"
        "  TENSORRT_ROOT\n"
        "\n"
        "Call Stack (most recent call first):\n"
        "  CMakeLists.txt:25 (include)\n"
        "END\nexit 1\n"
    )
    line = refused(checkout, "tensorrt-plugins")
    log = "build/cmake-tensorrt/configure.log"
    assert line == (
        "tensorrt-plugins: NvInferRuntime.h not found: set TENSORRT_ROOT; all that CMake said is "
        f"in {log}"
    )
    assert "Call Stack" in (checkout.folder / log).read_text()


def test_a_board_is_built_by_its_toolchain(checkout: Checkout) -> None:
    done = checkout.make("plugins", "BOARD=jetson-nano")
    assert (done.returncode, done.stderr) == (0, "")
    (configured,) = [words for words in checkout.programs("cmake") if "chdir" in words]
    toolchain = checkout.folder / "device_scripts/boards/jetson-nano/toolchain.cmake"
    assert f"-DCMAKE_TOOLCHAIN_FILE={toolchain}" in configured
    output = checkout.folder / "build/plugins/jetson-nano"
    assert f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={output}" in configured


def test_the_old_spelling_of_a_board_works_and_says_the_new_one(checkout: Checkout) -> None:
    done = checkout.make("plugins", "TARGET=jetson-nano")
    assert (done.returncode, done.stderr) == (0, "")
    assert "BOARD=jetson-nano" in done.stdout.splitlines()[0]
    assert (checkout.folder / "build/cmake-jetson-nano").is_dir()
    assert not (checkout.folder / "build/cmake").exists()


def test_a_deployment_brings_the_bundle_of_the_board(checkout: Checkout) -> None:
    done = checkout.make("deploy", "DEVICE=user@nano", "ARGS=--port 22", "DATA=d")
    assert (done.returncode, done.stderr) == (0, "")
    assert checkout.runs_of("-m", "device_scripts.host.bundle") == [
        ["ghostshiftaddnet", "--board=jetson-nano", "--models=build/models"]
    ]
    archive = "build/bundles/ghostshiftaddnet-jetson-nano.tar.gz"
    assert checkout.runs_of("-m", "device_scripts.host.deploy") == [
        ["user@nano", archive, "--port", "22"]
    ]
    assert len(checkout.runs_of("-m", "calibration")) == 1


def test_a_library_is_configured_again_only_for_another_compiler(checkout: Checkout) -> None:
    for environment in ({}, {}, {"CXX": "c++ -m64"}, {"CXX": "c++ -m64"}):
        assert checkout.make("plugins", environment=environment).returncode == 0
    configured = [words for words in checkout.programs("cmake") if "chdir" in words]
    assert len(configured) == 2


def test_the_model_is_exported_where_it_has_to_be(checkout: Checkout) -> None:
    infer = ("infer", "IMAGE=a.png")
    assert checkout.make(*infer).returncode == 0
    assert checkout.make(*infer).returncode == 0
    assert export_count(checkout) == 1
    source = checkout.folder / "export" / "source.py"
    os.utime(source, (time.time() + 5, time.time() + 5))
    assert checkout.make(*infer).returncode == 0
    assert export_count(checkout) == 2
    os.utime(source, (1, 1))
    for given, count in (
        ("LABELS=cifar10", 3), ("LABELS=cifar10", 3), ("LABELS=", 3), ("RESIZE=40", 4),
        ("TARGET=portable", 5), ("NAME=mine", 6), ("NAME=mine", 6), ("MODEL=f.py:net", 7),
        ("MODEL=f.py:net", 8), ("CHECKPOINT=w.pt", 9), ("CHECKPOINT=w.pt", 10),
    ):  # fmt: skip
        done = checkout.make(*infer, given)
        assert done.returncode == 0, done.stderr
        assert export_count(checkout) == count, given
    written = sorted(path.name for path in (checkout.folder / "build/models").glob("*.onnx"))
    assert written == [
        "ghostshiftaddnet.onnx", "ghostshiftaddnet.portable.onnx", "mine.onnx", "net.onnx",
    ]  # fmt: skip


@pytest.mark.parametrize("model", ["ghostshiftaddnet", "f.py:net"])
def test_a_target_leaves_the_model_what_it_was_exported_as(checkout: Checkout, model: str) -> None:
    """Without LABELS a comparison once replaced the file by one whose classes have no names."""
    given = {"CHECKPOINT": "w.pt", "LABELS": "a.txt", "MEAN": "0.5", "STD": "0.2", "RESIZE": "9"}
    words = [f"{name}={value}" for name, value in given.items()]
    assert checkout.make("export", f"MODEL={model}", *words).returncode == 0
    (first,) = checkout.runs_of("-m", "export")
    for target in ("validate", "infer", "evaluate", "calibrate", "validate-int8", "demo", "bundle"):
        checkout.forget()
        environment = {"DATA": "d", "IMAGE": "a.png"}
        done = checkout.make(target, f"MODEL={model}", environment=environment)
        assert (done.returncode, done.stderr) == (0, ""), target
        assert checkout.runs_of("-m", "export") == [first], target
        kept = "CHECKPOINT=w.pt LABELS=a.txt MEAN=0.5 RESIZE=9 STD=0.2"
        assert f"taken as it was exported, with {kept}; `make export` writes it" in done.stdout
        for module in ("export.validation", "device_scripts.host.bundle"):
            for run in checkout.runs_of("-m", module):
                assert "--checkpoint=w.pt" in run
    checkout.forget()
    assert checkout.make("infer", f"MODEL={model}", "IMAGE=a.png", "RESIZE=8").returncode == 0
    (changed,) = checkout.runs_of("-m", "export")
    assert set(changed) == {*first, "--resize=8"} - {"--resize=9"}
    assert checkout.make("export", f"MODEL={model}").returncode == 0
    assert not {"--labels=a.txt", "--mean=0.5"} & set(checkout.runs_of("-m", "export")[1])


def test_arguments_of_an_export_are_its_models(checkout: Checkout) -> None:
    assert checkout.make("export", "MODEL=f.py:net", "ARGS=--labels 'a b'").returncode == 0
    assert checkout.make("infer", "MODEL=f.py:net", "IMAGE=a.png", "ARGS=--json").returncode == 0
    again = checkout.runs_of("-m", "export")
    assert again[0] == again[1]
    assert again[1][-2:] == ["--labels", "a b"]
    # Another file's network of the same name is another network.
    assert checkout.make("infer", "MODEL=g.py:net", "IMAGE=a.png").returncode == 0
    assert "--labels" not in checkout.runs_of("-m", "export")[2]


def test_a_users_model_that_was_brought_stays(checkout: Checkout) -> None:
    brought = checkout.folder / "build/models/net.onnx"
    brought.parent.mkdir(parents=True)
    brought.touch()
    assert checkout.make("validate", "MODEL=f.py:net").returncode == 0
    assert export_count(checkout) == 0
    assert checkout.make("validate", "MODEL=f.py:net", "INPUT=3x8x8").returncode == 0
    assert export_count(checkout) == 1


@pytest.mark.parametrize(
    ("words", "model"),
    [
        (["export"], "nets/net.py"),
        (["infer", "IMAGE=a.png"], "net.onnx"),
        (["validate"], "net.py:"),
        (["validate"], "nets/net.py"),
        (["demo"], "a/best.pt"),
        (["bundle"], "nets/net"),
    ],
)
def test_a_file_that_is_no_network_is_explained(
    checkout: Checkout, words: list[str], model: str
) -> None:
    """What it says is known_model's; here it answers that the model is unknown."""
    python = checkout.folder / ".venv" / "bin" / "python"
    python.write_text('#!/bin/sh\necho "error: explained: $*" >&2\nexit 2\n')
    line = refused(checkout, *words, f"MODEL={model}")
    assert line.startswith("explained: -m device_scripts.host.commands.known_model")
    assert line.endswith(f"-- {model}")


def test_a_model_that_was_brought_or_named_is_taken_as_it_is(checkout: Checkout) -> None:
    brought = checkout.folder / MODEL
    brought.parent.mkdir(parents=True)
    brought.touch()
    assert checkout.make("infer", "IMAGE=a.png").returncode == 0
    assert checkout.make("infer", "IMAGE=a.png", "MODEL_FILE=other.onnx").returncode == 0
    assert export_count(checkout) == 0
    assert checkout.runs_of("runtime/infer.py") == [[MODEL, "a.png"], ["other.onnx", "a.png"]]


def test_an_export_that_was_cut_off_is_done_again(checkout: Checkout) -> None:
    assert checkout.make("export").returncode == 0
    python = checkout.folder / ".venv" / "bin" / "python"
    working = python.read_text()
    python.write_text("#!/bin/sh\nexit 3\n")
    assert checkout.make("export", "LABELS=a.txt").returncode == 2  # make's own, for any failure
    python.write_text(working)
    checkout.forget()
    assert checkout.make("infer", "IMAGE=a.png").returncode == 0
    assert export_count(checkout) == 1


def test_integer_validation_is_a_target_of_its_own(checkout: Checkout) -> None:
    integer = "build/models/ghostshiftaddnet.int8.onnx"
    assert checkout.make("validate-int8", "DATA=d").returncode == 0
    assert checkout.make("validate", "INT8=1", "DATA=d").returncode == 0
    assert checkout.make("validate-int8", "MODEL_FILE=m.int8.onnx").returncode == 0
    assert checkout.runs_of("-m", "calibration.validation") == [
        [integer, "--data=d"], [integer, "--data=d"], ["m.int8.onnx"],
    ]  # fmt: skip
    assert export_count(checkout) == 1


def test_variables_of_a_network_reach_the_export(checkout: Checkout) -> None:
    given = {
        "MODEL_ARGS": "width=0.5 num_classes=10", "INPUT": "3x32x32", "MEAN": "0.5,0.5,0.5",
        "STD": "1,1,1", "RESIZE": "40", "LABELS": "cifar10", "NAME": "mine", "OUT": "here",
        "MODEL": "nets/file.py:make_net", "TARGET": "standard", "FIXED_POINT": "keep",
    }  # fmt: skip
    done = checkout.make("export", *(f"{name}={value}" for name, value in given.items()))
    assert (done.returncode, done.stderr) == (0, "")
    ((model, *options),) = checkout.runs_of("-m", "export")
    assert model == "nets/file.py:make_net"
    assert set(options) == {
        "--model-args=width=0.5 num_classes=10", "--input=3x32x32", "--mean=0.5,0.5,0.5",
        "--std=1,1,1", "--resize=40", "--labels=cifar10", "--name=mine", "--out=here",
        "--target=standard", "--fixed-point=keep",
    }  # fmt: skip
    assert (checkout.folder / "here" / "mine.standard.onnx").is_file()


def test_two_files_are_compared_without_a_network(checkout: Checkout) -> None:
    assert checkout.make("validate", "MODEL_FILE=a.onnx", "REFERENCE=b.onnx").returncode == 0
    assert checkout.runs_of("-m", "export.validation") == [
        ["--model-file=a.onnx", "--reference=b.onnx"]
    ]
    assert export_count(checkout) == 0


def test_the_demo_knows_the_network(checkout: Checkout) -> None:
    given = ("MODEL=f.py:net", "NAME=mine", "MODEL_ARGS=a=1", "CHECKPOINT=w.pt", "INPUT=3x8x8")
    assert checkout.make("demo", *given).returncode == 0
    ((model, *options),) = checkout.runs_of("-m", "device_scripts.host.demo")
    assert model == "f.py:net"
    assert set(options) == {
        "--model-file=build/models/mine.onnx", "--name=mine", "--model-args=a=1",
        "--checkpoint=w.pt",
    }  # fmt: skip


def test_a_network_is_measured_where_one_is_named(checkout: Checkout) -> None:
    assert checkout.make("bench", "ARGS=--named").returncode == 0
    assert checkout.make("bench", "MODEL=f.py:net", "INPUT=3x8x8").returncode == 0
    assert checkout.runs_of("-m", "device_scripts.host.bench") == [
        ["--named"], ["f.py:net", "--input=3x8x8"],
    ]  # fmt: skip


def test_the_name_of_a_network_is_its_callables(checkout: Checkout) -> None:
    given = ("MODEL=torchvision.models:resnet18", "DATA=d")
    assert checkout.make("calibrate", *given).returncode == 0
    ((model, *options),) = checkout.runs_of("-m", "calibration")
    assert model == "build/models/resnet18.onnx"
    assert "--out=build/models/resnet18.int8.onnx" in options


def test_a_program_that_fails_ends_make(checkout: Checkout) -> None:
    cmake = checkout.folder / ".venv" / "bin" / "cmake"
    cmake.write_text("#!/bin/sh\ntest $1 != --build\n")
    done = checkout.make("infer", "IMAGE=a.png")
    assert done.returncode == 2
    assert not checkout.runs_of("runtime/infer.py")


def test_help_runs_nothing_and_lists_every_target(checkout: Checkout) -> None:
    done = checkout.make("help")
    assert (done.returncode, done.stderr) == (0, "")
    assert not checkout.programs()
    for target in ("export", "validate-int8", "test-fast", "clean"):
        assert f"  make {target} " in done.stdout
    for variable in variables.NAMES:
        assert f"{variable}=" in done.stdout
    assert max(map(len, done.stdout.splitlines())) < 140


@pytest.mark.parametrize("closed", [">&-", "2>&-", "0<&- >&- 2>&-"])
def test_closed_streams_do_not_change_the_exit_code(closed: str) -> None:
    command = f'exec "$0" -m device_scripts.host.commands evaluate {closed}'
    answer = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable], cwd=REPOSITORY, capture_output=True, text=True,
        env={key: value for key, value in os.environ.items() if key != "DATA"}, timeout=60,
    )  # fmt: skip
    assert answer.returncode == 2
    assert answer.stderr.startswith("" if "2>&-" in closed else "set DATA=")
    assert "Traceback" not in answer.stderr


def test_a_program_is_run_where_there_is_no_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)  # as Python has it for `>&-`
    programs.run([sys.executable, "-c", ""])
    with pytest.raises(FailedError):
        programs.run([sys.executable, "-c", "raise SystemExit(3)"])
