"""`python -m device_scripts.host.cifar10 ARCHIVE`: train.zip and test.zip of CIFAR-10's archive.

The images are written as PNG files, without any loss, at class_name/number.png.
"""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from device_scripts.host.cifar10 import batches
from device_scripts.host.cifar10.batches import Images
from export.labels import CIFAR10
from runtime.console.commandline import FINE, Parser, leave, show
from runtime.core.files import replaced
from runtime.core.places import ROOT

# The same archive gives the same bytes. This is the earliest time that a zip can name.
_TIME = (1980, 1, 1, 0, 0, 0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code. Raises ShiftAddError."""
    options = _parser().parse_args(arguments)
    training, test = batches.read(options.archive)
    for name, images in (("train.zip", training), ("test.zip", test)):
        path: Path = options.out / name
        write(path, images)
        show(f"wrote {path}: {len(images.classes):,} images")
    return FINE


def _parser() -> Parser:
    parser = Parser(
        prog="python -m device_scripts.host.cifar10",
        description="Writes CIFAR-10 as zips that the other commands take for DATA.",
    )
    parser.add_argument(
        "archive", type=Path, metavar="ARCHIVE",
        help="cifar-10-python.tar.gz or cifar-10-binary.tar.gz, of "
        "https://www.cs.toronto.edu/~kriz/cifar.html",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, default=Path(ROOT) / "build" / "data" / "cifar10", metavar="DIR",
        help="the folder to write to (default: build/data/cifar10)",
    )  # fmt: skip
    return parser


def write(path: Path, images: Images) -> None:
    """A zip with the images, numbered in each class from 0 on, in the archive's order.

    Raises ShiftAddError where it cannot be written.
    """
    numbers: Counter[int] = Counter()
    with (
        replaced(path, "data set") as file,
        # A PNG is packed already.
        zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive,
    ):
        rows = zip(images.pixels, images.classes.tolist(), strict=True)
        for pixels, c in tqdm(
            rows, path.name, total=len(images.classes), unit="image", disable=None, leave=False
        ):
            content = io.BytesIO()
            Image.fromarray(pixels.transpose(1, 2, 0)).save(content, "PNG")
            name = f"{CIFAR10[c]}/{numbers[c]:04}.png"
            archive.writestr(zipfile.ZipInfo(name, _TIME), content.getvalue())
            numbers[c] += 1


if __name__ == "__main__":
    leave(main)
