"""A stand-in for the module `tensorrt`, in the shape of 8.2 and in that of 10.

It is not TensorRT: its "engine" is the ONNX file itself, run by ONNX Runtime with our CPU library
on the memory of the PyCUDA stand-in. It shows that our code walks the whole way (build, sidecar,
load, run) with the calls, names and orders of either version, because what a version does not have
is not there. It cannot show that TensorRT builds or runs these models, that our plugins compute
anything, or that its Python API really is as written down here (that is checked against type stubs
of 10.13, and was read in the bindings' sources of 8.2.1).

What the real one would punish, perhaps with a crash, is told by `pycuda_standin.violate`. Runs on
Python 3.6. Variables of the environment: STANDIN_TENSORRT is the version, STANDIN_ORT_LIBRARY our
CPU library, STANDIN_BUILD_SECONDS how long a build takes.
"""

import json
import os
import sys
import time
import types
import zlib
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]

from tests.support.standins import pycuda as cuda

VERSION = os.environ.get("STANDIN_TENSORRT", "8.2.1.8")
_MAGIC = b"stand-in engine\0"
_PLUGIN_LIBRARY = "libshiftadd_tensorrt.so"
_PLUGINS = ("ShiftConv", "AdderConv")


class Value:
    """A member of an enumeration of pybind11's: it has a name and is equal only to itself."""

    def __init__(self, name: str, value: int) -> None:
        self.name = name
        self.value = value

    def __int__(self) -> int:
        return self.value


def _enumeration(*names: str) -> Any:
    return types.SimpleNamespace(**{name: Value(name, i) for i, name in enumerate(names)})


class ILogger:
    Severity = _enumeration("INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE")

    def __init__(self) -> None:
        self.constructed = True


for _name, _severity in vars(ILogger.Severity).items():
    setattr(ILogger, _name, _severity)

float32, float16 = Value("FLOAT", 0), Value("HALF", 1)
NetworkDefinitionCreationFlag = _enumeration("EXPLICIT_BATCH")
BuilderFlag = _enumeration("FP16", "INT8", "TF32")
ProfilingVerbosity = _enumeration("LAYER_NAMES_ONLY", "NONE", "DETAILED")
LayerInformationFormat = _enumeration("ONELINE", "JSON")
MemoryPoolType = _enumeration("WORKSPACE")
TensorIOMode = _enumeration("NONE", "INPUT", "OUTPUT")
_logger: "list[Any]" = []
executed: "list[int]" = []
"""How many images each execution had."""
calibrated: "list[Any]" = []
"""The batches that a calibrator gave, float32 [N, ...]."""


def _say(severity: str, text: str) -> None:
    _logger[0].log(getattr(ILogger.Severity, severity), text)


class Object:
    """What TensorRT holds on the GPU: made and ended while its context is current."""

    __slots__ = ("__weakref__", "cuda_context")

    def __init__(self) -> None:
        self.cuda_context = cuda.current(f"a {type(self).__name__}")
        self.cuda_context.objects.add(self)

    def __del__(self) -> None:
        # At the interpreter's end, what is left behind is told by the context.
        if not cuda.stack() or cuda.stack()[-1] is not self.cuda_context:
            cuda.violate(f"a {type(self).__name__} ends without its context")


def _take_logger(logger: Any) -> None:
    if not isinstance(logger, ILogger) or not getattr(logger, "constructed", False):
        raise TypeError("incompatible constructor arguments: an ILogger is expected")
    if _logger and _logger[0] is not logger:
        cuda.violate("a second logger, which TensorRT would not listen to everywhere")
    _logger[:1] = [logger]


class HostMemory:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self.nbytes = len(content)

    def __bytes__(self) -> bytes:
        return self._content


def _session(model: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if registry.plugins():
        options.register_custom_ops_library(os.environ["STANDIN_ORT_LIBRARY"])
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


# --- the plugin registry ---


class Registry:
    """That of 8.2: libraries register themselves when they are loaded into the process."""

    def plugins(self) -> "tuple[str, ...]":
        with open("/proc/self/maps", encoding="utf-8") as maps:  # noqa: PTH123 - runs on 3.6
            return _PLUGINS if _PLUGIN_LIBRARY in maps.read() else ()

    def get_plugin_creator(self, name: str, version: str, namespace: str = "") -> Any:
        found = name in self.plugins() and (version, namespace) == ("1", "")
        return object() if found else None


class Registry10:
    """From 10 on it loads libraries; creators of IPluginV3 are found by `get_creator` only."""

    def __init__(self) -> None:
        self.loaded: list[str] = []

    def plugins(self) -> "tuple[str, ...]":
        return _PLUGINS if self.loaded else ()

    def load_library(self, path: str) -> Any:
        with open(path, "rb") as file:  # noqa: PTH123 - runs on 3.6
            content = file.read(1024)
        if content[:4] != b"\x7fELF" or len(content) < 1024:
            _say("ERROR", f"Unable to load library: {path}: invalid ELF header")
            return None
        if path in self.loaded:
            cuda.violate(f"{path} is loaded a second time: its creators are known")
        self.loaded.append(path)
        return object()

    def get_plugin_creator(self, name: str, version: str, namespace: str = "") -> Any:
        return None

    def get_creator(self, name: str, version: str, namespace: str = "") -> Any:
        if name in self.plugins() and (version, namespace) == ("1", ""):
            return object()
        _say("ERROR", f"getCreator could not find plugin: {name} version: {version}")
        return None


registry: Any = Registry() if VERSION.startswith("8.") else Registry10()


def get_plugin_registry() -> Any:
    if not _logger:
        cuda.violate("the registry is used before there is a logger to hear its complaints")
    return registry


# --- building ---


class Dims:
    """A shape: it has a length and items, and is no list."""

    def __init__(self, shape: "list[int]") -> None:
        self._shape = list(shape)

    def __len__(self) -> int:
        return len(self._shape)

    def __getitem__(self, index: int) -> int:
        return self._shape[index]


class Tensor:
    def __init__(self, name: str) -> None:
        self.name = name


class Layer:
    """One that makes one tensor."""

    num_outputs = 1

    def __init__(self, output: str) -> None:
        self._output = output

    def get_output(self, index: int) -> Tensor:
        assert index == 0
        return Tensor(self._output)


class Input:
    """A network's input, whose free extents are -1."""

    def __init__(self, argument: Any) -> None:
        self.name = str(argument.name)
        self.shape = Dims([size if isinstance(size, int) else -1 for size in argument.shape])


class Network:
    """Its layers are those that make its outputs: ONNX Runtime names no others."""

    def __init__(self, explicit_batch: bool) -> None:
        self.explicit_batch = explicit_batch
        self.model = b""
        self.inputs: list[Input] = []
        self.outputs: list[str] = []

    @property
    def input(self) -> str:
        """The name of the first input, which a calibration gives images to."""
        return self.inputs[0].name

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    def get_input(self, index: int) -> "Input":
        return self.inputs[index]

    @property
    def num_layers(self) -> int:
        return len(self.outputs)

    def get_layer(self, index: int) -> Layer:
        return Layer(self.outputs[index])


class ParserError:
    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return f"In node 0 (importModel): INVALID_NODE: {self._text}"


class OnnxParser:
    def __init__(self, network: Network, logger: Any) -> None:
        _take_logger(logger)
        self._network = network
        self._errors: list[ParserError] = []

    def parse(self, model: bytes, path: "str | None" = None) -> bool:
        if not self._network.explicit_batch:
            self._errors.append(ParserError("Network must have an explicit batch dimension"))
            return False
        try:
            session = _session(model)
        except Exception as error:
            self._errors.append(ParserError(f"{error}\nand nothing else"))
            return False
        self._network.model = bytes(model)
        self._network.inputs = [Input(argument) for argument in session.get_inputs()]
        self._network.outputs = [output.name for output in session.get_outputs()]
        return True

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, Any] = {}

    def set_shape(self, name: str, least: Any, best: Any, most: Any) -> None:
        self.shapes[name] = [[shape[i] for i in range(len(shape))] for shape in (least, best, most)]


class TimingCache:
    """The names of the layers that were timed, for one version and GPU."""

    def __init__(self, entries: "dict[str, Any]") -> None:
        self.entries = entries

    def fits(self) -> bool:
        return bool(self.entries.get("of") == [VERSION, cuda.GPU["name"]])

    def serialize(self) -> HostMemory:
        return HostMemory(json.dumps(self.entries).encode("ascii"))


class BuilderConfig:
    __slots__ = (
        "cache", "calibration_profile", "flags_set", "int8_calibrator", "profile",
        "profiling_verbosity",
    )  # fmt: skip

    def __init__(self) -> None:
        self.flags_set = {"TF32"}
        self.profile: Profile | None = None
        self.cache: TimingCache | None = None
        self.calibration_profile: Profile | None = None
        self.int8_calibrator: Any = None
        self.profiling_verbosity = ProfilingVerbosity.LAYER_NAMES_ONLY

    def set_flag(self, flag: Value) -> None:
        self.flags_set.add(flag.name)

    def clear_flag(self, flag: Value) -> None:
        self.flags_set.discard(flag.name)

    def add_optimization_profile(self, profile: Profile) -> int:
        self.profile = profile
        return 0

    def set_calibration_profile(self, profile: Profile) -> bool:
        self.calibration_profile = profile
        return True

    def create_timing_cache(self, content: bytes) -> "TimingCache | None":
        if not content:
            return TimingCache({"of": [VERSION, cuda.GPU["name"]], "layers": []})
        try:
            return TimingCache(json.loads(content.decode("ascii")))
        except ValueError:
            _say("ERROR", "Invalid serialized timing cache")
            return None

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        if not cache.fits() and not ignore_mismatch:
            _say("ERROR", "Timing cache of another device or version")
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> "TimingCache | None":
        return self.cache

    def workspace(self) -> int:
        raise NotImplementedError


class BuilderConfig8(BuilderConfig):
    __slots__ = ("max_workspace_size",)

    def workspace(self) -> int:
        size: int = getattr(self, "max_workspace_size", 0)
        return size


class BuilderConfig10(BuilderConfig):
    __slots__ = ("pools",)

    def set_memory_pool_limit(self, pool: Value, size: int) -> None:
        self.pools = {pool.name: size}

    def workspace(self) -> int:
        size: int = self.pools["WORKSPACE"]
        return size


class Builder(Object):
    __slots__ = ()

    def __init__(self, logger: Any) -> None:
        _take_logger(logger)
        super().__init__()

    @property
    def platform_has_fast_fp16(self) -> bool:
        return bool(cuda.GPU["fast_fp16"])

    @property
    def platform_has_fast_int8(self) -> bool:
        return bool(cuda.GPU["fast_int8"])

    def create_network(self, flags: int = 0) -> Network:
        explicit = flags == 1 << int(NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
        return Network(explicit or not VERSION.startswith("8."))

    def create_builder_config(self) -> Any:
        return BuilderConfig8() if VERSION.startswith("8.") else BuilderConfig10()

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Network, config: Any) -> "HostMemory | None":
        cuda.current("a build")
        until = time.perf_counter() + float(os.environ.get("STANDIN_BUILD_SECONDS", "0"))
        while time.perf_counter() < until:
            _say("VERBOSE", "still building")
            time.sleep(0.01)
        if cuda.GPU["build_fails"]:
            _say("ERROR", "10: [optimizer.cpp] Could not find any implementation\nfor node 0")
            _say("ERROR", "2: [builder.cpp] Assertion engine != nullptr failed.")
            return None
        if config.workspace() < 1 << 20:
            cuda.violate(f"a build with a workspace of {config.workspace()} bytes")
        names = [tensor.name for tensor in network.inputs]
        if config.profile is None or not set(names) <= set(config.profile.shapes):
            _say("ERROR", "Network has dynamic inputs, but no optimization profile")
            return None
        scales = _calibrate(network, config) if "INT8" in config.flags_set else {}
        if scales is None:
            _say("ERROR", "2: Calibration failure occurred with no scaling factors detected.")
            return None
        precision = _precision(config)
        self._time(network, config.cache, precision)
        facts = {
            "version": VERSION,
            "gpu": cuda.GPU["name"],
            "precision": precision,
            "flags": sorted(config.flags_set),
            "scales": scales,
            "detailed": config.profiling_verbosity is ProfilingVerbosity.DETAILED,
            "shapes": {name: config.profile.shapes[name] for name in names},
        }
        return HostMemory(_pack(facts, network.model))

    @staticmethod
    def _time(network: Network, cache: "TimingCache | None", precision: str) -> None:
        layer = f"{zlib.crc32(network.model):08x} in {precision}"
        if cache is not None and layer not in cache.entries["layers"]:
            _say("VERBOSE", f"timed the layers of {layer}")
            cache.entries["layers"].append(layer)


def _precision(config: Any) -> str:
    return next((name.lower() for name in ("INT8", "FP16") if name in config.flags_set), "fp32")


# --- calibrating ---


class IInt8Calibrator:
    """Of its methods TensorRT calls none but those that a subclass has of its own."""

    algorithm = ""

    def __init__(self) -> None:
        self.constructed = True


class IInt8EntropyCalibrator2(IInt8Calibrator):
    algorithm = "EntropyCalibration2"


class IInt8MinMaxCalibrator(IInt8Calibrator):
    algorithm = "MinMaxCalibration"


def _ask(calibrator: Any, method: str, *arguments: Any) -> Any:
    """What the calibrator answers; an exception would leave a noexcept function."""
    try:
        return getattr(calibrator, method)(*arguments)
    except BaseException as error:
        cuda.violate(f"{method} raises {error!r}: TensorRT 8.2 ends the process")
        return None


def _calibrate(network: Network, config: Any) -> "dict[str, float] | None":
    """The scale of each tensor, from the calibrator's cache or else from its images."""
    calibrator = config.int8_calibrator
    if not getattr(calibrator, "constructed", False):
        cuda.violate("int8 without a calibrator, or with one whose base was never constructed")
        return None
    if config.calibration_profile is None:
        _say("ERROR", "4: Calibration profile is not defined.")
        return None
    cache = _ask(calibrator, "read_calibration_cache")
    if cache is not None:
        scales = _read_scales(bytes(memoryview(cache)), calibrator.algorithm)
        if scales is not None:
            _say("INFO", f"Reading Calibration Cache for calibrator: {calibrator.algorithm}")
            return scales
        _say("ERROR", "Calibration table does not match calibrator algorithm type.")
    magnitudes = _run_batches(network, config, calibrator)
    if not magnitudes:
        return None
    scales = {name: magnitude / 127 for name, magnitude in magnitudes.items()}
    text = "".join(f"{name}: {np.float32(s).view(np.int32):x}\n" for name, s in scales.items())
    written = f"TRT-{_number()}-{calibrator.algorithm}\n{text}".encode()
    _say("INFO", f"Writing Calibration Cache for calibrator: TRT-{_number()}")
    _ask(calibrator, "write_calibration_cache", memoryview(written))
    return scales


def _run_batches(network: Network, config: Any, calibrator: Any) -> "dict[str, float]":
    """The largest magnitude of each tensor over all batches."""
    size = _ask(calibrator, "get_batch_size")
    least, shape, most = config.calibration_profile.shapes[network.input]
    if not least == shape == most or shape[0] != size:
        cuda.violate(f"batches of {size} images, a calibration profile of {[least, shape, most]}")
    session = _session(network.model)
    magnitudes: dict[str, float] = {}
    while True:
        addresses = _ask(calibrator, "get_batch", [network.input])
        if not addresses:
            return magnitudes
        assert [type(address) for address in addresses] == [int]
        images = cuda.at(addresses[0], int(np.prod(shape)), "a calibration batch").reshape(shape)
        if np.isnan(images).any():
            cuda.violate("a calibration batch that nobody wrote")
        calibrated.append(np.array(images, np.float32))
        outputs = session.run(network.outputs, {network.input: calibrated[-1]})
        for name, value in zip([network.input, *network.outputs], [images, *outputs]):  # noqa: B905
            magnitudes[name] = max(magnitudes.get(name, 0.0), float(np.abs(value).max()))
        _say("VERBOSE", f"Calibrated batch {len(calibrated) - 1}")


def _number() -> int:
    """NV_TENSORRT_VERSION."""
    major, minor, patch = map(int, VERSION.split(".")[:3])
    return major * (1000 if major < 10 else 10000) + minor * 100 + patch


def _read_scales(cache: bytes, algorithm: str) -> "dict[str, float] | None":
    """The scales, where the cache is of the algorithm and of this major version."""
    first, *lines = cache.decode("utf-8").splitlines()
    name, version, written_by = first.split("-")
    thousands = 1000 if len(version) < 5 else 10000
    if name != "TRT" or written_by != algorithm:
        return None
    if str(int(version) // thousands) != VERSION.split(".")[0]:
        return None
    parts = [line.rpartition(": ") for line in lines]
    bits = np.array([int(scale, 16) for _, _, scale in parts], np.uint32)
    return dict(zip([tensor for tensor, _, _ in parts], bits.view(np.float32).tolist()))  # noqa: B905


# --- engine files ---


def _pack(facts: "dict[str, Any]", model: bytes) -> bytes:
    head = json.dumps(facts).encode("ascii")
    body = len(head).to_bytes(4, "little") + head + model
    return _MAGIC + zlib.crc32(body).to_bytes(4, "little") + body


def _unpack(content: bytes) -> "tuple[dict[str, Any], bytes]":
    body = content[len(_MAGIC) + 4 :]
    checksum = int.from_bytes(content[len(_MAGIC) : len(_MAGIC) + 4], "little")
    if not content.startswith(_MAGIC) or zlib.crc32(body) != checksum:
        raise ValueError("Serialization assertion magicTagRead == kMAGIC_TAG failed.")
    length = int.from_bytes(body[:4], "little")
    facts: dict[str, Any] = json.loads(body[4 : 4 + length].decode("ascii"))
    if facts["version"] != VERSION:
        raise ValueError("Serialization assertion stdVersionRead == serializationVersion failed.")
    return facts, body[4 + length :]


# --- running ---


class Runtime(Object):
    __slots__ = ()

    def __init__(self, logger: Any) -> None:
        _take_logger(logger)
        super().__init__()

    def deserialize_cuda_engine(self, content: bytes) -> Any:
        try:
            if cuda.GPU["refuses_engines"]:
                raise ValueError("Plugin not found")
            facts, model = _unpack(content)
            session = _session(model)
        except Exception as error:
            _say("ERROR", f"1: [runtime.cpp] {error}")
            return None
        return (Engine8 if VERSION.startswith("8.") else Engine10)(facts, session)


class Inspector:
    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    def get_layer_information(self, index: int, form: Value) -> str:
        assert form is LayerInformationFormat.JSON
        if index == 1 or not self._engine.facts["detailed"]:
            return json.dumps(f"[reformat {index}]")
        output = {"Format/Datatype": "Row major linear FP16 format"}
        layer = {"Name": "stem", "LayerType": "PluginV2", "PluginType": "ShiftConv"}
        return json.dumps(dict(layer, Outputs=[output], TacticName="k\u00ferzer"))


class Engine(Object):
    """Its outputs stand before its inputs."""

    __slots__ = ("facts", "inputs", "names", "session")
    num_layers = 2

    def __init__(self, facts: "dict[str, Any]", session: Any) -> None:
        super().__init__()
        self.facts = facts
        self.session = session
        outputs = [output.name for output in session.get_outputs()]
        self.inputs = [argument.name for argument in session.get_inputs()]
        self.names = [*outputs[::-1], *self.inputs]

    def create_engine_inspector(self) -> Inspector:
        return Inspector(self)


class Engine8(Engine):
    __slots__ = ()

    @property
    def num_bindings(self) -> int:
        return len(self.names)

    def get_binding_name(self, index: int) -> Any:
        return self.names[index]

    def binding_is_input(self, index: int) -> bool:
        return bool(self.names[index] in self.inputs)

    def get_binding_dtype(self, index: int) -> Any:
        return float32

    def get_profile_shape(self, profile_index: int, binding: int) -> Any:
        assert profile_index == 0
        return [Dims(shape) for shape in self.facts["shapes"][self.names[binding]]]

    def create_execution_context(self) -> Any:
        return ExecutionContext8(self)


class Engine10(Engine):
    __slots__ = ()

    @property
    def num_io_tensors(self) -> int:
        return len(self.names)

    def get_tensor_name(self, index: int) -> Any:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> Any:
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return float32

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> Any:
        assert profile_index == 0
        return [Dims(shape) for shape in self.facts["shapes"][name]]

    def create_execution_context(self) -> Any:
        return ExecutionContext10(self)


class ExecutionContext(Object):
    __slots__ = ("engine", "input_shapes", "shapes")

    def __init__(self, engine: Any) -> None:
        super().__init__()
        self.engine = engine
        self.input_shapes: dict[str, Any] = {}
        self.shapes: dict[str, Any] = {}

    def set_shape(self, name: str, shape: Any) -> bool:
        least, _, most = self.engine.facts["shapes"][name]
        if len(shape) != len(most) or not all(
            low <= size <= high
            for low, size, high in zip(least, shape, most)  # noqa: B905
        ):
            _say("ERROR", "Static dimension mismatch\nwhile setting input shape.")
            return False
        self.input_shapes[name] = list(shape)
        self.shapes = {}
        return True

    def settled(self) -> "dict[str, Any]":
        """The shapes of all tensors, once all inputs have theirs."""
        if not self.shapes:
            given = {n: np.zeros(shape, np.float32) for n, shape in self.input_shapes.items()}
            self.shapes = {n: list(value.shape) for n, value in self.compute(given).items()}
            self.shapes.update(self.input_shapes)
        return self.shapes

    def compute(self, inputs: "dict[str, Any]") -> "dict[str, Any]":
        names = [name for name in self.engine.names if name not in self.engine.inputs]
        values = self.engine.session.run(names, inputs)
        if self.engine.facts["precision"] == "fp16":
            values = [value.astype(np.float16).astype(np.float32) for value in values]
        return dict(zip(names, values))  # noqa: B905 - runs on 3.6

    def start(self, addresses: "dict[str, int]", stream_handle: int) -> bool:
        stream = cuda.Stream.by_handle.get(stream_handle)
        if stream is None:
            cuda.violate("an execution in a stream that is none")
            return False
        ready = set(self.input_shapes) == set(self.engine.inputs)
        if not ready or set(addresses) != set(self.engine.names):
            cuda.violate("an execution before all shapes and addresses are set")
            return False
        shapes = dict(self.settled())
        executed.append(shapes[self.engine.inputs[0]][0])

        def execute() -> None:
            given = {
                name: np.ascontiguousarray(
                    cuda.at(addresses[name], int(np.prod(shapes[name])), "an input"), np.float32
                ).reshape(shapes[name])
                for name in self.engine.inputs
            }
            for name, value in self.compute(given).items():
                assert list(value.shape) == shapes[name]
                cuda.at(addresses[name], value.size, "an output")[...] = value.ravel()

        stream.tell(execute)
        return True


class ExecutionContext8(ExecutionContext):
    __slots__ = ()

    def set_binding_shape(self, binding: int, shape: Any) -> bool:
        return self.set_shape(self.engine.names[binding], shape)

    def get_binding_shape(self, binding: int) -> Any:
        return Dims(self.settled()[self.engine.names[binding]])

    def execute_async_v2(self, bindings: "list[int]", stream_handle: int) -> bool:
        if len(bindings) != len(self.engine.names):
            cuda.violate(f"{len(bindings)} bindings for {len(self.engine.names)}")
        return self.start(dict(zip(self.engine.names, bindings)), stream_handle)  # noqa: B905


class ExecutionContext10(ExecutionContext):
    __slots__ = ("addresses",)

    def __init__(self, engine: Any) -> None:
        super().__init__(engine)
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: Any) -> bool:
        return self.set_shape(name, shape)

    def get_tensor_shape(self, name: str) -> Any:
        return Dims(self.settled()[name])

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self.addresses[name] = memory
        return name in self.engine.names

    def execute_async_v3(self, stream_handle: int) -> bool:
        return self.start(dict(self.addresses), stream_handle)


def module() -> types.ModuleType:
    """The module `tensorrt` of the version that STANDIN_TENSORRT names."""
    made = types.ModuleType("tensorrt")
    here = vars(sys.modules[__name__])
    names = [
        "Dims", "ILogger", "float32", "float16", "NetworkDefinitionCreationFlag", "BuilderFlag",
        "Builder", "ProfilingVerbosity", "LayerInformationFormat", "OnnxParser", "Runtime",
        "IInt8EntropyCalibrator2", "IInt8MinMaxCalibrator", "get_plugin_registry",
    ]  # fmt: skip
    if not VERSION.startswith("8."):
        names += ["MemoryPoolType", "TensorIOMode"]
    vars(made).update({name: here[name] for name in names}, __version__=VERSION)
    return made
