"""From an ONNX model to a TensorRT engine, by the builder of TensorRT 8.2 or newer."""

import json
from typing import Any, Dict, List, NamedTuple, Optional, Set, Tuple

from runtime.core.errors import ModelError
from runtime.engines.tensorrt.api import LOGGER, VERSION, VERSION_10, failure, trt
from runtime.engines.tensorrt.calibrator import Source, calibrator
from runtime.engines.tensorrt.gpu import Gpu

_MIB = 1 << 20


class Settings(NamedTuple):
    """How an engine is built.

    `workspace` is the memory in MiB that a layer may use beside its tensors, `max_batch` the most
    images of one execution, `calibration` where int8 takes its scales from, and `timing_cache` what
    an earlier build measured.
    """

    precision: str
    workspace: int
    max_batch: int
    calibration: Optional[Source] = None
    timing_cache: bytes = b""


class Built(NamedTuple):
    """A built engine, the timing cache to keep, and whether the given timing cache was of use."""

    engine: bytes
    timing_cache: bytes
    cache_used: bool


class EngineBuilder:
    """TensorRT's builder on `gpu`, whose context has to be current whenever this is used."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        LOGGER.take()
        try:
            self._builder = trt.Builder(LOGGER)
        # pybind11 raises this where a constructor returned nothing.
        except TypeError as error:
            raise failure("TensorRT cannot make a builder") from error

    def release(self) -> None:
        """Gives the builder back; otherwise the traceback of an exception could keep it alive."""
        del self._builder

    def best_precision(self) -> str:
        """fp16 where the GPU computes faster in it, else fp32."""
        return "fp16" if self._builder.platform_has_fast_fp16 else "fp32"

    def check_precision(self, precision: str) -> None:
        """Raises ModelError for int8 on a GPU without it."""
        if precision == "int8" and not self._builder.platform_has_fast_int8:
            raise ModelError(
                "no int8 on this GPU: {} (compute capability {}) has no arithmetic for it; build "
                "for its GPU with --precision fp16, or run the int8 ONNX file on its CPU: "
                "python3 runtime/infer.py MODEL.int8.onnx IMAGE".format(
                    self._gpu.name, self._gpu.compute_capability
                )
            )

    def build(self, model: bytes, settings: Settings) -> Built:
        """The engine of the ONNX `model`, whose inputs are float32 [N, ...].

        The plugins that it needs have to be loaded. Raises ModelError with TensorRT's reasons.
        """
        LOGGER.take()
        network = self._builder.create_network(_network_flags())
        parser = trt.OnnxParser(network, LOGGER)
        if not parser.parse(model):
            errors = [" ".join(str(parser.get_error(i)).split()) for i in range(parser.num_errors)]
            raise failure("TensorRT cannot read the model", errors)
        config = self._builder.create_builder_config()
        _set_workspace(config, settings.workspace)
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        shapes = _input_shapes(network)
        if config.add_optimization_profile(self._profile(shapes, 1, settings.max_batch)) < 0:
            raise failure("TensorRT refuses inputs of the shapes {}".format(shapes))
        self._set_precision(config, settings.precision)
        used = _set_timing_cache(config, settings.timing_cache)
        source = settings.calibration
        plan = (
            self._builder.build_serialized_network(network, config)
            if source is None
            else self._build_calibrated(network, config, shapes, source)
        )
        if plan is None:
            raise failure("TensorRT cannot build the engine")
        return Built(bytes(plan), bytes(config.get_timing_cache().serialize()), used)

    def _build_calibrated(
        self,
        network: "trt.INetworkDefinition",
        config: "trt.IBuilderConfig",
        shapes: Dict[str, List[int]],
        source: Source,
    ) -> Optional["trt.IHostMemory"]:
        """What TensorRT builds with scales from `source`. Raises the errors of the calibration."""
        source.check_tensors(_tensor_names(network))
        # TensorRT calls the calibrator during the build, so this reference keeps it alive until
        # then.
        answering = calibrator(source)
        config.int8_calibrator = answering
        profile = self._profile(shapes, source.batch_size, source.batch_size)
        if not config.set_calibration_profile(profile):
            raise failure("TensorRT refuses the calibration profile")
        try:
            source.begin(self._gpu)
            plan = self._builder.build_serialized_network(network, config)
        finally:
            source.end()
        source.check(built=plan is not None)
        return plan

    def _profile(
        self, shapes: Dict[str, List[int]], least: int, most: int
    ) -> "trt.IOptimizationProfile":
        """A profile for batches of `least` to `most` that is optimised for `least`; `shapes` are
        the inputs' without the batch."""
        profile = self._builder.create_optimization_profile()
        for name, shape in shapes.items():
            few, many = (trt.Dims([count] + shape) for count in (least, most))
            profile.set_shape(name, few, few, many)
        return profile

    def _set_precision(self, config: "trt.IBuilderConfig", precision: str) -> None:
        """Sets what the precision allows layers to compute in."""
        # With TF32 left on, fp32 would compute with a mantissa of ten bits on Ampere GPUs and newer
        # ones.
        config.clear_flag(trt.BuilderFlag.TF32)
        # Plugins have no int8: in an int8 engine they compute in fp16 or fp32, whichever is faster.
        int8_and_half = precision == "int8" and self._builder.platform_has_fast_fp16
        if precision == "fp16" or int8_and_half:
            config.set_flag(_flag("FP16"))
        if precision == "int8":
            config.set_flag(_flag("INT8"))


def _input_shapes(network: "trt.INetworkDefinition") -> Dict[str, List[int]]:
    """The inputs' shapes by name, without the batch. Raises ModelError for a free extent."""
    shapes = {}
    for i in range(network.num_inputs):
        tensor = network.get_input(i)
        shape = [int(tensor.shape[axis]) for axis in range(len(tensor.shape))]
        if not shape or min(shape[1:], default=1) < 1:
            raise ModelError(
                "the input {} has the shape {}: only the first extent may be free".format(
                    tensor.name, shape
                )
            )
        shapes[str(tensor.name)] = shape[1:]
    return shapes


def _tensor_names(network: "trt.INetworkDefinition") -> Set[str]:
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    computed = {layer.get_output(i).name for layer in layers for i in range(layer.num_outputs)}
    return computed | set(_input_shapes(network))


def describe(engine: bytes) -> List[str]:
    """What TensorRT chose, one line for each layer: name, type, format of its output, kernel.

    Where TensorRT says more than the name, its own words follow.
    """
    LOGGER.take()
    runtime = trt.Runtime(LOGGER)
    loaded = runtime.deserialize_cuda_engine(engine)
    if loaded is None:
        raise failure("TensorRT cannot read the engine that it built")
    inspector = loaded.create_engine_inspector()
    texts = [
        inspector.get_layer_information(i, trt.LayerInformationFormat.JSON)
        for i in range(loaded.num_layers)
    ]
    rows = [("layer", "type", "output", "kernel")] + [_layer_row(text) for text in texts]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    table = [
        "  ".join([row[i].ljust(widths[i]) for i in range(3)] + [row[3]]).rstrip() for row in rows
    ]
    return table + [""] + [" ".join(text.split()) for text in texts]


def _layer_row(text: str) -> Tuple[str, str, str, str]:
    """The cells of one layer. The names of the entries differ between versions of TensorRT."""
    try:
        layer = json.loads(text)
    except ValueError:
        layer = text.strip()
    if not isinstance(layer, dict):
        return str(layer), "", "", ""
    outputs = layer.get("Outputs") or [{}]
    return (
        str(layer.get("Name", "")),
        str(layer.get("PluginType", layer.get("LayerType", ""))),
        str(outputs[0].get("Format/Datatype", "")),
        str(layer.get("TacticName", "")),
    )


def _network_flags() -> int:
    # From TensorRT 10 on every batch is explicit, and the flag is deprecated.
    return 0 if VERSION_10 else 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)


def _set_workspace(config: Any, mebibytes: int) -> None:
    # This way exists since TensorRT 8.4, and is the only one from 10 on.
    if hasattr(config, "set_memory_pool_limit"):
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, mebibytes * _MIB)
    else:
        config.max_workspace_size = mebibytes * _MIB


def _flag(name: str) -> Any:
    flag = getattr(trt.BuilderFlag, name, None)
    if flag is None:
        raise ModelError(
            "TensorRT {} builds no {} engine from this model: use --precision fp32".format(
                VERSION, name.lower()
            )
        )
    return flag


def _set_timing_cache(config: "trt.IBuilderConfig", content: bytes) -> bool:
    """Makes the build use `content`, or else an empty cache; returns whether `content` was of
    use."""
    cache = _timing_cache(config, content) if content else None
    if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
        return True
    # What TensorRT logs about a damaged or foreign cache does not explain an error that may come
    # later.
    LOGGER.take()
    config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
    return False


def _timing_cache(config: "trt.IBuilderConfig", content: bytes) -> Optional["trt.ITimingCache"]:
    try:
        return config.create_timing_cache(content)
    except (RuntimeError, TypeError, ValueError):
        return None
