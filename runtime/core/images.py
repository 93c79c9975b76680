"""Image files, and data sets in the ImageFolder layout, in a folder or in a zip.

Needs NumPy and Pillow only, so that training, calibration and the device read images alike.
"""

import io
import os
import threading
import zipfile
from typing import IO, Any, Dict, List, Sequence, Tuple, Union

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from runtime.core.arrays import PixelArray
from runtime.core.errors import DataError, reason

EXTENSIONS = (
    ".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip
Picture = Union[Image.Image, PixelArray]
"""What the runtime accepts as an image: one of Pillow's, of any size and mode, or RGB pixels, uint8
[H, W, 3]."""
# The most bytes that a file in a zip may unpack to: a packed file can be a thousand times smaller.
_LARGEST_MEMBER = 1 << 30
_WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")


def is_image_name(name: str) -> bool:
    """Whether `name` ends like an image, and is no hidden file nor an archiver's side file."""
    parts = name.split("/")
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return not hidden and name.lower().endswith(EXTENSIONS)


def list_images(path: str) -> List[str]:
    """`path` itself when it is a file; the image files below it, sorted, when it is a directory.

    Raises DataError when there is nothing at `path`, or no image below it.
    """
    if not os.path.isdir(path):
        if not os.path.exists(path):
            raise DataError("{}: no such file or directory".format(path))
        return [path]
    found = [os.path.join(path, *name.split("/")) for name in _names_below(path)]
    if not found:
        raise DataError("{}: no images in this directory ({})".format(path, _known()))
    return found


def open_image(source: Union[str, IO[bytes]], name: str) -> Image.Image:
    """Decodes an image completely: 8-bit RGB, upright. `name` stands in the messages.

    The EXIF orientation is applied. Transparent pixels are laid over white, since most such
    pictures are drawn for white pages. 16-bit greyscale keeps its upper 8 bits.

    Raises DataError, in one line, when the file is missing, is no image, is truncated, is too large
    to be decoded safely (Pillow's limit on decompression bombs), or has no RGB reading.
    """
    try:
        with Image.open(source) as image:
            image.load()
            return to_rgb(_upright(image))
    except DataError as error:
        raise DataError("{}: {}".format(name, error)) from error
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise DataError("{}: refused: more than {} pixels".format(name, limit)) from None
    except UnidentifiedImageError:
        raise DataError("{}: not an image".format(name)) from None
    # Pillow's decoders raise exceptions of many types for a damaged file: OSError, SyntaxError,
    # ValueError, IndexError, struct.error, zlib.error, MemoryError ...
    except Exception as error:
        raise DataError("{}: cannot read the image: {}".format(name, reason(error))) from error


def load_decoders() -> None:
    """Has Pillow load its decoders of the usual formats, which the first image else waits for."""
    Image.preinit()


def as_image(picture: Picture) -> Image.Image:
    """`picture` for Pillow. Raises DataError when it is neither of the kinds of a Picture."""
    if isinstance(picture, Image.Image):
        return picture
    if not isinstance(picture, np.ndarray):
        found = type(picture).__name__
    elif (
        picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size
    ):
        found = "array of {} {}".format(picture.dtype, list(picture.shape))
    else:
        return Image.fromarray(np.ascontiguousarray(picture))
    raise DataError("{} where a PIL image or RGB pixels, uint8 [H, W, 3], are due".format(found))


def to_rgb(image: Image.Image) -> Image.Image:
    """`image` as 8-bit RGB: transparency over white, 16-bit greyscale by its upper 8 bits."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    if image.mode == "I" or image.mode.startswith("I;16"):
        # Pillow's own conversion clips at 255, which makes all of a photo white except its blackest
        # parts.
        sixteen = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return Image.fromarray((sixteen >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise DataError("floating-point pixels have no agreed range; save it with 8 or 16 bits")
    try:
        return image.convert("RGB")
    except ValueError as error:
        raise DataError(
            "mode {} cannot become RGB: {}".format(image.mode, reason(error))
        ) from error


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image) or image
    # The pixels can be used even where the parser fails on a damaged EXIF block.
    except Exception:
        return image


class ImageFolder:
    """A labelled data set laid out as `class_name/file`, in a folder or in a zip.

    A single folder around all the class folders (as archivers make it) is stepped into; a class
    folder may hold further folders. A class is a folder with at least one image below it; classes
    are numbered in alphabetical order. Files outside class folders, hidden files and files that do
    not end like an image are left out.

    `classes` is the list of class names; `samples` the list of (name, class index), sorted by name,
    where name is relative to `path` and uses "/". `open` may be called from several threads, and
    from processes forked after the set was made.

    Raises DataError when `path` is missing, is neither a folder nor a zip, or holds no class.
    """

    def __init__(self, path: Union[str, "os.PathLike[str]"]) -> None:
        self.path = os.fspath(path)
        self._lock = threading.Lock()
        self._archives: Dict[int, zipfile.ZipFile] = {}
        self._zipped = not os.path.isdir(self.path)
        names = self._names_in_zip() if self._zipped else _names_below(self.path)
        if not names:
            raise DataError("{}: no images in this data set ({})".format(self.path, _known()))
        depth = _depth_of_classes(names)
        labelled = [(name, name.split("/")) for name in names]
        labelled = [(name, parts) for name, parts in labelled if len(parts) > depth + 1]
        if not labelled:
            raise DataError(
                "{}: no class folders: images are expected at class_name/file".format(self.path)
            )
        self.classes: List[str] = sorted({parts[depth] for _, parts in labelled})
        index = {name: i for i, name in enumerate(self.classes)}
        self.samples: List[Tuple[str, int]] = [
            (name, index[parts[depth]]) for name, parts in labelled
        ]

    def __len__(self) -> int:
        return len(self.samples)

    def open(self, i: int) -> Image.Image:
        """Sample `i`, decoded, upright and RGB. Raises DataError when it cannot be read."""
        name = self.samples[i][0]
        shown = "{}/{}".format(self.path, name)
        if not self._zipped:
            return open_image(os.path.join(self.path, *name.split("/")), shown)
        # All threads share one file position, so reading is serial; decoding runs in parallel.
        with self._lock:
            try:
                member = self._archive().getinfo(name)
                if member.file_size > _LARGEST_MEMBER:
                    raise DataError("more than {} bytes".format(_LARGEST_MEMBER))
                content = self._archive().read(member)
            # A wrong checksum, an encrypted member and an unknown compression each raise a type of
            # their own.
            except Exception as error:
                raise DataError("{}: cannot unpack: {}".format(shown, reason(error))) from error
        return open_image(io.BytesIO(content), shown)

    def close(self) -> None:
        """Closes the zip; the next `open` opens it again."""
        with self._lock:
            archive = self._archives.pop(os.getpid(), None)
            if archive is not None:
                archive.close()

    def __getstate__(self) -> Dict[str, Any]:
        return dict(self.__dict__, _lock=None, _archives={})

    def __setstate__(self, state: Dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def _archive(self) -> zipfile.ZipFile:
        """This process's own handle, since forked processes would share the position in an
        inherited one."""
        archive = self._archives.get(os.getpid())
        if archive is None:
            archive = self._archives[os.getpid()] = zipfile.ZipFile(self.path)
        return archive

    def _names_in_zip(self) -> List[str]:
        try:
            names = self._archive().namelist()
        # The directory is damaged: it has an unknown version or compression, or a name that is no
        # text.
        except (zipfile.BadZipFile, NotImplementedError, ValueError):
            raise DataError(
                "{}: not a data set: neither a folder nor a complete zip".format(self.path)
            ) from None
        except OSError as error:
            raise DataError(
                "{}: cannot read the data set: {}".format(self.path, reason(error))
            ) from error
        return sorted(name for name in names if is_image_name(name))


def _names_below(path: str) -> List[str]:
    """The images below the directory `path`, relative to it, with "/", sorted."""
    names = []
    for folder, _, files in os.walk(path):
        relative = os.path.relpath(folder, path).replace(os.sep, "/")
        prefix = "" if relative == "." else relative + "/"
        names += [prefix + file for file in files]
    return sorted(name for name in names if is_image_name(name))


def _depth_of_classes(names: Sequence[str]) -> int:
    """How many folders stand around the class folders: 1 when all images share a top folder and
    lie at least two folders deep, else 0."""
    parts = [name.split("/") for name in names]
    wrapped = len({part[0] for part in parts}) == 1 and min(map(len, parts)) >= 3
    return 1 if wrapped else 0


def _known() -> str:
    return "known endings: " + " ".join(EXTENSIONS)
