"""What is said of a module that cannot be imported."""

import pytest

from runtime.core.imports import why


@pytest.mark.parametrize(
    "library",
    ["/usr/lib/aarch64-linux-gnu/libgomp.so.1", "libGLdispatch.so.0", "/venv/libgomp-d2.so.1"],
)
def test_a_library_that_comes_too_late_is_named_with_the_cure(library: str) -> None:
    said = "{}: cannot allocate memory in static TLS block".format(library)
    assert why(ImportError(said)) == "{}: start Python with LD_PRELOAD={}".format(said, library)


def test_other_reasons_are_told_as_they_are() -> None:
    assert why(ImportError("No module\nnamed 'cv2'")) == "No module named 'cv2'"
