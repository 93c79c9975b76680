"""Names what is on photos: `python runtime/infer.py MODEL IMAGE [IMAGE|DIR ...]`.

Exit codes: 0 fine; 1 some images failed, the others are classified; 2 bad usage, a model that
cannot be used, or no image that could be classified.
"""

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Dict, List, NamedTuple, Optional, Sequence, Tuple

if not __package__:
    # Run as a script: Python put this file's folder on the path, the package's folder is needed.
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

from runtime import commandline  # noqa: E402 - after the path above
from runtime.errors import DataError, ModelError  # noqa: E402

if TYPE_CHECKING:
    from runtime.session import Prediction, Session

_BAR = 30  # characters of a bar at probability 1
_WARM_UP_RUNS = 5


class Result(NamedTuple):
    """One image's outcome; times in milliseconds, decoding being part of the pre-processing."""

    file: str
    predictions: "List[Prediction]"
    preprocessing_ms: float
    inference_ms: float


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """The command; returns its exit code. Raises ShiftAddError for what stops all of it."""
    options = _parser().parse_args(arguments)
    # Imported here, where an interrupt and a missing package are told in one line.
    import runtime

    session = runtime.load(options.model, options.library, options.threads)
    files, failed = _files(options.images)
    show = _show_json if options.json else _show_text
    classified: List[str] = []
    for file in files:
        try:
            result = _classify(session, file, options.top_k)
        except (DataError, ModelError) as error:
            commandline.complain(str(error))
            failed += 1
            continue
        show(result)
        classified.append(file)
    if not classified:
        return commandline.BAD_INPUT
    if options.benchmark:
        _benchmark(session, classified[0], options.benchmark, options.json)
    return commandline.SOME_FAILED if failed else commandline.FINE


def _parser() -> commandline.Parser:
    parser = commandline.Parser(
        prog="infer.py", description="Classifies images with an exported model."
    )
    parser.add_argument(
        "model", metavar="MODEL.onnx|MODEL.engine",
        help="a model written by `make export`, or an engine written by `make engine`",
    )  # fmt: skip
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE|DIR",
        help="an image, or a folder whose images are all taken",
    )  # fmt: skip
    parser.add_argument(
        "--top-k", type=commandline.positive, default=5, metavar="K",
        help="how many classes to show (default: 5)",
    )  # fmt: skip
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object an image, one a line"
    )
    parser.add_argument(
        "--benchmark", type=commandline.positive, metavar="N",
        help="then time N runs of the network on the first image, one image a run",
    )  # fmt: skip
    commandline.add_engine_options(parser)
    return parser


def _files(paths: Sequence[str]) -> Tuple[List[str], int]:
    """All image files that `paths` name, and how many of the paths could not be read."""
    from runtime.images import list_images

    files: List[str] = []
    failed = 0
    for path in paths:
        try:
            files += list_images(path)
        except DataError as error:
            commandline.complain(str(error))
            failed += 1
    return files, failed


def _classify(session: "Session", file: str, top_k: int) -> Result:
    from runtime.images import open_image
    from runtime.session import top

    start = time.perf_counter()
    image = open_image(file, file)
    try:
        prepared = session.prepare([image])
        ready = time.perf_counter()
        logits = session.run(prepared)
    except (DataError, ModelError) as error:
        raise type(error)("{}: {}".format(file, error)) from error
    end = time.perf_counter()
    predictions = top(logits[0], session.metadata.labels, top_k)
    return Result(file, predictions, 1e3 * (ready - start), 1e3 * (end - ready))


def _show_text(result: Result) -> None:
    commandline.show(result.file)
    width = max(len(prediction.label) for prediction in result.predictions)
    for prediction in result.predictions:
        commandline.show(
            "  {:<{}}  {:5.1f} %  {}".format(
                prediction.label,
                width,
                100 * prediction.probability,
                "#" * int(round(_BAR * prediction.probability)),
            ).rstrip()
        )
    commandline.show(
        "  pre-processing {:.1f} ms, inference {:.1f} ms".format(
            result.preprocessing_ms, result.inference_ms
        )
    )


def _show_json(result: Result) -> None:
    predictions = [
        {
            "label": prediction.label,
            "class": prediction.class_index,
            "probability": prediction.probability,
        }
        for prediction in result.predictions
    ]
    timings = {"preprocessing_ms": result.preprocessing_ms, "inference_ms": result.inference_ms}
    commandline.show(
        json.dumps({"file": result.file, "predictions": predictions, "timings": timings})
    )


def _benchmark(session: "Session", file: str, runs: int, as_json: bool) -> None:
    from runtime.images import open_image
    from runtime.progress import Progress

    prepared = session.prepare([open_image(file, file)])
    for _ in range(_WARM_UP_RUNS):
        session.run(prepared)
    times = []
    with Progress("benchmark", runs, "run") as progress:
        for _ in range(runs):
            start = time.perf_counter()
            session.run(prepared)
            times.append(1e3 * (time.perf_counter() - start))
            progress.advance()
    figures = _figures(times)
    if as_json:
        commandline.show(json.dumps({"benchmark": dict(figures, file=file, runs=runs)}))
        return
    commandline.show("{} runs of the network on {}, one image a run:".format(runs, file))
    commandline.show(
        "  median {median_ms:.2f} ms, p90 {p90_ms:.2f} ms, p99 {p99_ms:.2f} ms, "
        "min {min_ms:.2f} ms, {images_per_second:.1f} images/s".format(**figures)
    )


def _figures(times: Sequence[float]) -> Dict[str, float]:
    """Median, 90th and 99th percentile and minimum of `times` (ms), and the throughput."""
    import numpy as np

    median, p90, p99 = (float(value) for value in np.percentile(times, [50, 90, 99]))
    return {
        "median_ms": median,
        "p90_ms": p90,
        "p99_ms": p99,
        "min_ms": min(times),
        "images_per_second": 1e3 * len(times) / sum(times),
    }


if __name__ == "__main__":
    commandline.leave(main)
