"""ONNX Runtime with the operator library, on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnxruntime  # type: ignore[import-untyped]

from calibration.comparison.backend import Backend, Runner, check_names
from calibration.comparison.deviation import FLOAT32, Array
from runtime.core import library as operator_library
from runtime.core.errors import ModelError
from runtime.core.metadata import Metadata
from runtime.core.session import INPUT
from runtime.engines.onnxruntime.errors import explain

_FATAL_ONLY = 4


class Graph:
    """A loaded graph with inputs and outputs of any name and type."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.inputs: list[str] = [item.name for item in session.get_inputs()]
        self.outputs: list[str] = [output.name for output in session.get_outputs()]

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name, from all inputs by name. Raises ModelError."""
        try:
            values = self._session.run(self.outputs, dict(feeds))
        except Exception as error:
            raise ModelError(explain(error)) from error
        return dict(zip(self.outputs, values, strict=True))


class OnnxRuntimeBackend(Backend):
    """Raises ModelError where the operator library that the model needs cannot be found."""

    tolerances = FLOAT32
    packages = ("onnxruntime",)

    def __init__(self, metadata: Metadata, library: str | None = None) -> None:
        self.library = _find_library(metadata, library)

    def load(self, content: bytes) -> Runner:
        graph = self.load_graph(content)
        check_names(graph.inputs, graph.outputs)
        return lambda images: graph.run({INPUT: images})

    def load_graph(self, content: bytes) -> Graph:
        """Loads any ONNX graph of our operators. Raises ModelError."""
        options = onnxruntime.SessionOptions()
        # ONNX Runtime also raises what it logs, and the exception is what is shown.
        options.log_severity_level = _FATAL_ONLY
        try:
            if self.library is not None:
                options.register_custom_ops_library(self.library)
            session = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise ModelError(explain(error)) from error
        return Graph(session)


def _find_library(metadata: Metadata, given: str | None) -> str | None:
    if not metadata.operators and given is None:
        return None
    found = operator_library.find(given)
    if found is None:
        raise ModelError(
            f"needs the operator library for {' and '.join(metadata.operators)}: build "
            f"it with `make plugins`, or point to it with --library"
        )
    operator_library.check_machine(found)
    return found
