"""Runs one reader under Atheris: `python -m tests.fuzz.atheris_child READER [libFuzzer's options]`.

A process of its own, since Atheris wants the code instrumented as it is imported, and ends it.
"""

from __future__ import annotations

import resource
import sys
import warnings

import atheris

_INSTRUMENTED = ["runtime", "calibration.table", "json"]
_OF_IMAGES = ["PIL", "zipfile"]
_OF_MODELS = ("metadata", "infer")
_ADDRESS_SPACE = 6 << 30


def main(arguments: list[str]) -> None:
    """Does not come back: libFuzzer ends the process."""
    # A damaged size must fail in an allocation, as on a small machine, and not fill this one.
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    warnings.simplefilter("ignore")
    name = arguments[1]
    # Pillow takes seconds.
    more = _OF_IMAGES if name.startswith("image") else []
    with atheris.instrument_imports(include=[*_INSTRUMENTED, *more]):
        from PIL import Image

        from tests.fuzz import onnx_damage, readers

        # These come late, when they are needed.
        Image.init()
        from runtime.engines.onnxruntime import backend as onnxruntime_backend  # noqa: F401

    def damage(data: bytes, most: int, seed: int) -> bytes:
        return onnx_damage.damaged_bytes(data, most, seed, lambda raw: atheris.Mutate(raw, most))

    mutator = {"custom_mutator": damage} if name in _OF_MODELS else {}
    atheris.Setup([arguments[0], *arguments[2:]], readers.prepare(name), **mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
