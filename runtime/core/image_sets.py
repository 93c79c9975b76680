"""Data sets: the images below a folder or in a zip, and their classes in the ImageFolder layout."""

import functools
import io
import os
import stat
import threading
import zipfile
from abc import ABC, abstractmethod
from collections import Counter
from typing import Any, BinaryIO, Dict, Iterator, List, Sequence, Tuple, Union

from PIL import Image

from runtime.core.errors import DataError, reason
from runtime.core.files import open_regular
from runtime.core.images import open_image

EXTENSIONS = (
    ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif",
    ".tiff", ".webp",
)  # fmt: skip
"""The endings of images that every Pillow reads."""
# Those that some do: of a newer version, or with the package pillow-heif.
_SOMETIMES = (".avif", ".heic", ".heif", ".hif", ".j2k", ".jp2")
# The most bytes that a file in a zip may unpack to: a packed file can be a thousand times smaller.
_LARGEST_MEMBER = 128 << 20
_CHUNK = 1 << 20
# What systems and archivers leave in folders without being asked.
_SIDE_FILES = ("__MACOSX", "desktop.ini", "Thumbs.db")


class Skipped:
    """How many files of a data set are left out, by kind. False when there are none."""

    def __init__(self) -> None:
        self._counts: "Counter[str]" = Counter()

    def add(self, kind: str, count: int = 1) -> None:
        """Counts `count` files of a `kind`, such as ".txt"."""
        if count:
            self._counts[kind] += count

    def __bool__(self) -> bool:
        return bool(self._counts)

    def __str__(self) -> str:
        total = sum(self._counts.values())
        kinds = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        shown = ["{} {}".format(count, kind) for kind, count in kinds[:5]]
        if len(kinds) > 5:
            shown.append("and others")
        return "{} file{} left out: {}".format(total, "" if total == 1 else "s", ", ".join(shown))


class ImageSet(ABC):
    """The images of a folder, at whatever depth, or of a zip.

    `names` has them sorted, relative to `path` and with "/"; `skipped` counts the files that are
    left out: what does not end like an image that this Pillow reads, and what is no regular file.
    Hidden files and what archivers add are not even counted. `open` may be called from several
    threads, and from processes forked after the set was made.
    """

    KIND = "data set"

    def __init__(self, path: str) -> None:
        self.path = path
        self.skipped = Skipped()
        self.names: List[str] = sorted(self._found())
        if not self.names:
            left_out = "; {}".format(self.skipped) if self.skipped else ""
            raise DataError(
                "{}: no images in this {} (known endings: {}){}".format(
                    path, self.KIND, " ".join(EXTENSIONS), left_out
                )
            )

    @abstractmethod
    def open(self, name: str) -> Image.Image:
        """The image `name` of `names` as `open_image` gives it. Raises DataError when it cannot be
        read."""

    def close(self) -> None:  # noqa: B027 - a folder holds nothing
        """Closes what is open; the next `open` opens it again."""

    @abstractmethod
    def _found(self) -> Iterator[str]:
        """The names of the images in any order; counts what it leaves out."""

    def _is_image(self, name: str) -> bool:
        """Whether the file `name` is to be read. Counts what only does not end like an image."""
        parts = name.split("/")
        if any(part.startswith(".") or part in _SIDE_FILES for part in parts):
            return False
        ending = os.path.splitext(parts[-1])[1].lower()
        if ending in EXTENSIONS or (ending in _SOMETIMES and _pillow_reads(ending)):
            return True
        self.skipped.add(ending or "without an ending")
        return False


def image_set(path: Union[str, "os.PathLike[str]"]) -> ImageSet:
    """The images below the folder, or in the zip, at `path`.

    Raises DataError when `path` is missing, is neither a folder nor a zip, or holds no image.
    """
    path = os.fspath(path)
    return _Folder(path) if os.path.isdir(path) else _Archive(path)


class ImageFolder:
    """A labelled data set laid out as `class_name/file`, in a folder or in a zip.

    A single folder around all the class folders (as archivers make it) is stepped into; a class
    folder may hold further folders. A class is a folder with at least one image below it; classes
    are numbered in alphabetical order. Images outside class folders are left out.

    `classes` is the list of class names; `samples` the list of (name, class index), sorted by name,
    where name is relative to `path` and uses "/"; `skipped` counts what is left out. `open` may be
    called from several threads, and from processes forked after the set was made.

    Raises DataError when `path` is missing, is neither a folder nor a zip, or holds no class.
    """

    def __init__(self, path: Union[str, "os.PathLike[str]"]) -> None:
        self._images = image_set(path)
        self.path = self._images.path
        self.skipped = self._images.skipped
        names = self._images.names
        depth = _depth_of_classes(names)
        labelled = [(name, name.split("/")) for name in names]
        labelled = [(name, parts) for name, parts in labelled if len(parts) > depth + 1]
        if not labelled:
            raise DataError(
                "{}: no class folders: images are expected at class_name/file".format(self.path)
            )
        self.skipped.add("outside the class folders", len(names) - len(labelled))
        self.classes: List[str] = sorted({parts[depth] for _, parts in labelled})
        index = {name: i for i, name in enumerate(self.classes)}
        self.samples: List[Tuple[str, int]] = [
            (name, index[parts[depth]]) for name, parts in labelled
        ]

    def __len__(self) -> int:
        return len(self.samples)

    def open(self, i: int) -> Image.Image:
        """Sample `i`, decoded, upright and RGB. Raises DataError when it cannot be read."""
        return self._images.open(self.samples[i][0])

    def close(self) -> None:
        """Closes the zip; the next `open` opens it again."""
        self._images.close()


class _Folder(ImageSet):
    KIND = "directory"

    def open(self, name: str) -> Image.Image:
        path = os.path.join(self.path, *name.split("/"))
        return open_image(path, path)

    def _found(self) -> Iterator[str]:
        return self._below(self.path, "", [])

    def _below(self, folder: str, prefix: str, around: Sequence[str]) -> Iterator[str]:
        """The images below `folder`, whose names begin with `prefix`. Links are followed, but not
        to one of the folders `around`, which would have no end."""
        real = os.path.realpath(folder)
        if real in around:
            self.skipped.add("link to a folder around it")
            return
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            raise DataError(
                "{}: cannot read the folder: {}".format(folder, reason(error))
            ) from error
        for entry in entries:
            name = prefix + entry.name
            if entry.is_dir():
                if not entry.name.startswith("."):
                    yield from self._below(entry.path, name + "/", [*around, real])
            elif self._is_image(name):
                if entry.is_file():
                    yield name
                else:
                    self.skipped.add("broken link" if entry.is_symlink() else "no regular file")


class _Archive(ImageSet):
    def __init__(self, path: str) -> None:
        self._lock = threading.Lock()
        self._archives: Dict[int, zipfile.ZipFile] = {}
        self._members: Dict[str, zipfile.ZipInfo] = {}
        super().__init__(path)

    def open(self, name: str) -> Image.Image:
        shown = "{}/{}".format(self.path, name)
        # All threads share one file position, so reading is serial; decoding runs in parallel.
        with self._lock:
            try:
                content = self._unpacked(self._members[name])
            # A wrong checksum, an encrypted member and an unknown compression each raise a type of
            # their own.
            except Exception as error:
                raise DataError("{}: cannot unpack: {}".format(shown, reason(error))) from error
        return open_image(content, shown)

    def close(self) -> None:
        with self._lock:
            archive = self._archives.pop(os.getpid(), None)
            if archive is not None:
                _close(archive)

    def __getstate__(self) -> Dict[str, Any]:
        return dict(self.__dict__, _lock=None, _archives={})

    def __setstate__(self, state: Dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def _unpacked(self, member: zipfile.ZipInfo) -> BinaryIO:
        """A member's content. What the directory says of its size need not be true."""
        content = io.BytesIO()
        with self._archive().open(member) as packed:
            for chunk in iter(lambda: packed.read(_CHUNK), b""):
                content.write(chunk)
                if content.tell() > _LARGEST_MEMBER:
                    raise DataError("more than {} bytes".format(_LARGEST_MEMBER))
        content.seek(0)
        return content

    def _archive(self) -> zipfile.ZipFile:
        """This process's own handle, since forked processes would share the position in an
        inherited one."""
        archive = self._archives.get(os.getpid())
        if archive is None:
            archive = self._archives[os.getpid()] = _opened(self.path)
        return archive

    def _found(self) -> Iterator[str]:
        # Of members of one name the last counts, as with other tools.
        self._members = {_tidy(member.filename): member for member in self._directory()}
        for name, member in self._members.items():
            if not name.endswith("/") and self._is_image(name):
                if stat.S_ISLNK(member.external_attr >> 16):
                    self.skipped.add("link")
                else:
                    yield name

    def _directory(self) -> List[zipfile.ZipInfo]:
        try:
            return self._archive().infolist()
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


def _opened(path: str) -> zipfile.ZipFile:
    file = open_regular(path)
    try:
        return zipfile.ZipFile(file)
    except BaseException:
        file.close()
        raise


def _close(archive: zipfile.ZipFile) -> None:
    """Closes the archive, and the file that it was given."""
    file = archive.fp
    archive.close()
    if file is not None:
        file.close()


def _tidy(name: str) -> str:
    """A member's name without "." and ".." in it, with "/" between folders: archivers on Windows
    write a backslash. Nothing is ever written to a place of this name."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return "/".join(parts) + ("/" if name.endswith(("/", "\\")) else "")


@functools.lru_cache(maxsize=None)
def _pillow_reads(ending: str) -> bool:
    """Whether this Pillow, with pillow-heif where that is there, reads images of this ending."""
    try:
        import pillow_heif  # type: ignore[import-not-found]

        pillow_heif.register_heif_opener()
    except ImportError:
        pass
    return Image.registered_extensions().get(ending) in Image.OPEN


def _depth_of_classes(names: Sequence[str]) -> int:
    """How many folders stand around the class folders: 1 when all images share a top folder and
    lie at least two folders deep, else 0."""
    parts = [name.split("/") for name in names]
    wrapped = len({part[0] for part in parts}) == 1 and min(map(len, parts)) >= 3
    return 1 if wrapped else 0
