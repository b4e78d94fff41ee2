"""Ratings are measured as chances around the label's threshold, logits around 0; probabilities as they are."""

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


def test_a_logit_of_0_is_as_likely_as_not():
    found = as_chances(np.array([-2.0, 0.0, 2.0], np.float32), Signature(inputs=(), output_form="logit"), DESCRIPTION)
    assert found[1] == 0.5 and found[0] + found[2] == pytest.approx(1)


def test_probabilities_are_measured_as_they_are():
    scores = np.array([0.2, 0.7], np.float32)
    assert as_chances(scores, Signature(inputs=(), output_form="probability"), DESCRIPTION) is scores
