"""Names on make's command line that are no variables of the Makefile."""

from __future__ import annotations

import pytest

from device_scripts.host.commands.names import check_names
from device_scripts.host.commands.problems import RefusedError
from device_scripts.host.commands.variables import NAMES, OTHERS
from tests.support.checkout import Checkout, make_checkout


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    made = make_checkout(tmp_path_factory.mktemp("make"))
    (made.folder / "a.png").touch()
    return made


@pytest.fixture
def checkout(shared: Checkout) -> Checkout:
    shared.forget()
    return shared


def refusal(*names: str) -> str:
    """What is said of these names; "" where they are taken."""
    try:
        check_names("infer", {OTHERS: " ".join(names), "MAKELEVEL": "1"})
    except RefusedError as refused:
        return str(refused)
    return ""


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        *[("INPTU", "INPUT"), ("CHEKPOINT", "CHECKPOINT"), ("input", "INPUT"), ("IMG", "IMAGE")],
        *[("LABEL", "LABELS"), ("MODELFILE", "MODEL_FILE"), ("Model_Args", "MODEL_ARGS")],
        *[("CMAKE_ARG", "CMAKE_ARGS"), ("PYTHN", "PYTHON"), ("DEVCE", "DEVICE")],
        *[("KEEPFLOAT", "KEEP_FLOAT"), ("data", "DATA"), ("PRECISON", "PRECISION")],
    ],
)
def test_a_misspelt_name_is_refused_with_the_one_that_was_meant(name: str, meant: str) -> None:
    assert refusal(name) == (
        f"infer: {name} is no variable here, {meant} is (`make help` lists them)"
    )


@pytest.mark.parametrize("dropped", range(2))
def test_a_name_without_one_of_its_letters_is_never_taken(dropped: int) -> None:
    for name in (name for name in NAMES if len(name) > 3):
        for shorter in (name[1:], name[:-1] if dropped else name[:2] + name[3:]):
            assert f"{shorter} is no variable here" in refusal(shorter)


@pytest.mark.parametrize("name", ["EPOCHS", "WIDTH", "BATCH_SIZE", "VENV", "THREADS"])
def test_a_name_that_nothing_reads_is_refused_with_other_ways(name: str) -> None:
    said = refusal("CC", name)
    assert said.startswith(f"infer: {name} is no variable here")
    assert 'ARGS="--option value"' in said
    assert f"`{name}=... make`" in said


def test_what_tools_and_programs_read_is_taken() -> None:
    free = (
        *("CC", "CXX", "CXXFLAGS", "LDFLAGS", "MAKEFLAGS", "V", "SHELL", "TENSORRT_ROOT", "MAKE"),
        *("CMAKE_BUILD_PARALLEL_LEVEL", "PYTHONPATH", "PYTHONWARNINGS", "https_proxy", "TMPDIR"),
        *("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "SHIFTADD_NO_SKIPS", "HYPOTHESIS_PROFILE"),
    )
    assert refusal(*free) == ""


def test_make_refuses_before_anything_runs_and_expands_no_value(checkout: Checkout) -> None:
    done = checkout.make("infer", "IMAGE=a.png", "IMG=$(shell touch ran)`touch ran`")
    assert done.returncode == 2
    assert done.stderr.splitlines()[0].startswith("infer: IMG is no variable here, IMAGE is")
    assert not checkout.programs()
    assert not [path for path in checkout.files() if path.name == "ran"]


def test_the_environment_and_free_names_are_taken_by_make(checkout: Checkout) -> None:
    done = checkout.make("infer", "IMAGE=a.png", "V=1", "CXX=c++", environment={"IMG": "x"})
    assert (done.returncode, done.stderr) == (0, "")
    assert len(checkout.runs_of("runtime/infer.py")) == 1


def test_the_variables_of_a_make_around_this_one_are_only_remarked(checkout: Checkout) -> None:
    done = checkout.make("infer", "IMAGE=a.png", "WIDTH=1", environment={"MAKELEVEL": "1"})
    assert done.returncode == 0
    assert done.stderr.startswith("infer: WIDTH is no variable here")
    assert len(done.stderr.splitlines()) == 1
    assert len(checkout.runs_of("runtime/infer.py")) == 1
