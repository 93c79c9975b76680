"""Names what is on photos, in a video or before a camera, and runs any other model on arrays:

    python runtime/infer.py MODEL IMAGE|ARRAYS [IMAGE|ARRAYS|DIR ...] [--out FILE.npz]
    python runtime/infer.py MODEL --camera csi|csi:N|/dev/videoN [--headless]
    python runtime/infer.py MODEL --video FILE [--headless]

Exit codes: 0 fine; 1 some images failed, the others are classified, or a camera has vanished; 2 bad
usage, a model that cannot be used, nothing that could be classified, or no room for the output; 130
and 143 ended by SIGINT or SIGTERM.
"""

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Dict, List, NamedTuple, Optional, Sequence, Tuple

if not __package__:
    # Run as a script, Python has put this file's folder on the path; the package's folder is
    # needed.
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

from runtime.console import (
    commandline,  # noqa: E402 - after the path above
    signals,  # noqa: E402 - after the path above
)
from runtime.core.errors import DataError, ModelError  # noqa: E402

if TYPE_CHECKING:
    import argparse

    from runtime.console.classification import Classification
    from runtime.core.arrays import AnyArray
    from runtime.core.session import Session
    from runtime.video.camera import Settings

_BAR = 30  # characters of a bar at probability 1


class Result(NamedTuple):
    """One image's outcome."""

    file: str
    classification: "Classification"


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """The command; returns its exit code. Raises ShiftAddError for what stops all of it."""
    parser = _parser()
    options = parser.parse_args(arguments)
    _check_usage(parser, options)
    signals.raise_on_sigterm()
    return _images(options) if options.images else _stream(options)


def _parser() -> commandline.Parser:
    # These imports, here and below, stand where an interrupt and a missing package are reported in
    # one line.
    from runtime.console import benchmark
    from runtime.video import camera

    parser = commandline.Parser(
        prog="infer.py",
        description="Classifies images, or the frames of a camera or a video, with an exported "
        "model. In a camera's or a video's window, q or Esc ends it.",
    )
    parser.add_argument(
        "model", metavar="MODEL.onnx|MODEL.engine",
        help="a model written by `make export`, or an engine written by `make engine`",
    )  # fmt: skip
    parser.add_argument(
        "images", nargs="*", metavar="IMAGE|ARRAYS|DIR",
        help="an image; or a file of NumPy's: .npz with an array for each input, .npy for a model "
        "with one, their first axis being the batch; or a folder whose images are all taken",
    )  # fmt: skip
    parser.add_argument(
        "--camera", type=camera.device, nargs="?", const="csi", metavar="CAMERA",
        help="frames of a camera instead, the newest at any time: csi (the default) or csi:N on a "
        "Jetson's camera connector, /dev/videoN or N for USB",
    )  # fmt: skip
    parser.add_argument("--video", metavar="FILE", help="every frame of a video instead, in order")
    parser.add_argument(
        "--headless", action="store_true",
        help="with --camera or --video: no window, but one JSON object a frame, one a line",
    )  # fmt: skip
    parser.add_argument(
        "--size", type=camera.size, metavar="WxH",
        help="with --camera: pixels to ask for (default: {0.width}x{0.height})".format(
            camera.Settings()
        ),
    )  # fmt: skip
    parser.add_argument(
        "--fps", type=commandline.positive, metavar="N",
        help="with --camera: frames a second to ask for (default: {})".format(
            camera.Settings().fps
        ),
    )  # fmt: skip
    parser.add_argument(
        "--rotate", type=int, choices=camera.ROTATIONS,
        help="with --camera: turn the picture clockwise, for a camera that hangs upside down",
    )  # fmt: skip
    parser.add_argument(
        "--top-k", type=commandline.positive, default=5, metavar="K",
        help="how many classes to show (default: 5)",
    )  # fmt: skip
    parser.add_argument(
        "--out", metavar="FILE.npz", help="also save all outputs for the only IMAGE or ARRAYS"
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object an image, one a line"
    )
    parser.add_argument(
        "--benchmark", type=benchmark.length, metavar="N|TIME",
        help="then time N runs of the network on the first image, one image a run, or as many as "
        "TIME allows (30s, 10min, 1h)",
    )  # fmt: skip
    commandline.add_engine_options(parser)
    return parser


def _check_usage(parser: commandline.Parser, options: "argparse.Namespace") -> None:
    """Ends the command for options that do not go together."""
    sources = [bool(options.images), options.camera is not None, options.video is not None]
    if sum(sources) != 1:
        parser.error("give either an IMAGE, or --camera, or --video")
    for name in ("size", "fps", "rotate"):
        if getattr(options, name) is not None and options.camera is None:
            parser.error("--{} is for --camera".format(name))
    if options.headless and options.images:
        parser.error("--headless is for --camera and --video")
    if options.out is not None and len(options.images) != 1:
        parser.error("--out is for one IMAGE or ARRAYS")
    if not options.images and (options.json or options.benchmark):
        name = "--json" if options.json else "--benchmark"
        parser.error("{} is for images; --headless prints frames as JSON".format(name))


def _images(options: "argparse.Namespace") -> int:
    import runtime
    from runtime.console.array_files import is_array_file
    from runtime.core.images import load_decoders

    session = runtime.load(options.model, options.library, options.threads)
    # The network ran once when it was loaded. Neither that nor this is a time of the first image's.
    load_decoders()
    files, failed = _files(options.images)
    if options.out is not None and len(files) > 1:
        raise DataError("--out is for one image, and there are {}".format(len(files)))
    classified: List[str] = []
    for file in files:
        try:
            if session.metadata.classes is None or options.out or is_array_file(file):
                _run(session, file, options)
            else:
                show = _show_json if options.json else _show_text
                show(_classify(session, file, options.top_k))
        except (DataError, ModelError) as error:
            commandline.complain(str(error))
            failed += 1
            continue
        classified.append(file)
    if not classified:
        return commandline.BAD_INPUT
    if options.benchmark:
        _benchmark(session, classified[0], options)
    return commandline.SOME_FAILED if failed else commandline.FINE


def _stream(options: "argparse.Namespace") -> int:
    import runtime
    from runtime.core.metadata import check_classifier
    from runtime.video import camera, stream
    from runtime.video.display import Window
    from runtime.video.sources import Source, VideoFile

    if options.camera is not None:
        commandline.reserve_stdout()
        source: Source = camera.camera(options.camera, _settings(options))
    else:
        source = VideoFile(options.video)
    window = None if options.headless else Window()
    session = runtime.load(options.model, options.library, options.threads)
    check_classifier(session.metadata)
    return stream.run(session, source, window, options.top_k)


def _settings(options: "argparse.Namespace") -> "Settings":
    """The settings of the camera, as far as they were given."""
    from runtime.video.camera import Settings

    settings = Settings()
    if options.size is not None:
        settings = settings._replace(width=options.size[0], height=options.size[1])
    if options.fps is not None:
        settings = settings._replace(fps=options.fps)
    return settings._replace(rotation=options.rotate or 0)


def _files(paths: Sequence[str]) -> Tuple[List[str], int]:
    """All image files that `paths` name, and how many of the paths could not be read."""
    from runtime.core.image_sets import image_set

    files: List[str] = []
    failed = 0
    for path in paths:
        try:
            if os.path.isdir(path):
                images = image_set(path)
                commandline.remark_skipped(images)
                files += [os.path.join(path, *name.split("/")) for name in images.names]
            elif os.path.exists(path):
                files.append(path)
            else:
                raise DataError("{}: no such file or directory".format(path))
        except DataError as error:
            commandline.complain(str(error))
            failed += 1
    return files, failed


def _classify(session: "Session", file: str, top_k: int) -> Result:
    from runtime.console.classification import classify
    from runtime.core.images import open_image

    start = time.perf_counter()
    image = open_image(file, file)
    try:
        return Result(file, classify(session, image, top_k, start))
    except (DataError, ModelError) as error:
        raise type(error)("{}: {}".format(file, error)) from error


def _run(session: "Session", file: str, options: "argparse.Namespace") -> None:
    """Shows the outputs for one file of arrays, or for a photo; or the classes where it has any."""
    from runtime.console import array_files
    from runtime.console.classification import Classification

    start = time.perf_counter()
    inputs = _inputs(session, file)
    ready = time.perf_counter()
    try:
        outputs = session.run(inputs)
    except (DataError, ModelError) as error:
        raise type(error)("{}: {}".format(file, error)) from error
    times = 1e3 * (ready - start), 1e3 * (time.perf_counter() - ready)
    if options.out is not None:
        array_files.write(options.out, outputs)
    if session.metadata.classes is None:
        _show_outputs(file, outputs, times, options.json)
        return
    show = _show_json if options.json else _show_text
    rows = session.scores(outputs)
    for i, row in enumerate(rows):
        name = "{} [{}]".format(file, i) if len(rows) > 1 else file
        show(Result(name, Classification(session.best(row, options.top_k), *times)))


def _inputs(session: "Session", file: str) -> Dict[str, "AnyArray"]:
    """The inputs that a file of arrays or a photo holds."""
    from runtime.console import array_files
    from runtime.core.images import open_image

    if array_files.is_array_file(file):
        return array_files.read(file, session)
    image = open_image(file, file)
    try:
        return {session.inputs[0].name: session.prepare([image])}
    except (DataError, ModelError) as error:
        raise type(error)("{}: {}".format(file, error)) from error


def _show_outputs(
    file: str, outputs: Dict[str, "AnyArray"], times: Tuple[float, float], as_json: bool
) -> None:
    from runtime.console import array_files

    if as_json:
        facts = {name: array_files.summary(value) for name, value in outputs.items()}
        timings = dict(zip(("preprocessing_ms", "inference_ms"), times))
        commandline.show(json.dumps({"file": file, "outputs": facts, "timings": timings}))
        return
    commandline.show(file)
    for name, value in outputs.items():
        commandline.show("  " + array_files.line(name, value))
    commandline.show("  pre-processing {:.1f} ms, inference {:.1f} ms".format(*times))


def _show_text(result: Result) -> None:
    file, (predictions, preprocessing_ms, inference_ms) = result
    commandline.show(file)
    width = max(len(prediction.label) for prediction in predictions)
    for prediction in predictions:
        commandline.show(
            "  {:<{}}  {:5.1f} %  {}".format(
                prediction.label,
                width,
                100 * prediction.probability,
                "#" * int(round(_BAR * prediction.probability)),
            ).rstrip()
        )
    commandline.show(
        "  pre-processing {:.1f} ms, inference {:.1f} ms".format(preprocessing_ms, inference_ms)
    )


def _show_json(result: Result) -> None:
    from runtime.console.classification import as_json

    commandline.show(json.dumps(dict({"file": result.file}, **as_json(result.classification))))


def _benchmark(session: "Session", file: str, options: "argparse.Namespace") -> None:
    from runtime.console import benchmark

    benchmark.run(session, _inputs(session, file), file, options.benchmark, options.json)


if __name__ == "__main__":
    commandline.leave(main)
