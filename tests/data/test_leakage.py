"""Leakage that was planted is found, and sound data is left in peace."""

from __future__ import annotations

import numpy as np
import pytest

from compression.data.leakage import Leakage
from compression.data.summary import summarise
from tests.data.write import COLUMNS, click_rows, write_data
from ui.datasets.view import findings


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


ROWS = 1200
DRAW = np.random.default_rng(0)
LABEL = DRAW.integers(0, 2, ROWS)
TELLING = {  # what is written after the fact, in every role
    "category of two": ("category", [f"w{20 - 19 * y}" for y in LABEL], True),
    "category of many": ("category", [f"{y}-{k % 40}" for k, y in enumerate(LABEL)], True),
    "user": ("user", [f"{y}-{k % 40}" for k, y in enumerate(LABEL)], True),
    "item that is missing": ("item", ["" if y else "i1" for y in LABEL], True),
    "number": ("number", [f"{20 - 19 * y}" for y in LABEL], True),
    "number in the middle": ("number", [f"{y * 100 + (1 - y) * DRAW.choice([0, 200])}" for y in LABEL], True),
    "number that is missing": ("number", [f"{k % 7}" if y else "" for k, y in enumerate(LABEL)], True),
    "list": ("multi", ["a|b|won" if y else "a|b|lost" for y in LABEL], True),
    "time": ("time", [f"{1_600_000_000 + 3600 * k + 10**8 * y}" for k, y in enumerate(LABEL)], True),
    "a good category": ("category", [f"{y if DRAW.random() < .9 else 1 - y}" for y in LABEL], False),
    "an id that never comes again": ("category", [f"r{k}" for k in range(ROWS)], False),
    "a row number": ("number", [f"{k}" for k in range(ROWS)], False),
    "an empty column": ("number", [""] * ROWS, False),
    "a sound list": ("multi", ["a|b" if DRAW.random() < .5 else "b|c" for _ in LABEL], False),
}


def folder_of(folder, columns, rows):
    text = "\n".join(",".join(row) for row in [[column["name"] for column in columns], *rows]) + "\n"
    return write_data(folder, text=text, split={"kind": "random"}, columns=columns)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("what", TELLING)
def test_a_column_of_any_role_that_tells_the_label_is_named_and_no_other(what, tmp_path):
    role, values, tells = TELLING[what]
    columns = [{"name": "click", "role": "label"}, {"name": "x", "role": role, "separator": "|"},
               {"name": "age", "role": "number"}]
    rows = [[str(y), value, f"{DRAW.normal():.3f}"] for y, value in zip(LABEL, values, strict=True)]
    assert summarise(folder_of(tmp_path, columns, rows)).leakage.telling == (("x",) if tells else ())


def test_the_weights_of_kept_negatives_are_named_when_somebody_makes_them_an_input(tmp_path):
    rows = [[str(y), "1.0" if y else "20.0", f"i{k % 9}"] for k, y in enumerate(LABEL)]
    for role in ("category", "number"):
        columns = [{"name": "click", "role": "label"}, {"name": "sample_weight", "role": role},
                   {"name": "item", "role": "item"}]
        summary = summarise(folder_of(tmp_path, columns, rows))
        assert summary.leakage.telling == ("sample_weight",)
        assert any("sample_weight alone almost tells the label" in sentence for sentence in findings(summary))
