"""A program of one's own, to copy and to change: `python3 -m runtime.example MODEL IMAGE`.

A copy runs from the folder that holds `runtime/`, or with that folder on PYTHONPATH.
"""

import sys

from PIL import Image

import runtime
from runtime.core.errors import ShiftAddError


def main(model: str, image: str) -> None:
    """Prints the three most probable classes of an image file."""
    with runtime.load(model) as session:
        # Any number of images at once: Pillow's, or NumPy's uint8 [H, W, 3] in RGB order.
        (predictions,) = session.classify([Image.open(image)], top_k=3)
        for prediction in predictions:
            print("{:6.1%}  {}".format(prediction.probability, prediction.label))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: example.py MODEL IMAGE")
    try:
        main(*sys.argv[1:])
    except (ShiftAddError, OSError) as error:
        sys.exit("error: {}".format(error))
