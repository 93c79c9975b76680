"""Has NVIDIA's TensorRT-RTX do things without a GPU; test_tensorrt_rtx.py calls it and judges.

`build MODEL` parses and builds a network, `fields MODEL` shows what the parser hands to a plugin's
creator, `create LIBRARY REQUESTS` has a plugin library's creators make plugins. JSON documents on
standard output, one a line. A process of its own for each: creators stay registered, and the
library aborts where a plugin gets into a network.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorrt_rtx_bindings as trt

from export.operator_table import FLOAT_OPERATORS, OPERATORS


class Log(trt.ILogger):  # type: ignore[misc]
    """Keeps what the library complains of."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.lines: list[str] = []

    def log(self, severity: Any, message: str) -> None:
        """Called by the library, from any thread."""
        if severity <= trt.ILogger.Severity.ERROR:
            self.lines.append(message)


class Creator(trt.IPluginCreatorV3One):  # type: ignore[misc]
    """Asks the parser for the contract's attributes, prints what it is given, makes nothing."""

    def __init__(self, name: str) -> None:
        trt.IPluginCreatorV3One.__init__(self)
        self.name = name
        self.plugin_version = "1"
        self.plugin_namespace = ""
        self.field_names = trt.PluginFieldCollection(
            [trt.PluginField(field) for field in OPERATORS[name].attribute_names]
        )

    def create_plugin(self, name: str, fields: Any, _phase: Any) -> None:
        """Called by the parser, once a node."""
        print_json({"operator": self.name, "node": name, "fields": [shown(f) for f in fields]})


def shown(field: Any) -> dict[str, Any]:
    """A plugin's field: characters as a string, with its NUL where it has one."""
    characters = field.type == trt.PluginFieldType.CHAR
    data = bytes(field.data).decode() if characters else np.asarray(field.data).tolist()
    return {"name": field.name, "type": field.type.name, "length": field.size, "data": data}


def parse(content: bytes, log: Log) -> tuple[Any, Any, list[str]]:
    """(builder, network, the parser's errors)."""
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    parser.parse(content)
    return builder, network, [str(parser.get_error(i)) for i in range(parser.num_errors)]


def build(model: Path) -> None:
    """Prints the parser's errors; without any, the network's ends and the engine's bytes."""
    log = Log()
    builder, network, errors = parse(model.read_bytes(), log)
    answer: dict[str, Any] = {"errors": errors, "log": log.lines}
    if not errors:
        image, logits = network.get_input(0), network.get_output(0)
        config = builder.create_builder_config()
        # Without a GPU it has to be told for which one: the nearest to Orin's 8.7 that it knows.
        config.num_compute_capabilities = 1
        config.set_compute_capability(trt.ComputeCapability.SM86, 0)
        profile = builder.create_optimization_profile()
        profile.set_shape(image.name, *((batch, *image.shape[1:]) for batch in (1, 2, 4)))
        config.add_optimization_profile(profile)
        engine = builder.build_serialized_network(network, config)
        answer["engine_bytes"] = engine.nbytes if engine is not None else 0
        answer["input"], answer["output"] = list(image.shape), list(logits.shape)
    print_json(answer)


def show_fields(model: Path) -> None:
    """Prints what the creator of the model's first custom node is given."""
    creators = [Creator(name) for name in FLOAT_OPERATORS]
    for creator in creators:
        if not trt.get_plugin_registry().register_creator(creator, ""):
            raise SystemExit(f"{creator.name} was not registered")
    parse(model.read_bytes(), Log())


def create(library: Path, requests: list[dict[str, Any]]) -> None:
    """Prints the library's creators as the registry has them, and for each request, an operator and
    fields as `shown` gives them, whether its creator made a plugin."""
    registry = trt.get_plugin_registry()
    registry.load_library(str(library))
    creators = {name: registry.get_creator(name, "1", "") for name in FLOAT_OPERATORS}
    for name, creator in creators.items():
        found = [] if creator is None else sorted(field.name for field in creator.field_names)
        print_json({"operator": name, "fields": found})
    for request in requests:
        # Fields point into the arrays, which live until the plugin is made.
        arrays = [values_of(field) for field in request["fields"]]
        fields = [
            trt.PluginField(field["name"], array, trt.PluginFieldType.__members__[field["type"]])
            for field, array in zip(request["fields"], arrays, strict=True)
        ]
        # The library says on standard error why it refuses: what it says belongs to this request.
        print(request["title"], file=sys.stderr, flush=True)
        plugin = creators[request["operator"]].create_plugin(
            request["title"], trt.PluginFieldCollection(fields), trt.TensorRTPhase.BUILD
        )
        print_json({"title": request["title"], "created": plugin is not None})


def values_of(field: dict[str, Any]) -> npt.NDArray[Any]:
    """The entries of a plugin's field that is given as `shown` gives it."""
    if field["type"] == "CHAR":
        array: npt.NDArray[Any] = np.frombuffer(field["data"].encode(), np.int8)
    else:
        array = np.array(field["data"], {"INT32": np.int32, "FLOAT32": np.float32}[field["type"]])
    if len(array) != field["length"]:
        raise ValueError(f"{field['name']}: {len(array)} entries, not {field['length']}")
    return array


def print_json(value: dict[str, Any]) -> None:
    """Writes one document, at once: should the library abort, it is out."""
    print(json.dumps(value), flush=True)


def main() -> None:
    """The command line."""
    command, *arguments = sys.argv[1:]
    if command == "build":
        build(Path(arguments[0]))
    elif command == "fields":
        show_fields(Path(arguments[0]))
    elif command == "create":
        create(Path(arguments[0]), json.loads(Path(arguments[1]).read_text()))
    else:
        raise SystemExit(f"no such command: {command}")


if __name__ == "__main__":
    main()
