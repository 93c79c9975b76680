"""ONNX Runtime with the operator library, on the CPU."""

from __future__ import annotations

import re
from typing import Any

import onnxruntime  # type: ignore[import-untyped]

from export.validation.backend import Backend, Float32, Runner, check_names
from export.validation.deviation import FLOAT32
from runtime import library as operator_library
from runtime.errors import ModelError, one_line
from runtime.metadata import Metadata
from runtime.session import INPUT

_FATAL_ONLY = 4


class OnnxRuntimeBackend(Backend):
    """Raises ModelError where the operator library that the model needs cannot be found."""

    tolerances = FLOAT32
    packages = ("onnxruntime",)

    def __init__(self, metadata: Metadata, library: str | None = None) -> None:
        self.library = _find_library(metadata, library)

    def load(self, content: bytes) -> Runner:
        options = onnxruntime.SessionOptions()
        # What ONNX Runtime logs it also raises, and that is shown.
        options.log_severity_level = _FATAL_ONLY
        try:
            if self.library is not None:
                options.register_custom_ops_library(self.library)
            session = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise ModelError(_explain(error)) from error
        names = [output.name for output in session.get_outputs()]
        check_names([item.name for item in session.get_inputs()], names)
        return lambda images: _run(session, names, images)


def _find_library(metadata: Metadata, given: str | None) -> str | None:
    if not metadata.operators and given is None:
        return None
    found = operator_library.find(given)
    if found is None:
        raise ModelError(
            f"needs the operator library for {' and '.join(metadata.operators)}: build "
            f"it with `make plugins`, or point to it with --library"
        )
    return found


def _run(session: Any, names: list[str], images: Float32) -> dict[str, Float32]:
    try:
        return dict(zip(names, session.run(names, {INPUT: images}), strict=True))
    except Exception as error:
        raise ModelError(_explain(error)) from error


def _explain(error: Exception) -> str:
    """ONNX Runtime's text in one line, without its "[ONNXRuntimeError] : 1 : FAIL : "."""
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", one_line(error))
