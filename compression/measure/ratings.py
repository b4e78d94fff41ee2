"""Ratings and logits as chances, so that models of them are measured by the same metrics as every other one."""

from __future__ import annotations

import numpy as np

from compression.data.description import DataDescription
from compression.spec.signature import Signature


def as_chances(scores: np.ndarray, signature: Signature, description: DataDescription) -> np.ndarray:
    """(N,) in [0, 1]: the scores; of logits σ(score); of ratings the chance that the label's threshold is reached,
    σ(rating − at_least).

    The order of the rows stays as it is, and .5 is where the predicted rating is the threshold.
    """
    even = {"logit": 0.0, "rating": description.label.at_least}.get(signature.output_form)
    if even is None:
        return scores
    return 1 / (1 + np.exp(-np.clip(np.asarray(scores, np.float64) - even, -36, 36)))
