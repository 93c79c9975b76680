"""What a PNG file holds besides its picture."""

import io
import struct
from typing import IO

_SIGNATURE = 8
# Text and colour profiles: PNG (third edition), sections 11.3.3.2 and 11.3.4.
_UNSEEN = (b"iCCP", b"iTXt", b"tEXt", b"zTXt")


def without_text(file: IO[bytes]) -> IO[bytes]:
    """A copy of the PNG in `file`, in memory, without the chunks of text and colour profile.

    A damaged file is copied up to where no chunk begins any more.
    """
    file.seek(0)
    copy = io.BytesIO()
    copy.write(file.read(_SIGNATURE))
    while True:
        head = file.read(8)
        if len(head) < 8:
            break
        length, name = struct.unpack(">I4s", head)
        content = file.read(length + 4)  # and the checksum
        if name not in _UNSEEN:
            copy.write(head)
            copy.write(content)
    copy.seek(0)
    return copy
