"""The array types of the annotations (NumPy 1.19 has no subscriptable ndarray)."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    AnyArray = np.ndarray[Any, np.dtype[Any]]
    FloatArray = np.ndarray[Any, np.dtype[np.float32]]
    IndexArray = np.ndarray[Any, np.dtype[np.int64]]
    PixelArray = np.ndarray[Any, np.dtype[np.uint8]]
else:
    AnyArray = np.ndarray
    FloatArray = np.ndarray
    IndexArray = np.ndarray
    PixelArray = np.ndarray

__all__ = ["AnyArray", "FloatArray", "IndexArray", "PixelArray"]
