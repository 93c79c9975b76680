"""TensorRT (8.2 or newer) behind the session interface, on the GPU."""

import weakref
from typing import Dict, Optional

from runtime.core.arrays import AnyArray
from runtime.core.errors import ModelError, reason
from runtime.core.files import open_regular, sha256
from runtime.core.metadata import Metadata, parse_any
from runtime.core.session import Session
from runtime.engines.tensorrt import engine_file
from runtime.engines.tensorrt.api import LOGGER, VERSION, load_plugins, trt
from runtime.engines.tensorrt.engine import Engine
from runtime.engines.tensorrt.engine_file import Sidecar
from runtime.engines.tensorrt.gpu import Gpu


class TensorRtSession(Session):
    """A model run by TensorRT; `run` may be called from several threads at a time.

    `close` gives back what it holds of the GPU; this happens at the latest when the interpreter
    ends.
    """

    def __init__(self, metadata: Metadata, gpu: Gpu, engine: Engine) -> None:
        super().__init__(metadata, engine.input_tensors, engine.output_tensors)
        self._engine = engine
        self._release = weakref.finalize(self, _release, gpu, engine)

    def close(self) -> None:
        self._release()

    def _execute(self, inputs: Dict[str, AnyArray]) -> Dict[str, AnyArray]:
        return dict(self._engine.run_all(inputs))


def load(path: str, library: Optional[str] = None) -> TensorRtSession:
    """Loads and warms up the engine at `path`, which needs its sidecar beside it.

    `library` is the plugin library's path (searched for when None). It is loaded when the model
    holds custom operators, or when it was named.

    Raises ModelError for everything that keeps the engine from running.
    """
    try:
        content = _content(path)
        sidecar = engine_file.read(path)
        metadata = parse_any(sidecar.metadata)
        engine_file.check_content(path, content, sidecar)
        gpu = Gpu()
        try:
            engine_file.check_machine(path, sidecar, VERSION, gpu.name, gpu.compute_capability)
            return _start(path, content, sidecar, metadata, gpu, library)
        except BaseException:
            gpu.release()
            raise
    except ModelError as error:
        raise ModelError("{}: {}".format(path, error)) from error


def _content(path: str) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read()
    except OSError as error:
        raise ModelError("cannot read the engine: {}".format(reason(error))) from error


def _start(
    path: str,
    content: bytes,
    sidecar: Sidecar,
    metadata: Metadata,
    gpu: Gpu,
    library: Optional[str],
) -> TensorRtSession:
    with gpu.current():
        # TensorRT's registry takes its logger from the first object that is made.
        trt.Runtime(LOGGER)
        plugins = load_plugins(metadata.operators, library)
    try:
        engine = Engine(gpu, content)
    except ModelError as error:
        raise _with_library(error, path, sidecar, plugins) from error
    try:
        session = TensorRtSession(metadata, gpu, engine)
    except BaseException:
        engine.release()
        raise
    try:
        session.warm_up()
    except BaseException:
        session.close()
        raise
    return session


def _with_library(
    error: ModelError, path: str, sidecar: Sidecar, plugins: Optional[str]
) -> ModelError:
    """`error`, with a remark where the plugin library is not the one that the engine was built
    with."""
    if plugins is None or sha256(plugins) == sidecar.library_sha256:
        return error
    return ModelError(
        "{}; and {} is another build of the plugin library than the engine's: {}".format(
            error, plugins, engine_file.rebuild(path, sidecar)
        )
    )


def _release(gpu: Gpu, engine: Engine) -> None:
    engine.release()
    gpu.release()
