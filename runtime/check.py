"""Compares models with what they gave on the host: `python3 runtime/check.py [MODEL]`.

Float models and engines are compared with PyTorch's float64 logits within a tolerance, the integer
model with ONNX Runtime's on the host, byte by byte.

Exit codes: 0 all are as they should be; 1 some are not, or could not be run; 2 bad usage, or no
model that could be run.
"""

import argparse
import json
import os
import platform
import sys
import time
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence

if not __package__:
    # Run as a script, Python has put this file's folder on the path; the package's folder is
    # needed.
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

from runtime.console import commandline  # noqa: E402 - after the path above
from runtime.core import files  # noqa: E402 - after the path above
from runtime.core.errors import ModelError  # noqa: E402
from runtime.core.places import ROOT  # noqa: E402

if TYPE_CHECKING:
    from runtime.core.arrays import FloatArray
    from runtime.core.reference import Reference
    from runtime.core.session import Session

TOLERANCES = {"fp32": 1e-5, "fp16": 1e-2}
"""The most that ||logits - reference|| / ||reference|| may be, by precision, as in `make validate`.
An engine on 8-bit integers has none: TensorRT chooses how it rounds, so its deviation is shown and
not judged."""

_INT8_NAME = ".int8.onnx"


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """The command; returns its exit code. Raises ShiftAddError for what stops all of it."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.library and not options.model:
        parser.error("--library is of one model: name it")
    results = []
    for path in [options.model] if options.model else _models():
        result = _checked(path, options)
        results.append(result)
        if "error" in result:
            commandline.complain(result["error"])
        else:
            commandline.show(_line(result))
    _write(options.report, results)
    if all("error" in result for result in results):
        return commandline.BAD_INPUT
    passed = all(result["passed"] is not False for result in results)
    return commandline.FINE if passed else commandline.SOME_FAILED


def _parser() -> commandline.Parser:
    parser = commandline.Parser(
        prog="check.py",
        description="Runs models on the inputs of a reference, and compares what they give with "
        "what PyTorch, or for the integer model ONNX Runtime, gave on the host.",
    )
    parser.add_argument(
        "model", nargs="?", metavar="MODEL.onnx|MODEL.engine",
        help="the model (default: all below models/ and engines/ beside the runtime package)",
    )  # fmt: skip
    parser.add_argument(
        "--reference", metavar="FILE.npz",
        help="the inputs and their logits (default: reference/MODEL.npz beside the runtime "
        "package, MODEL as the file says it is called)",
    )  # fmt: skip
    parser.add_argument(
        "--report", metavar="FILE.json", default=os.path.join(ROOT, "reports", "check.json"),
        help="where the report goes (default: reports/check.json beside the runtime package)",
    )  # fmt: skip
    commandline.add_engine_options(parser)
    return parser


def _models() -> List[str]:
    """The models of a bundle, ONNX files before engines, by name."""
    from runtime.engines.tensorrt.engine_file import SUFFIXES

    found = []
    for folder, suffixes in (("models", (".onnx",)), ("engines", SUFFIXES)):
        path = os.path.join(ROOT, folder)
        names = sorted(os.listdir(path)) if os.path.isdir(path) else []
        found += [os.path.join(path, name) for name in names if name.endswith(suffixes)]
    if not found:
        raise ModelError(
            "no models below {}: name one".format(os.path.join(ROOT, "models"))
        )  # fmt: skip
    return found


def _checked(path: str, options: argparse.Namespace) -> Dict[str, Any]:
    """A model's entry in the report: "error" and what it is, or "passed" and the figures."""
    result = {"file": path, "passed": False}  # type: Dict[str, Any]
    try:
        result.update(_compared(path, options))
    except ModelError as error:
        result["error"] = str(error)
    return result


def _compared(path: str, options: argparse.Namespace) -> Dict[str, Any]:
    import runtime
    from runtime.core.reference import read

    with runtime.load(path, options.library, options.threads) as session:
        name = options.reference or _reference_of(session.metadata.model)
        reference = read(name)
        sha256 = files.sha256(path)
        _check_origin(path, sha256, session, name, reference)
        # Images are run one at a time, as on a device, so that a board's memory only has to hold
        # one.
        logits = _logits(path, session, reference.images)
    precision = _precision(path, sha256, reference)
    entry = {"sha256": sha256, "reference": name, "precision": precision}  # type: Dict[str, Any]
    if precision == "int8" and reference.int8_sha256 == sha256:
        entry.update(_bytes_compared(logits, reference.int8_logits))
    else:
        entry.update(_deviation(logits, reference.logits, TOLERANCES.get(precision)))
    best, expected = logits.argmax(1), reference.logits.argmax(1)
    entry["same_best_class"] = int((best == expected).sum())
    entry["inputs"] = [
        {"name": str(name), "best_class": int(best[i]), "pytorch_best_class": int(expected[i])}
        for i, name in enumerate(reference.names)
    ]
    return entry


def _reference_of(model: str) -> str:
    return os.path.join(ROOT, "reference", "{}.npz".format(model))


def _check_origin(
    path: str, sha256: str, session: "Session", name: str, reference: "Reference"
) -> None:
    """Refuses to compare what was never the same."""
    metadata = session.metadata
    if metadata.model != reference.model:
        raise ModelError(
            "{}: is of the model {}, the reference {} of {}: name its own with --reference".format(
                path, metadata.model, name, reference.model
            )
        )
    if metadata.checkpoint_sha256 != reference.checkpoint_sha256:
        raise ModelError(
            "{}: is of other weights than the reference {}: take both from one bundle".format(
                path, name
            )
        )
    if path.endswith(_INT8_NAME) and sha256 != reference.int8_sha256:
        raise ModelError(
            "{}: not the integer model that {} was made with: take both from one bundle".format(
                path, name
            )
        )
    sizes = (reference.images.shape[1:], reference.logits.shape[1])
    if sizes != (metadata.input_size, len(metadata.labels)):
        raise ModelError("{}: its inputs or logits are not of the model's size".format(name))


def _precision(path: str, sha256: str, reference: "Reference") -> str:
    from runtime.engines.tensorrt import engine_file

    if engine_file.is_engine(path):
        return engine_file.read(path).precision
    return "int8" if sha256 == reference.int8_sha256 else "fp32"


def _logits(path: str, session: "Session", images: "FloatArray") -> "FloatArray":
    import numpy as np

    try:
        return np.concatenate([session.run(image[np.newaxis]) for image in images])
    except ModelError as error:
        raise ModelError("{}: {}".format(path, error)) from error


def _bytes_compared(logits: "FloatArray", expected: "FloatArray") -> Dict[str, Any]:
    same = [logits[i].tobytes() == expected[i].tobytes() for i in range(len(expected))]
    return {"passed": all(same), "same_bytes": sum(same)}


def _deviation(
    logits: "FloatArray", expected: "FloatArray", tolerance: Optional[float]
) -> Dict[str, Any]:
    import numpy as np

    exact = expected.astype(np.float64)
    relative = float(np.linalg.norm(logits - exact) / np.linalg.norm(exact))
    passed = None if tolerance is None else relative <= tolerance
    return {"passed": passed, "relative_error": relative, "tolerance": tolerance}


def _line(result: Dict[str, Any]) -> str:
    count = len(result["inputs"])
    verdict = {True: "passed", False: "FAILED", None: "not judged"}[result["passed"]]
    if "same_bytes" in result:
        figures = "the host's bytes for {} of {} inputs".format(result["same_bytes"], count)
    else:
        figures = "{:.1e} from PyTorch".format(result["relative_error"])
        if result["tolerance"] is not None:
            figures += " (at most {:.0e})".format(result["tolerance"])
        figures += ", its best class for {} of {} inputs".format(result["same_best_class"], count)
    name = os.path.basename(result["file"])
    return "{}: {}, {}: {}".format(name, result["precision"], verdict, figures)


def _write(path: str, results: List[Dict[str, Any]]) -> None:
    import numpy as np

    report = {
        "format": 1,
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": platform.machine(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "models": results,
    }
    text = json.dumps(report, indent=2) + "\n"
    files.replace(path, text.encode("utf-8"), "report")


if __name__ == "__main__":
    commandline.leave(main)
