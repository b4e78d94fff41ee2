"""Ratings as chances, so that a model of ratings is measured by the same metrics as every other one."""

from __future__ import annotations

import numpy as np

from compression.data.description import DataDescription
from compression.spec.signature import Signature


def as_chances(scores: np.ndarray, signature: Signature, description: DataDescription) -> np.ndarray:
    """(N,) in [0, 1]: the scores; of ratings the chance that the label's threshold is reached, σ(rating − at_least).

    The order of the rows stays as it is, and .5 is where the predicted rating is the threshold.
    """
    if signature.output_form != "rating":
        return scores
    return 1 / (1 + np.exp(-np.clip(np.asarray(scores, np.float64) - description.label.at_least, -36, 36)))
