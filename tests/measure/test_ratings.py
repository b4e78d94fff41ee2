"""Ratings are measured as chances around the label's threshold; every other score as it is."""

from __future__ import annotations

import numpy as np
import pytest

from compression.measure.ratings import as_chances
from compression.spec.data_description import DataDescription
from compression.spec.signature import Signature

DESCRIPTION = DataDescription.model_validate({
    "name": "ratings", "files": {"all": "r.csv"}, "label": {"column": "rating", "at_least": 4},
    "columns": [{"name": "rating", "role": "label"}, {"name": "user", "role": "user"}], "split": {"kind": "random"}})


def test_a_rating_at_the_threshold_is_as_likely_as_not_and_the_order_stays():
    ratings = np.array([1.0, 3.9, 4.0, 4.1, 5.0, 30.0], np.float32)
    found = as_chances(ratings, Signature(inputs=(), output_form="rating"), DESCRIPTION)
    assert found[2] == 0.5 and (np.diff(found) > 0).all() and found.min() > 0 and found.max() < 1
    assert found[4] == pytest.approx(1 / (1 + np.exp(-1.0)))


@pytest.mark.parametrize("form", ["probability", "logit"])
def test_other_scores_are_measured_as_they_are(form):
    scores = np.array([0.2, 0.7], np.float32)
    assert as_chances(scores, Signature(inputs=(), output_form=form), DESCRIPTION) is scores
