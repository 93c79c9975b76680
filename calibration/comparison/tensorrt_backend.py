"""TensorRT with the plugin library, on this machine's GPU."""

from __future__ import annotations

import hashlib
import weakref

import numpy as np

from calibration.comparison.backend import Backend, Runner, check_names
from calibration.comparison.deviation import FLOAT16, FLOAT32
from runtime.console.commandline import show
from runtime.core.metadata import Metadata
from runtime.engines.tensorrt.api import LOGGER, VERSION, load_plugins, trt
from runtime.engines.tensorrt.builder import EngineBuilder, Settings
from runtime.engines.tensorrt.engine import Engine
from runtime.engines.tensorrt.gpu import Gpu

PRECISIONS = {"fp32": FLOAT32, "fp16": FLOAT16}
_WORKSPACE = 256  # MiB, as runtime/build_engine.py has it
_MAX_BATCH = 4  # images that a comparison gives at a time


class TensorRtBackend(Backend):
    """Builds an engine in memory of every model that it loads, in one precision.

    Raises ModelError without a GPU, without TensorRT, and where the plugin library is missing.
    """

    packages = ()

    def __init__(
        self, metadata: Metadata, library: str | None = None, precision: str = "fp32"
    ) -> None:
        self._precision = precision
        self._timing_cache = b""
        self._built: list[str] = []
        self.tolerances = PRECISIONS[precision]
        self._gpu = Gpu()
        self._engines: list[Engine] = []
        self._finalizer = weakref.finalize(self, _release, self._gpu, self._engines)
        with self._gpu.current():
            # The first object that is made gives TensorRT's registry its logger.
            trt.Runtime(LOGGER)
            self.library = load_plugins(metadata.operators, library)

    def load(self, content: bytes) -> Runner:
        engine = Engine(self._gpu, self._build(content))
        self._engines.append(engine)
        check_names(engine.inputs, engine.outputs)
        return lambda images: engine.run(np.ascontiguousarray(images, dtype=np.float32))

    def close(self) -> None:
        """Gives back what is held of the GPU; this happens with the last reference, too."""
        self._finalizer()

    def facts(self) -> dict[str, str]:
        # This import stands here, since runtime.engines.tensorrt.gpu says what to install where
        # PyCUDA is missing.
        import pycuda

        return {
            "engines": f"built in memory in {self._precision}, up to {_MAX_BATCH} images; as it is "
            f"and with every layer's output: SHA-256 {', '.join(self._built)}",
            "TensorRT": VERSION,
            "PyCUDA": pycuda.VERSION_TEXT,
            "GPU": f"{self._gpu.name}, compute capability {self._gpu.compute_capability}",
        }

    def _build(self, content: bytes) -> bytes:
        show(
            f"building a {self._precision} engine with TensorRT {VERSION} for {self._gpu.name}, "
            f"which may take minutes"
        )
        settings = Settings(
            self._precision, _WORKSPACE, _MAX_BATCH, timing_cache=self._timing_cache
        )
        with self._gpu.current():
            builder = EngineBuilder(self._gpu)
            try:
                built = builder.build(content, settings)
            finally:
                builder.release()
        # The second engine has the layers of the first, so it need not time them again.
        self._timing_cache = built.timing_cache
        self._built.append(hashlib.sha256(built.engine).hexdigest())
        return built.engine


def _release(gpu: Gpu, engines: list[Engine]) -> None:
    while engines:
        engines.pop().release()
    gpu.release()
