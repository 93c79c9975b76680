"""Converts, checks and runs the baseline in another engine. peers.py starts it.

    python -m device_scripts.host.bench.peer_child convert MODEL FILE FOLDER
    python -m device_scripts.host.bench.peer_child serve ENGINE MODEL FOLDER THREADS

When it serves, it reads a number of runs from each line and answers with the seconds that they
took.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Run = Callable[[], Any]

_TOLERANCE = 2e-3
"""The largest relative difference of an engine's float32 outputs from ONNX Runtime's; that of
ncnn's Winograd convolution is 1e-4."""
_SEED = 0


def _input(shape: tuple[int, ...]) -> Array:
    return np.random.default_rng(_SEED).normal(size=shape).astype(np.float32)


def _onnxruntime(path: Path, threads: int) -> tuple[Run, tuple[int, ...]]:
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    argument = session.get_inputs()[0]
    shape = tuple(d if isinstance(d, int) else 1 for d in argument.shape)
    x = _input(shape)
    return lambda: session.run(None, {argument.name: x})[0], shape


def _openvino(path: Path, threads: int, shape: tuple[int, ...]) -> Run:
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = openvino.Core().compile_model(str(path), "CPU", settings).create_infer_request()
    request.set_input_tensor(openvino.Tensor(_input(shape)))

    def run() -> Array:
        request.infer()
        out: Array = request.get_output_tensor().data
        return out

    return run


def _ncnn(stem: Path, threads: int, shape: tuple[int, ...]) -> Run:
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = threads
    # By default ncnn stores and multiplies in float16 and bfloat16 where the processor can.
    for option in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage", "bf16_packed"):
        if hasattr(net.opt, f"use_{option}"):
            setattr(net.opt, f"use_{option}", False)
    net.load_param(f"{stem}.ncnn.param")
    net.load_model(f"{stem}.ncnn.bin")
    x = _input(shape)

    def run() -> Array:
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(x[0]))
        return np.array(extractor.extract("out0")[1])

    return run


def _litert(path: Path, threads: int, shape: tuple[int, ...]) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    argument = interpreter.get_input_details()[0]
    interpreter.set_tensor(argument["index"], _input(shape).astype(argument["dtype"]))
    index = interpreter.get_output_details()[0]["index"]

    def run() -> Array:
        interpreter.invoke()
        out: Array = interpreter.get_tensor(index)
        return out

    return run


def engines(stem: Path, threads: int, shape: tuple[int, ...]) -> dict[str, Callable[[], Run]]:
    """What starts each engine of `peers.PEERS` on the model; only a call loads the engine.

    Args:
        stem: of the files that `convert` wrote.
        threads: of the engine.
        shape: the input's, [N, C, H, W].
    """
    int8 = Path(f"{stem}.int8.onnx")
    return {
        "onnxruntime-int8": lambda: _onnxruntime(int8, threads)[0],
        "openvino": lambda: _openvino(stem.with_suffix(".onnx"), threads, shape),
        "openvino-int8": lambda: _openvino(int8, threads, shape),
        "ncnn": lambda: _ncnn(stem, threads, shape),
        "litert": lambda: _litert(stem.with_suffix(".tflite"), threads, shape),
        "litert-int8": lambda: _litert(Path(f"{stem}.int8.tflite"), threads, shape),
    }


def _start(engine: str, stem: Path, threads: int) -> Run:
    """A function that runs the model in the engine; for fp32 its outputs are checked against ONNX
    Runtime's."""
    reference, shape = _onnxruntime(stem.with_suffix(".onnx"), threads)
    run = engines(stem, threads, shape)[engine]()
    if not engine.endswith("int8"):
        expected = np.ravel(reference())
        error = np.linalg.norm(np.ravel(run()) - expected) / np.linalg.norm(expected)
        if not error <= _TOLERANCE:
            sys.exit(f"{engine}: its outputs differ from ONNX Runtime's by {error:.1e}")
    return run


def serve(engine: str, model: str, folder: str, threads: str) -> None:
    """Runs the model as often as each line of standard input says."""
    run = _start(engine, Path(folder) / model, int(threads))
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(line)):
            run()
        print(time.perf_counter() - start, flush=True)


def convert(model: str, file: str, folder: str) -> None:
    """Writes what the engines read: ONNX in int8, ncnn's two files, TFLite in float32 and int8.

    The answers of an int8 model depend on its calibration, its speed does not: so random inputs
    suffice.
    """
    stem = Path(folder) / model
    _, shape = _onnxruntime(Path(file), 1)
    quantize_onnx(Path(file), stem, shape)
    _convert_pytorch(model, stem, shape)


def quantize_onnx(file: Path, stem: Path, shape: tuple[int, ...]) -> None:
    """Writes STEM.int8.onnx with ONNX Runtime's own quantizer; `shape` is the input's."""
    import onnxruntime
    from onnxruntime.quantization import (  # type: ignore[import-untyped]
        CalibrationDataReader,
        QuantFormat,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import (  # type: ignore[import-untyped]
        quant_pre_process,
    )

    name = onnxruntime.InferenceSession(str(file)).get_inputs()[0].name

    class OneInput(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._inputs = iter([{name: _input(shape)}])

        def get_next(self) -> dict[str, Array] | None:
            return next(self._inputs, None)

    prepared = Path(f"{stem}.prepared.onnx")
    quant_pre_process(str(file), str(prepared))
    quantize_static(
        str(prepared),
        f"{stem}.int8.onnx",
        OneInput(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
    )


def _convert_pytorch(model: str, stem: Path, shape: tuple[int, ...]) -> None:
    import litert_torch
    import pnnx
    import torch
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    from export.checkpoint import load_model

    network, _ = load_model(model)
    x = _input(shape)
    example = torch.from_numpy(x)
    traced = f"{stem}.pt"
    torch.jit.trace(network, example).save(traced)
    pnnx.convert(traced, [example])
    tflite = f"{stem}.tflite"
    litert_torch.convert(network, (example,)).export(tflite)
    signatures = Interpreter(model_path=tflite).get_signature_list()
    (signature, names), *_ = signatures.items()
    quantization = quantizer.Quantizer(tflite, recipe.static_wi8_ai8())
    ranges = quantization.calibrate({signature: [{names["inputs"][0]: x}]})
    quantization.quantize(ranges).export_model(f"{stem}.int8.tflite", overwrite=True)


if __name__ == "__main__":
    if sys.argv[1] == "convert":
        convert(*sys.argv[2:])
    else:
        serve(*sys.argv[2:])
