"""The file of inputs with the logits that a model has to give for them."""

import os
from pathlib import Path

import pytest

from runtime.core import reference
from runtime.core.errors import ModelError


@pytest.mark.parametrize("name", ["pipe", "none", "text"])
def test_what_is_no_reference_is_told_in_a_line(tmp_path: Path, name: str) -> None:
    os.mkfifo(str(tmp_path / "pipe"))
    (tmp_path / "text").write_text("no zip")
    path = str(tmp_path / name)
    with pytest.raises(ModelError) as caught:
        reference.read(path)
    assert str(caught.value).startswith(path + ": cannot read the reference: ")
    assert "unpack the bundle again" in str(caught.value)
