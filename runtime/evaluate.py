"""Top-1 and top-5 accuracy over labelled images: `python runtime/evaluate.py MODEL DATA`.

Exit codes: 0 fine; 1 some images could not be read, the others count; 2 bad usage, a model or a
data set that cannot be used, or no image that could be read.
"""

import csv
import io
import json
import os
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional, Sequence, Tuple

if not __package__:
    # Run as a script, Python has put this file's folder on the path; the package's folder is
    # needed.
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

from runtime.console import commandline  # noqa: E402 - after the path above
from runtime.core.errors import DataError  # noqa: E402
from runtime.core.files import replace  # noqa: E402

if TYPE_CHECKING:
    from runtime.core.arrays import FloatArray
    from runtime.core.image_sets import ImageFolder
    from runtime.core.session import Session

_TOP = 5
_DECODERS = 4
# The number of batches that are decoded ahead of the network: enough to keep it busy, and few
# enough for the device's memory.
_AHEAD = 2


class Counts:
    """What was counted over a data set."""

    def __init__(self) -> None:
        self.images = 0
        self.top1 = 0
        self.top5 = 0
        self.bad = 0

    def add(self, logits: "FloatArray", truth: Sequence[int]) -> List[int]:
        """Counts a batch: logits [N, classes], and the N true classes; the N best classes.

        The rank of the true class is the number of classes with a larger logit, or with an equal
        one and a smaller index, so that a constant output does not count as correct.
        """
        import numpy as np

        order = np.argsort(-logits, axis=1, kind="stable")[:, :_TOP]
        hits = order == np.asarray(truth)[:, None]
        self.images += len(truth)
        self.top1 += int(hits[:, 0].sum())
        self.top5 += int(hits.sum())
        best: List[int] = order[:, 0].tolist()
        return best


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """The command; returns its exit code. Raises ShiftAddError for what stops all of it."""
    options = _parser().parse_args(arguments)
    # These imports stand here, where an interrupt and a missing package are reported in one line.
    import runtime
    from runtime.core.image_sets import ImageFolder
    from runtime.core.metadata import check_classifier
    from runtime.core.selection import class_names, match_classes, subset

    session = runtime.load(options.model, options.library, options.threads)
    check_classifier(session.metadata)
    data = ImageFolder(options.data)
    commandline.remark_skipped(data)
    classes = match_classes(data, session.metadata.labels)
    start = time.perf_counter()
    indices = subset(len(data), options.limit)
    counts, best = evaluate(session, data, classes, indices, options.batch_size)
    seconds = time.perf_counter() - start
    if not counts.images:
        raise DataError("{}: none of the {} images could be read".format(data.path, counts.bad))
    if options.predictions:
        names = class_names(session.metadata.labels)
        _write_predictions(options.predictions, data, names, best)
    report = _report(counts, seconds)
    if options.json:
        commandline.show(json.dumps(dict(report, model=options.model, data=options.data)))
    else:
        _show(report)
    return commandline.SOME_FAILED if counts.bad else commandline.FINE


def _parser() -> commandline.Parser:
    parser = commandline.Parser(
        prog="evaluate.py", description="Measures a model's accuracy over labelled images."
    )
    parser.add_argument(
        "model", metavar="MODEL.onnx|MODEL.engine",
        help="a model written by `make export`, or an engine written by `make engine`",
    )  # fmt: skip
    parser.add_argument(
        "data", metavar="DATA", help="a folder or a zip with images at class_name/file"
    )
    parser.add_argument(
        "--batch-size", type=commandline.positive, default=64, metavar="N",
        help="images one run of the network takes (default: 64)",
    )  # fmt: skip
    parser.add_argument(
        "--limit", type=commandline.positive, metavar="N",
        help="take N images only, evenly spread over the data set",
    )  # fmt: skip
    parser.add_argument(
        "--predictions", metavar="FILE.csv",
        help="write each image's file, class and predicted class to this table",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    commandline.add_engine_options(parser)
    return parser


def evaluate(
    session: "Session",
    data: "ImageFolder",
    classes: Sequence[int],
    indices: Sequence[int],
    batch_size: int,
) -> Tuple[Counts, Dict[int, int]]:
    """Classifies the samples `indices` of `data`, whose class c is the model's `classes[c]`.

    Returns what was counted, and the model's best class of each sample that could be read.
    An image that cannot be read is reported on stderr and counted as bad. Raises ModelError when
    the network fails.
    """
    import numpy as np

    from runtime.console.progress import Progress

    counts, best = Counts(), {}  # type: Tuple[Counts, Dict[int, int]]
    with Progress("evaluate", len(indices), "image") as progress:
        for futures in _decoded(session, data, indices, batch_size):
            images, truth, read = [], [], []
            for i, future in futures:
                try:
                    images.append(future.result())
                    truth.append(classes[data.samples[i][1]])
                    read.append(i)
                except DataError as error:
                    counts.bad += 1
                    progress.clear()
                    commandline.complain(str(error))
            if images:
                best.update(zip(read, counts.add(session.run(np.stack(images)), truth)))
            progress.advance(len(futures))
    return counts, best


def _decoded(
    session: "Session", data: "ImageFolder", indices: Sequence[int], batch_size: int
) -> "Iterator[List[Tuple[int, Future[Any]]]]":
    """Batches of (index, future of the prepared image), in order, decoded in threads ahead."""
    waiting: "List[List[Tuple[int, Future[Any]]]]" = []
    pool = ThreadPoolExecutor(max_workers=_DECODERS)

    def prepare(i: int) -> "FloatArray":
        image = data.open(i)
        try:
            prepared: "FloatArray" = session.prepare([image])[0]
        except DataError as error:
            raise DataError("{}: {}".format(data.samples[i][0], error)) from error
        return prepared

    try:
        for first in range(0, len(indices), batch_size):
            batch = indices[first : first + batch_size]
            waiting.append([(i, pool.submit(prepare, i)) for i in batch])
            if len(waiting) > _AHEAD:
                yield waiting.pop(0)
        while waiting:
            yield waiting.pop(0)
    finally:
        # An interrupt must not wait for images that nobody will look at.
        for futures in waiting:
            for _, future in futures:
                future.cancel()
        pool.shutdown()


def _write_predictions(
    path: str, data: "ImageFolder", names: Sequence[str], best: Dict[int, int]
) -> None:
    """A table with a row an image that could be read: file, class, predicted (one of `names`)."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("file", "class", "predicted"))
    for i, predicted in best.items():
        name, c = data.samples[i]
        table.writerow((name, data.classes[c], names[predicted]))
    replace(Path(path), text.getvalue().encode("utf-8", "surrogateescape"), "table")


def _report(counts: Counts, seconds: float) -> Dict[str, Any]:
    return {
        "images": counts.images,
        "top1": counts.top1 / counts.images,
        "top5": counts.top5 / counts.images,
        "seconds": seconds,
        "images_per_second": counts.images / seconds,
        "bad_images": counts.bad,
    }


def _show(report: Dict[str, Any]) -> None:
    rows = [
        ("images", "{images}"),
        ("top-1", "{top1:.2%}"),
        ("top-5", "{top5:.2%}"),
        ("seconds", "{seconds:.1f}"),
        ("images/s", "{images_per_second:.1f}"),
        ("bad images", "{bad_images}"),
    ]
    for name, form in rows:
        commandline.show("{:<11} {:>10}".format(name, form.format(**report)))


if __name__ == "__main__":
    commandline.leave(main)
