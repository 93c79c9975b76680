"""What the variables name and hold is looked at before anything is set up or compiled."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_scripts.host.commands import targets
from device_scripts.host.commands.__main__ import main
from device_scripts.host.commands.variables import NAMES


@pytest.fixture
def nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with what the tests name, in which nothing may be set up."""
    for name in ("a.png", "a.onnx", "b.onnx", "w.pt"):
        (tmp_path / name).touch()
    for name in ("d/class", "empty"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name in ("set_up", "export", "have_model", "build_operator_library"):
        monkeypatch.setattr(targets, name, lambda *_: pytest.fail("something was made"))
    monkeypatch.setattr(targets, "as_exported", lambda variables: variables)


@pytest.mark.usefixtures("nothing_is_made")
@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["infer", "IMAGE=empty"], "IMAGE=empty: the folder is empty"),
        (["infer", "IMAGE=a.png", "MODEL_FILE=no.onnx"], "MODEL_FILE=no.onnx: no such file"),
        (["infer", "IMAGE=a.png", "MODEL_FILE=d"], "MODEL_FILE=d: a folder, where a file is"),
        (["infer", "IMAGE=a.png", "CHECKPOINT=no.pt"], "CHECKPOINT=no.pt: no such file"),
        (["infer", "IMAGE=a.png", "LABELS=no"], "LABELS=no: no such file or folder"),
        (["evaluate", "DATA=empty"], "DATA=empty: the folder is empty"),
        (["evaluate", "DATA=a.png"], "DATA=a.png: neither a folder nor a zip"),
        (["evaluate", "DATA=d", "MODEL_FILE=no.onnx"], "MODEL_FILE=no.onnx: no such file"),
        (["calibrate", "DATA=empty"], "DATA=empty: the folder is empty"),
        (["calibrate", "DATA=d", "CHECKPOINT=d"], "CHECKPOINT=d: a folder, where a file is"),
        (["train", "DATA=empty"], "DATA=empty: the folder is empty"),
        (["train", "DATA=d", "LABELS=no"], "LABELS=no: no such file or folder"),
        (["train", "DATA=d", "CHECKPOINT=no.pt"], "CHECKPOINT=no.pt: no such file"),
        (["finetune", "DATA=d", "CHECKPOINT=no.pt"], "CHECKPOINT=no.pt: no such file"),
        (["bundle", "DATA=empty"], "DATA=empty: the folder is empty"),
        (["bundle", "CHECKPOINT=no.pt"], "CHECKPOINT=no.pt: no such file"),
        (["deploy", "DEVICE=u@h", "LABELS=no"], "LABELS=no: no such file or folder"),
        (["demo", "CHECKPOINT=no.pt"], "CHECKPOINT=no.pt: no such file"),
        (["bench", "LABELS=no"], "LABELS=no: no such file or folder"),
        (["export", "CHECKPOINT=no.pt"], "CHECKPOINT=no.pt: no such file"),
        (["export", "LABELS=no.txt"], "LABELS=no.txt: no such file or folder"),
        (["validate", "MODEL_FILE=no.onnx", "REFERENCE=a.onnx"], "MODEL_FILE=no.onnx: no such"),
        (["validate", "MODEL_FILE=a.onnx", "REFERENCE=no.onnx"], "REFERENCE=no.onnx: no such"),
        (["validate", "CHECKPOINT=no.pt"], "CHECKPOINT=no.pt: no such file"),
        (["validate-int8", "MODEL_FILE=no.onnx"], "MODEL_FILE=no.onnx: no such file"),
        (["validate-int8", "DATA=empty"], "DATA=empty: the folder is empty"),
        (["calibrate", "DATA=d", "METHOD=x"], "METHOD is one of minmax, percentile, entropy, mse;"),
        (["calibrate", "DATA=d", "SAMPLES=0"], "SAMPLES is an integer from 1 on; got 0"),
        (["bundle", "DATA=d", "SAMPLES=many"], "SAMPLES is an integer from 1 on; got many"),
        (["finetune", "DATA=d", "BITS=4"], "BITS is one of 8, 16; got 4"),
        (["engine", "PRECISION=fp64"], "PRECISION is one of fp32, fp16, int8; got fp64"),
        (["engine", "WORKSPACE=1e3"], "WORKSPACE is an integer from 1 on; got 1e3"),
        (["export", "FIXED_POINT=yes"], "FIXED_POINT is one of drop, keep; got yes"),
        (["fuzz", "SECONDS=-1"], "SECONDS is an integer from 1 on; got -1"),
        (["bundle", "MODEL_FILE=a.onnx"], "bundle: MODEL_FILE=a.onnx: a bundle is made of MODEL"),
        (["deploy", "DEVICE=u@h", "MODEL_FILE=a.onnx"], "bundle: MODEL_FILE=a.onnx: a bundle is"),
    ],
)
def test_what_is_refused(
    words: list[str],
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    target, *given = words
    for word in given:
        monkeypatch.setenv(*word.split("=", 1))
    assert main([target]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(line)
