"""The classes of one image, the time that they took, and how both are written as JSON."""

import time
from typing import Any, Dict, List, NamedTuple

from runtime.core.images import Picture
from runtime.core.session import Prediction, Session


class Classification(NamedTuple):
    """An image's most probable classes. Times are in milliseconds; pre-processing includes
    decoding."""

    predictions: List[Prediction]
    preprocessing_ms: float
    inference_ms: float


def classify(session: Session, image: Picture, top_k: int, start: float) -> Classification:
    """The `top_k` best classes of `image`, on which work began at `start` (time.perf_counter()).

    Raises DataError when the image cannot be prepared, and ModelError when the network fails.
    """
    prepared = session.prepare([image])
    ready = time.perf_counter()
    scores = session.run(prepared)
    end = time.perf_counter()
    predictions = session.best(scores[0], top_k)
    return Classification(predictions, 1e3 * (ready - start), 1e3 * (end - ready))


def as_json(classification: Classification) -> Dict[str, Any]:
    """What the commands print as JSON, for json.dumps."""
    return {
        "predictions": [
            {
                "label": prediction.label,
                "class": prediction.class_index,
                "probability": prediction.probability,
            }
            for prediction in classification.predictions
        ],
        "timings": {
            "preprocessing_ms": classification.preprocessing_ms,
            "inference_ms": classification.inference_ms,
        },
    }
