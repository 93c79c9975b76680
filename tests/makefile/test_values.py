"""Values that a user gives reach programs as they were typed, and nothing in them is run."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.support.checkout import Checkout, make_checkout

HOSTILE = {
    "space": "my file",
    "dollar": "price$5.png",
    "dollars": "a$$b$(HOME)${PATH}$",
    "quote": "it's",
    "double quote": 'a"b',
    "backtick": "a`touch ran`b",
    "semicolon": "a;touch ran;b",
    "command": "$(touch ran)",
    "function of make": "$(shell touch ran)",
    "and": "a&&touch ran",
    "redirection": "a>ran",
    "pattern": "*.py",
    "percent": "a%b",
    "hash": "a#b",
    "equals": "a=b",
    "colon": "C:\\x",
    "tilde": "~root",
    "leading dash": "-x",
    "option": "--help",
    "umlaut": "Bär",
    "no text": "a\udcffb",
}
VARIABLES = ("IMAGE", "MODEL_FILE", "DATA", "CHECKPOINT", "LABELS")
OUT = ".out"  # added to a value for OUT, where the value itself is a file


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """One for all tests here, so that it is configured and built once."""
    return make_checkout(tmp_path_factory.mktemp("make"))


@pytest.fixture
def checkout(shared: Checkout) -> Checkout:
    shared.forget()
    return shared


def have(checkout: Checkout, name: str) -> None:
    """Makes a zip of this name, because what is read has to be there, and DATA to be readable."""
    with zipfile.ZipFile(checkout.folder / "data.zip", "w") as archive:
        archive.writestr("class/image", b"")
    (checkout.folder / "data.zip").replace(checkout.folder / name)


def as_path(value: str) -> str:
    return f"./{value}" if value.startswith("-") else value


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_a_value_on_the_command_line_is_data(checkout: Checkout, value: str) -> None:
    given = [*(f"{name}={value}" for name in VARIABLES), f"OUT={value}{OUT}"]
    have(checkout, value)
    done = checkout.make("infer", "calibrate", "export", *given)
    assert (done.returncode, done.stderr) == (0, "")
    check_taken(checkout, value)


@pytest.mark.parametrize(
    "name", ["dollar", "dollars", "backtick", "quote", "function of make", "leading dash"]
)
def test_a_value_of_the_environment_is_data(checkout: Checkout, name: str) -> None:
    environment = {**dict.fromkeys(VARIABLES, HOSTILE[name]), "OUT": HOSTILE[name] + OUT}
    have(checkout, HOSTILE[name])
    done = checkout.make("infer", "calibrate", "export", environment=environment)
    assert (done.returncode, done.stderr) == (0, "")
    check_taken(checkout, HOSTILE[name])


def check_taken(checkout: Checkout, value: str) -> None:
    path = as_path(value)
    assert checkout.runs_of("runtime/infer.py") == [[path, path]]
    (calibration,) = checkout.runs_of("-m", "calibration")
    assert calibration[0] == path
    assert f"--data={value}" in calibration
    out = next(word for word in calibration if word.startswith("--out="))
    assert out.startswith(f"--out={path}{OUT}/")
    (export,) = checkout.runs_of("-m", "export")
    for option in (f"out={value}{OUT}", f"checkpoint={value}", f"labels={value}"):
        assert f"--{option}" in export
    assert not ran(checkout)


def test_every_target_takes_a_value_as_data(checkout: Checkout) -> None:
    value = "-a b'$(touch ran)`touch ran`"
    taken = [name for name in VARIABLES if name != "IMAGE"]
    given = [*(f"{name}={value}" for name in taken), f"OUT={value}{OUT}"]
    have(checkout, value)
    done = checkout.make("evaluate", "validate", "validate-int8", "train", "finetune", *given)
    assert (done.returncode, done.stderr) == (0, "")
    path = as_path(value)
    assert checkout.runs_of("runtime/evaluate.py") == [[path, path]]
    (validation,) = checkout.runs_of("-m", "export.validation")
    assert {f"--model-file={path}", f"--checkpoint={value}"} < set(validation)
    assert checkout.runs_of("-m", "calibration.validation") == [[path, f"--data={value}"]]
    (training,) = checkout.runs_of("-m", "export.training.train")
    assert {f"--data={value}", f"--weights={value}", f"--out={value}{OUT}"} < set(training)
    (finetuning,) = checkout.runs_of("-m", "export.training.finetune")
    assert {f"--data={value}", f"--checkpoint={value}", f"--out={value}{OUT}"} < set(finetuning)
    assert not ran(checkout)


def ran(checkout: Checkout) -> list[Path]:
    return [path for path in checkout.files() if path.name == "ran"]


@pytest.mark.parametrize(
    ("variable", "target"),
    [("MODEL", "train"), ("ARGS", "bench"), ("METHOD", "calibrate"), ("MEAN", "export"),
     ("DEVICE", "deploy"), ("FUZZ", "fuzz"), ("SECONDS", "fuzz"), ("NAME", "export"),
     ("TARGET", "export"), ("BOARD", "plugins"), ("BACKEND", "validate"), ("PYTHON", "setup"),
     ("ENGINE_PYTHON", "engine"), ("CMAKE_ARGS", "tensorrt-plugins"), ("MODEL", "help")],
)  # fmt: skip
def test_no_value_runs(checkout: Checkout, variable: str, target: str) -> None:
    """Every other variable: refused or taken, but never run."""
    value = "x;touch ran;`touch ran`$(touch ran)$(shell touch ran)"
    have(checkout, "data")
    checkout.make(target, f"{variable}={value}", "DATA=data")
    checkout.make(target, "DATA=data", environment={variable: value})
    assert not ran(checkout)


def test_args_are_words_of_a_shell_that_runs_nothing(checkout: Checkout) -> None:
    given = """--a 'two words' "it's" \\$HOME $HOME `touch ran` --b=*.png"""
    done = checkout.make("bench", f"ARGS={given}")
    assert (done.returncode, done.stderr) == (0, "")
    assert checkout.runs_of("-m", "device_scripts.host.bench") == [
        ["--a", "two words", "it's", "$HOME", "$HOME", "`touch", "ran`", "--b=*.png"]
    ]
    assert not (checkout.folder / "ran").exists()


def test_args_with_an_open_quote_are_refused(checkout: Checkout) -> None:
    done = checkout.make("bench", "ARGS=--a 'b")
    assert done.returncode == 2
    assert done.stderr.startswith("ARGS: no closing quotation")
    assert "Traceback" not in done.stderr


def test_empty_values_count_as_not_given(checkout: Checkout) -> None:
    done = checkout.make("export", "CHECKPOINT=", "NAME=", "MODEL=", environment={"OUT": ""})
    assert (done.returncode, done.stderr) == (0, "")
    assert checkout.runs_of("-m", "export") == [
        ["ghostshiftaddnet", "--target=jetson-nano", "--out=build/models"]
    ]


def test_programs_do_not_inherit_the_variables(checkout: Checkout) -> None:
    """A test that runs `make` itself gets its own ones, and not those of the `make` around it."""
    python_that_tells = checkout.folder.parent / "python_that_tells"
    python_that_tells.write_text(f"#!/bin/sh\nenv > '{checkout.folder.parent}/environment'\n")
    python_that_tells.chmod(0o755)
    given = ("ARGS=--x", "MODEL=a", f"ENGINE_PYTHON={python_that_tells}", "MODEL_FILE=a.onnx")
    assert checkout.make("engine", *given, environment={"KEPT": "1"}).returncode == 0
    inherited = (checkout.folder.parent / "environment").read_text()
    names = {line.partition("=")[0] for line in inherited.splitlines()}
    assert "KEPT" in names
    assert not names & {"ARGS", "MODEL", "MAKEFLAGS", "MAKELEVEL", "OUT", "DATA"}


def test_a_name_in_the_environment_is_not_taken(checkout: Checkout) -> None:
    """There is one in every shell of Windows' Linux: the machine's."""
    done = checkout.make("export", environment={"NAME": "DESKTOP-1"})
    assert done.returncode == 0, done.stderr
    (export,) = checkout.runs_of("-m", "export")
    assert not [word for word in export if word.startswith("--name")]
    assert checkout.make("export", "NAME=mine").returncode == 0
    assert "--name=mine" in checkout.runs_of("-m", "export")[1]
