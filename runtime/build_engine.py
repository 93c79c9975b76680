"""Builds a TensorRT engine on the machine that is to run it: `python3 build_engine.py MODEL.onnx`.

Writes MODEL.PRECISION.engine, its description MODEL.PRECISION.engine.json and the build's log
MODEL.PRECISION.log, and keeps TensorRT's timings beside them in timing.cache for the next build.
What a calibration on images finds is kept as well, in MODEL.int8.calibration.cache.

Exit codes: 0 fine; 2 bad usage, images that cannot be read, or a model that TensorRT cannot build.
"""

import argparse
import hashlib
import os
import sys
import time
from typing import TYPE_CHECKING, Dict, NamedTuple, Optional, Sequence

if not __package__:
    # Run as a script, Python has put this file's folder on the path; the package's folder is
    # needed.
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

from runtime.console import build_calibration, commandline  # noqa: E402 - after the path above
from runtime.console.waiting import wait_for  # noqa: E402
from runtime.core import files  # noqa: E402 - after the path above
from runtime.core.errors import ModelError, reason  # noqa: E402
from runtime.core.metadata import PREFIX, Metadata, parse_any  # noqa: E402
from runtime.core.onnx_header import read_metadata  # noqa: E402
from runtime.core.places import ROOT  # noqa: E402
from runtime.engines.tensorrt import engine_file  # noqa: E402 - after the path above

if TYPE_CHECKING:
    from runtime.engines.tensorrt.builder import Built, EngineBuilder, Settings
    from runtime.engines.tensorrt.gpu import Gpu

# The workspace is in MiB. TensorRT 8.2 would take none by itself. This is enough for the layers of
# these networks, and little of a Nano's 4 GB, which its CPU needs too.
_WORKSPACE = 256
_MAX_BATCH = 8
_PRECISIONS = ("fp32", "fp16", "int8")
_OUT = os.path.join(ROOT, "build", "engines")


class Model(NamedTuple):
    """An ONNX file: its bytes, and its metadata as it is written and as it is read."""

    path: str
    content: bytes
    properties: Dict[str, str]
    metadata: Metadata


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """The command; returns its exit code. Raises ShiftAddError for what stops it."""
    options = _parser().parse_args(arguments)
    try:
        model = _read_model(options.model)
        # Imported here, where a missing package is told in one line.
        from runtime.engines.tensorrt.gpu import Gpu

        gpu = Gpu()
        try:
            _build(gpu, model, options)
        except KeyboardInterrupt:
            # TensorRT is still at work in its thread and cannot be told to stop: neither the GPU
            # nor the interpreter may be taken down under it.
            os._exit(commandline.INTERRUPTED)
        except BaseException:
            gpu.release()
            raise
        gpu.release()
    except ModelError as error:
        raise ModelError("{}: {}".format(options.model, error)) from error
    return commandline.FINE


def _parser() -> commandline.Parser:
    parser = commandline.Parser(
        prog="build_engine.py",
        description="Builds a TensorRT engine from an exported model, on the machine and the GPU "
        "that it is to run on.",
    )
    parser.add_argument("model", metavar="MODEL.onnx", help="a model written by `make export`")
    parser.add_argument(
        "--precision", choices=_PRECISIONS, metavar="fp32|fp16|int8",
        help="what the engine computes in (default: fp16 where the GPU is faster in it, else fp32)",
    )  # fmt: skip
    parser.add_argument(
        "--workspace", type=commandline.positive, default=_WORKSPACE, metavar="MiB",
        help="memory that a layer may use beside its tensors (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--max-batch", type=commandline.positive, default=_MAX_BATCH, metavar="N",
        help="most images of one execution; more are run in pieces (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--output", metavar="FILE|DIR/",
        help="the engine to write, or with / at its end the folder for MODEL.PRECISION.engine "
        "(default: build/engines/ beside the runtime folder)",
    )  # fmt: skip
    parser.add_argument(
        "--library", metavar="PATH",
        help="the plugin library (default: $SHIFTADD_TENSORRT_LIBRARY, libshiftadd_tensorrt.so "
        "beside the runtime package, or build/plugins/ of the checkout)",
    )  # fmt: skip
    build_calibration.add_options(parser)
    return parser


def _read_model(path: str) -> Model:
    properties = read_metadata(path)
    metadata = parse_any(properties)
    try:
        with files.open_regular(path) as file:
            return Model(path, file.read(), properties, metadata)
    except OSError as error:
        raise ModelError("cannot read the model: {}".format(reason(error))) from error


def _build(gpu: "Gpu", model: Model, options: argparse.Namespace) -> None:
    from runtime.engines.tensorrt.api import load_plugins
    from runtime.engines.tensorrt.builder import EngineBuilder, Settings

    with gpu.current():
        builder = EngineBuilder(gpu)
        try:
            precision = options.precision or builder.best_precision()
            builder.check_precision(precision)
            build_calibration.check(options, precision)
            plugins = load_plugins(model.metadata.operators, options.library)
            output = _output(options.output, model.path, precision)
            settings = Settings(
                precision,
                options.workspace,
                options.max_batch,
                build_calibration.source(options, model.metadata, _calibration_cache(output)),
                _read_timing_cache(_timing_cache(output)),
            )
            start = _announce(gpu, output, precision)
            built = _build_logged(gpu, builder, model, settings, _log(output))
        finally:
            builder.release()
    _write(gpu, model, plugins, settings, built, output)
    commandline.show(
        "wrote {}, {:.1f} MB, in {:.0f} s; what TensorRT chose for each layer: {}".format(
            output, len(built.engine) / 1e6, time.perf_counter() - start, _log(output)
        )
    )


def _announce(gpu: "Gpu", output: str, precision: str) -> float:
    """Says what begins and how long it may take; returns the time of the beginning."""
    from runtime.engines.tensorrt.api import VERSION

    commandline.show(
        "building {}: {} for {} (compute capability {}), TensorRT {}; layers that were never timed "
        "here take minutes".format(output, precision, gpu.name, gpu.compute_capability, VERSION)
    )
    return time.perf_counter()


def _write(
    gpu: "Gpu",
    model: Model,
    plugins: Optional[str],
    settings: "Settings",
    built: "Built",
    output: str,
) -> None:
    """Writes the timing cache, the engine, and last its sidecar, without which it is refused."""
    from runtime.engines.tensorrt.api import VERSION

    cache = _timing_cache(output)
    if settings.timing_cache and not built.cache_used:
        commandline.show(
            "{}: damaged, or of another TensorRT or GPU: everything was timed anew".format(cache)
        )
    files.replace(cache, built.timing_cache, "timing cache")
    files.replace(output, built.engine, "engine")
    sidecar = engine_file.Sidecar(
        format_version=engine_file.FORMAT_VERSION,
        tensorrt_version=VERSION,
        gpu=gpu.name,
        compute_capability=gpu.compute_capability,
        precision=settings.precision,
        max_batch=settings.max_batch,
        onnx_file=model.path,
        onnx_sha256=hashlib.sha256(model.content).hexdigest(),
        engine_sha256=hashlib.sha256(built.engine).hexdigest(),
        library_sha256=files.sha256(plugins) if plugins else "",
        metadata={k: v for k, v in model.properties.items() if k.startswith(PREFIX)},
    )
    engine_file.write(output, sidecar)


def _output(given: Optional[str], model: str, precision: str) -> str:
    if given is None or given.endswith("/"):
        stem, _ = os.path.splitext(os.path.basename(model))
        return os.path.join(given or _OUT, "{}.{}.engine".format(stem, precision))
    if not engine_file.is_engine(given):
        raise ModelError(
            "--output {}: an engine's name ends in {}, by which the runtime knows it".format(
                given, " or ".join(engine_file.SUFFIXES)
            )
        )
    return given


def _log(output: str) -> str:
    return os.path.splitext(output)[0] + ".log"


def _calibration_cache(output: str) -> str:
    return os.path.splitext(output)[0] + ".calibration.cache"


def _timing_cache(output: str) -> str:
    """The timing cache that all engines of a folder share, so that layers that are alike are timed
    once."""
    return os.path.join(os.path.dirname(output), "timing.cache")


def _read_timing_cache(path: str) -> bytes:
    try:
        with files.open_regular(path) as file:
            return file.read()
    except OSError:
        return b""


def _build_logged(
    gpu: "Gpu", builder: "EngineBuilder", model: Model, settings: "Settings", log: str
) -> "Built":
    """Builds, and writes everything that TensorRT says to the file `log`, even where the build
    fails."""
    from runtime.engines.tensorrt.api import LOGGER
    from runtime.engines.tensorrt.builder import describe

    def job() -> "Built":
        with gpu.current():
            built = builder.build(model.content, settings)
            lines = ["", "what TensorRT chose:"] + describe(built.engine) + [""]
            file.write("\n".join(lines).encode("utf-8", "backslashreplace"))
            return built

    with files.replaced(log, "build's log") as file, LOGGER.writing(file):
        try:
            return wait_for(job, "building")
        except ModelError as error:
            # Only the text is kept: the traceback would keep TensorRT's objects alive beyond the
            # GPU's context.
            failed = str(error)
    raise ModelError("{} (TensorRT's whole log: {})".format(failed, log))


if __name__ == "__main__":
    commandline.leave(main)
