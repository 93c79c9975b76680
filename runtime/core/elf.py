"""Which machine a native library or program was built for: the header of an ELF file."""

import struct
import sys
from typing import Optional

# e_machine in the ELF header, by /usr/include/elf.h.
_MACHINES = {
    3: "32-bit x86",
    8: "MIPS",
    20: "PowerPC",
    21: "64-bit PowerPC",
    22: "s390",
    40: "32-bit ARM",
    62: "x86-64",
    183: "aarch64",
    243: "RISC-V",
    258: "LoongArch",
}
# The machine stands behind the 16 bytes of identification and the 2 of the type.
_HEADER = 20
_BIG_ENDIAN = 2


def machine_of(path: str) -> Optional[str]:
    """The machine that the ELF file at `path` was built for; None for what is no ELF file.

    Raises OSError.
    """
    with open(path, "rb") as file:
        header = file.read(_HEADER)
    if len(header) < _HEADER or header[:4] != b"\x7fELF":
        return None
    order = ">" if header[5] == _BIG_ENDIAN else "<"
    (number,) = struct.unpack_from(order + "H", header, 18)
    return _MACHINES.get(number, "machine {} of ELF".format(number))


def this_machine() -> Optional[str]:
    """The machine that this Python was built for, which may be another than the kernel's; None
    where that cannot be told."""
    try:
        return machine_of(sys.executable)
    except OSError:
        return None
