"""Leakage that was planted is found, and sound data is left in peace."""

from __future__ import annotations

import numpy as np
import pytest

from compression.data.leakage import Leakage
from compression.data.summary import summarise
from tests.data.write import COLUMNS, click_rows, write_data
from ui.datasets_view import findings


def test_sound_data_split_by_time_has_none(tmp_path):
    summary = summarise(write_data(tmp_path, click_rows(300), split={"kind": "time"}))
    assert summary.leakage == Leakage()


def test_rows_of_test_that_stand_in_train_are_counted(tmp_path):
    rows = click_rows(300)
    summary = summarise(write_data(tmp_path, rows + rows[:100], split={"kind": "random"}))
    assert 5 < summary.leakage.repeated_rows < 30
    assert any("stand in train word for word" in sentence for sentence in findings(summary))


@pytest.mark.parametrize("kind", ["random", "user"])
def test_a_split_that_ignores_the_time_lets_train_know_the_future(tmp_path, kind):
    summary = summarise(write_data(tmp_path, click_rows(300), split={"kind": kind}))
    assert summary.leakage.future_rows > 0.2 * summary.rows["train"]
    assert any("later than half of the test rows" in sentence for sentence in findings(summary))


@pytest.mark.parametrize("sign", [1, -1])
def test_a_column_that_tells_the_label_is_named(tmp_path, sign):
    draw = np.random.default_rng(0)
    rows = [[*row[:3], f"{sign * (float(row[0]) * 5 + draw.normal()):.3f}", *row[4:]] for row in click_rows(300)]
    summary = summarise(write_data(tmp_path, rows, split={"kind": "time"}, columns=COLUMNS))
    assert summary.leakage.telling == ("age",)
    assert any(sentence.startswith("age alone almost tells the label") for sentence in findings(summary))
