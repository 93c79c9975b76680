"""What ONNX Runtime says when it refuses something."""

import re

from runtime.core.errors import one_line


def explain(error: BaseException) -> str:
    """ONNX Runtime's text in one line, without its "[ONNXRuntimeError] : 1 : FAIL :"."""
    if isinstance(error, UnicodeDecodeError):
        # The binding could not hand over the text, which quotes a damaged file.
        text = one_line(error.object.decode("utf-8", "backslashreplace"))
    else:
        text = one_line(error)
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    return text or "ONNX Runtime refuses it without a word: {}".format(type(error).__name__)
