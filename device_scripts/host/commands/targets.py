"""A function for each target: what it asks for, what it makes first, and what it runs.

Whatever can be refused is refused before anything is compiled. A program that ends a target takes
this process's place (`become`).
"""

import contextlib
import os
import shutil
from typing import Callable, Dict, List

from device_scripts.host.commands import gpu
from device_scripts.host.commands.libraries import (
    build_board_library,
    build_operator_library,
    build_tensorrt_library,
    chosen_board,
    known_boards,
    symbols_of,
)
from device_scripts.host.commands.locks import locked
from device_scripts.host.commands.models import (
    as_exported,
    check_data,
    check_form,
    check_model,
    construction_options,
    export,
    have_model,
    network_options,
    spec_options,
)
from device_scripts.host.commands.named import check_named
from device_scripts.host.commands.problems import RefusedError
from device_scripts.host.commands.programs import (
    BUILD,
    LOCKS,
    PY,
    become,
    cross_compiler,
    find,
    interpreter,
    module,
    run,
    script,
)
from device_scripts.host.commands.setup import is_set_up, set_up, set_up_nvidia, set_up_peers
from device_scripts.host.commands.variables import Variables
from device_scripts.host.deploy.device import device_problem

_NEEDED = {
    "IMAGE": "set IMAGE=file-or-folder",
    "DATA": "set DATA=folder-or-zip (ImageFolder layout: class_name/image)",
    "ARCHIVE": "set ARCHIVE=cifar-10-python.tar.gz, of https://www.cs.toronto.edu/~kriz/cifar.html",
    "DEVICE": "set DEVICE=user@host, the board as ssh knows it",
}
# What a model's file is made of, or where it is.
_OF_MODEL = ("MODEL_FILE", "CHECKPOINT", "LABELS")
# A step frees and asks for the same memory: kept, it spares a sixth of the time in page faults. And
# PyTorch's threads, which spin while they wait, keep the adder's from the processor: another sixth.
_TRAINING = {
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "268435456",
    "GOMP_SPINCOUNT": "20000",
}
_BACKENDS = ("onnxruntime", "tensorrt")
_BOARD = "jetson-nano"
_FAST_TESTS = "not slow"
# A worker for each processor that make may use, where ARGS says nothing else. A file's tests stay
# together, for their fixtures; tests/support/speed.py says which files start first.
_WORKERS = ("-n", "auto", "--dist", "loadfile", "--no-loadscope-reorder")


def _need(variables: Variables, *names: str) -> None:
    for name in names:
        if not variables.given(name):
            raise RefusedError(_NEEDED[name])


def _setup(variables: Variables) -> None:
    set_up()


def _export(variables: Variables) -> None:
    check_named(variables, "CHECKPOINT", "LABELS")
    set_up()
    export(variables)


def _plugins(variables: Variables) -> None:
    board = chosen_board(variables)
    if board is None and variables.given("TARGET"):
        if variables["TARGET"] not in known_boards():
            raise RefusedError(
                "plugins: TARGET is the form of an exported file; the machine is BOARD={}, or left "
                "out for this one; got TARGET={}".format(
                    "|".join(known_boards()), variables["TARGET"]
                )
            )
        board = variables["TARGET"]
        print("plugins: the machine is named by BOARD={0}, and no more by TARGET={0}".format(board))
    set_up()
    if board is None:
        build_operator_library()
    else:
        build_board_library(board)


def _tensorrt_plugins(variables: Variables) -> None:
    build_tensorrt_library(variables)


def _engine(variables: Variables) -> None:
    python = interpreter(variables["ENGINE_PYTHON"])
    gpu.need_tensorrt("engine", python)
    variables = as_exported(variables)
    # A board that builds engines cannot export: there the file is taken as it was brought.
    if is_set_up():
        have_model(variables)
    elif not os.path.isfile(variables.model_file):
        raise RefusedError(
            "engine: {}: no such file: bring it here from where it was exported".format(
                variables.model_file
            )
        )
    build_tensorrt_library(variables)
    become(
        [
            python,
            "runtime/build_engine.py",
            variables.model_file,
            *variables.option("PRECISION", "--precision"),
            *variables.option("WORKSPACE", "--workspace"),
            *variables.words("ARGS"),
        ]
    )


def _infer(variables: Variables) -> None:
    _need(variables, "IMAGE")
    variables = as_exported(variables)
    check_named(variables, "IMAGE", *_OF_MODEL)
    _have_model_and_library(variables)
    become(
        script(
            "runtime/infer.py",
            variables.model_file,
            variables.path("IMAGE"),
            *variables.words("ARGS"),
        )
    )


def _validate(variables: Variables) -> None:
    if variables.given("INT8"):
        if variables["BACKEND"] != "onnxruntime":
            raise RefusedError("validate: INT8=1 compares in ONNX Runtime; leave BACKEND out")
        _validate_int8(variables)
        return
    if variables["BACKEND"] not in _BACKENDS:
        raise RefusedError(
            "validate: BACKEND is one of {}; got {}".format(
                ", ".join(_BACKENDS), variables["BACKEND"]
            )
        )
    variables = as_exported(variables)
    check_named(variables, "REFERENCE", *_OF_MODEL)
    set_up()
    if variables["BACKEND"] == "tensorrt":
        gpu.need_tensorrt("validate BACKEND=tensorrt", PY)
    check_form(variables)
    # Two files are compared without a network.
    by_file = variables.given("REFERENCE")
    if not (by_file or variables.is_own_export):
        check_model(variables)
    have_model(variables)
    if variables["BACKEND"] == "tensorrt":
        build_tensorrt_library(variables)
    else:
        build_operator_library()
    become(
        module(
            "export.validation",
            *([] if by_file else [variables["MODEL"], *network_options(variables)]),
            "--model-file=" + variables.model_file,
            *variables.option("REFERENCE", "--reference"),
            *variables.option("BACKEND", "--backend"),
            *variables.option("PRECISION", "--precision"),
            *variables.words("ARGS"),
        )
    )


def _validate_int8(variables: Variables) -> None:
    variables = as_exported(variables)
    check_named(variables, "DATA", *_OF_MODEL)
    set_up()
    check_data(variables)
    # A file that was named is taken as it is, and so is the float one beside it.
    named = variables.given("MODEL_FILE")
    if not named:
        have_model(variables)
    build_operator_library()
    become(
        module(
            "calibration.validation",
            variables.model_file if named else variables.integer_file,
            *variables.option("DATA", "--data"),
            *variables.words("ARGS"),
        )
    )


def _evaluate(variables: Variables) -> None:
    _need(variables, "DATA")
    variables = as_exported(variables)
    check_named(variables, "DATA", *_OF_MODEL)
    set_up()
    check_data(variables, classes=True)
    _have_model_and_library(variables)
    become(
        script(
            "runtime/evaluate.py",
            variables.model_file,
            variables.path("DATA"),
            *variables.words("ARGS"),
        )
    )


def _calibrate(variables: Variables) -> None:
    _need(variables, "DATA")
    variables = as_exported(variables)
    check_named(variables, "DATA", *_OF_MODEL)
    set_up()
    check_data(variables)
    _have_model_and_library(variables)
    become([*_calibration(variables), *variables.words("ARGS")])


def _calibration(variables: Variables) -> List[str]:
    return module(
        "calibration",
        variables.model_file,
        "--data=" + variables["DATA"],
        "--samples=" + variables["SAMPLES"],
        "--out=" + variables.integer_file,
        *variables.option("METHOD", "--method"),
        *variables.option("KEEP_FLOAT", "--keep-float"),
        *variables.option("SENSITIVITY", "--sensitivity"),
    )


def _bundle(variables: Variables) -> None:
    variables = as_exported(variables)
    board = _have_bundle_parts(variables)
    become([*_bundling(variables, board), *variables.words("ARGS")])


def _bundling(variables: Variables, board: str) -> List[str]:
    return module(
        "device_scripts.host.bundle",
        variables["MODEL"],
        "--board=" + board,
        "--models=" + variables["OUT"],
        *network_options(variables),
    )


def _have_bundle_parts(variables: Variables) -> str:
    """Makes everything of a bundle but the archive; the board that it is for."""
    board = chosen_board(variables) or _BOARD
    if variables.target != "jetson-nano":
        raise RefusedError(
            "bundle: TARGET is jetson-nano, or left out; got {}".format(variables["TARGET"])
        )
    if variables.given("MODEL_FILE"):
        raise RefusedError(
            "bundle: MODEL_FILE={}: a bundle is made of MODEL, with CHECKPOINT=file for its "
            "weights, and takes no file that was exported already".format(variables["MODEL_FILE"])
        )
    check_named(variables, "DATA", "CHECKPOINT", "LABELS")
    set_up()
    check_data(variables)
    check_model(variables)
    have_model(variables)
    build_operator_library()
    build_board_library(board)
    # An integer model that is older than the float one is of another.
    if variables.given("DATA") and not _is_newer(variables.integer_file, variables.exported_file):
        run(_calibration(variables))
    return board


def _is_newer(path: str, other: str) -> bool:
    return os.path.isfile(path) and os.stat(path).st_mtime > os.stat(other).st_mtime


def _deploy(variables: Variables) -> None:
    _need(variables, "DEVICE")
    problem = device_problem(variables["DEVICE"])
    if problem:
        raise RefusedError("DEVICE: " + problem)
    variables = as_exported(variables)
    board = _have_bundle_parts(variables)
    run(_bundling(variables, board))
    archive = os.path.join("build", "bundles", "{}-{}.tar.gz".format(variables.name, board))
    become(
        module(
            "device_scripts.host.deploy",
            variables["DEVICE"],
            archive,
            *variables.words("ARGS"),
        )
    )


def _train(variables: Variables) -> None:
    _have_library_for_training(variables)
    become(
        module(
            "export.training.train",
            variables["MODEL"],
            "--data=" + variables["DATA"],
            *construction_options(variables),
            *spec_options(variables),
            *variables.option("CHECKPOINT", "--weights"),
            *variables.option("OUT", "--out"),
            *variables.words("ARGS"),
        ),
        **_TRAINING,
    )


def _finetune(variables: Variables) -> None:
    _have_library_for_training(variables)
    become(
        module(
            "export.training.finetune",
            variables["MODEL"],
            "--data=" + variables["DATA"],
            "--bits=" + variables["BITS"],
            *network_options(variables),
            *spec_options(variables),
            *variables.option("OUT", "--out"),
            *variables.words("ARGS"),
        ),
        **_TRAINING,
    )


def _cifar10(variables: Variables) -> None:
    _need(variables, "ARCHIVE")
    check_named(variables, "ARCHIVE")
    set_up()
    become(
        module(
            "device_scripts.host.cifar10",
            variables.path("ARCHIVE"),
            *variables.option("OUT", "--out"),
            *variables.words("ARGS"),
        )
    )


def _have_library_for_training(variables: Variables) -> None:
    _need(variables, "DATA")
    check_named(variables, "DATA", "CHECKPOINT", "LABELS")
    set_up()
    check_data(variables, classes=True)
    check_model(variables)
    build_operator_library()


def _have_model_and_library(variables: Variables) -> None:
    set_up()
    have_model(variables)
    build_operator_library()


def _demo(variables: Variables) -> None:
    variables = as_exported(variables)
    check_named(variables, *_OF_MODEL)
    set_up()
    have_model(variables)
    build_operator_library()
    become(
        module(
            "device_scripts.host.demo",
            variables["MODEL"],
            "--model-file=" + variables.model_file,
            *network_options(variables),
            *variables.words("ARGS"),
        )
    )


def _bench(variables: Variables) -> None:
    check_named(variables, "LABELS")
    set_up()
    network = [variables["MODEL"]] if variables.given("MODEL") else []
    if network:
        check_model(variables)
    build_operator_library()
    become(
        module(
            "device_scripts.host.bench",
            *network,
            *construction_options(variables),
            *spec_options(variables),
            *(["--peers=" + set_up_peers()] if variables.given("PEERS") else []),
            *variables.words("ARGS"),
        )
    )


def _bench_a57(variables: Variables) -> None:
    if not variables.given("MODELS"):
        set_up()
        become(
            module("device_scripts.host.a57.loops", *variables.words("ARGS")), **cross_compiler()
        )
    for tool, package in (("qemu-aarch64", "qemu-user"), ("llvm-mca", "llvm")):
        if not find(tool):
            raise RefusedError(
                "bench-a57 MODELS=1: no {}; install it (Debian 12: apt-get install {})".format(
                    tool, package
                )
            )
    set_up()
    build_board_library("jetson-nano", symbols=True)
    become(
        module(
            "device_scripts.host.a57.models",
            "--library=" + symbols_of("jetson-nano"),
            "--peers=" + set_up_peers(),
            *variables.words("ARGS"),
        )
    )


def _gpu_occupancy(variables: Variables) -> None:
    set_up_nvidia()
    become(module("device_scripts.host.gpu_occupancy", *variables.words("ARGS")))


def _test_gpu(variables: Variables) -> None:
    set_up()
    gpu.need_gpu("test-gpu")
    become(module("pytest", "tests/gpu", *variables.words("ARGS")))


def _bench_gpu(variables: Variables) -> None:
    set_up()
    gpu.need_gpu("bench-gpu")
    become(module("device_scripts.host.gpu", *variables.words("ARGS")))


def _test(variables: Variables) -> None:
    set_up_nvidia()
    build_operator_library()
    become(module("pytest", *_WORKERS, *variables.words("ARGS")), **cross_compiler())


def _test_fast(variables: Variables) -> None:
    set_up()
    build_operator_library()
    become(module("pytest", *_WORKERS, "-m", _FAST_TESTS, *variables.words("ARGS")))


def _fuzz(variables: Variables) -> None:
    set_up_nvidia()
    build_operator_library()
    become(
        module(
            "tests.fuzz",
            *variables.words("FUZZ"),
            "--seconds=" + variables["SECONDS"],
            *variables.words("ARGS"),
        )
    )


def _clean(variables: Variables) -> None:
    locks = sorted(os.listdir(LOCKS)) if os.path.isdir(LOCKS) else []
    with contextlib.ExitStack() as stack:
        for name in locks:
            stack.enter_context(locked(LOCKS, os.path.splitext(name)[0]))
        for name in os.listdir(BUILD) if os.path.isdir(BUILD) else []:
            path = os.path.join(BUILD, name)
            if path == LOCKS:
                continue
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)


TARGETS: Dict[str, Callable[[Variables], None]] = {
    "setup": _setup,
    "export": _export,
    "plugins": _plugins,
    "tensorrt-plugins": _tensorrt_plugins,
    "engine": _engine,
    "infer": _infer,
    "validate": _validate,
    "validate-int8": _validate_int8,
    "evaluate": _evaluate,
    "calibrate": _calibrate,
    "bundle": _bundle,
    "deploy": _deploy,
    "train": _train,
    "finetune": _finetune,
    "cifar10": _cifar10,
    "demo": _demo,
    "bench": _bench,
    "bench-a57": _bench_a57,
    "gpu-occupancy": _gpu_occupancy,
    "test-gpu": _test_gpu,
    "bench-gpu": _bench_gpu,
    "test": _test,
    "test-fast": _test_fast,
    "fuzz": _fuzz,
    "clean": _clean,
}
