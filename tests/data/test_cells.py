"""What a cell means: the same for one cell and for a column, for every way a program writes the value."""

from __future__ import annotations

import datetime
import itertools
import re

import numpy as np
import polars as pl
import pytest

from compression.data.cells import (
    MISSING,
    NUMBER,
    RESPELLED,
    TRUTH,
    list_in,
    number,
    other_spellings,
    repeated,
    spelled,
    values_in,
)
from compression.data.columns import categories, multi_values, numbers, spelled_once, times
from compression.data.encode import load_dataset
from compression.data.vocabulary import Vocabulary
from compression.spec.errors import DataError
from tests.data.write import click_rows, write_data

SAME = [  # each line is one value, as one program or another writes it
    ("12", "12.0", "12.00", "1.2E+1"), ("true", "True", "TRUE"), ("false", "False", "FALSE"),
    ("0", "-0.0", "0.0", "0e+0"),
    ("1e-7", "1e-07", "0.0000001", "1.0E-7"), ("1e+20", "1E+20", "1.0E20"), ("1e-5", "0.00001", "1e-05"),
    ("10000000", "1.0E7", "10000000.0"), ("2024-05-31", "2024-05-31 00:00:00", "2024-05-31T00:00:00.000000Z"),
    ("2024-05-31 17:45:00", "2024-05-31T17:45", "2024-05-31 19:45:00+02:00", "2024-05-31 17:45:00.000 UTC"),
    ("2024-05-31 17:45:00.25", "2024-05-31 17:45:00.250000"), ("12:30:00", "12:30:00.000000000"), ("-x", "'-x"),
]
AS_THEY_ARE = ["007", "7.", "1.10", "v1.0", "1e5", "1e20", "tRue", "yes", "NaN", "null", "-0", "+7", "1,000", " 7",
               "'x", "", "1e400", "12345678901234567890", "0.1234567890123456789", "2024-13-31 00:00:00", "05/31/2024"]


def odd_texts(count: int = 30_000) -> list[str]:
    """Random texts of the characters that numbers and dates are made of, and all texts of up to three of them."""
    draw, marks = np.random.default_rng(0), np.array(list("0019.-+eE: T'=TrueZ"))
    drawn = ["".join(draw.choice(marks, draw.integers(1, 12))) for _ in range(count)]
    short = ["".join(some) for n in (1, 2, 3) for some in itertools.product("019.-+eE'=", repeat=n)]
    known = [*itertools.chain(*SAME), *AS_THEY_ARE, "'=a\nb", "2024-05-31 00:00:00\n", "9999-12-31 23:00:00-02:00"]
    return sorted({*drawn, *short, *known})


@pytest.mark.parametrize("same", SAME)
def test_a_value_has_one_spelling(same):
    assert {spelled(text) for text in same} == {same[0]}
    assert categories(pl.Series(same), what="").to_list() == [same[0]] * len(same)


def test_texts_that_no_program_writes_for_another_value_stay_distinct():
    assert [spelled(text) for text in AS_THEY_ARE] == AS_THEY_ARE


def test_a_spelling_is_its_own_spelling_and_columns_agree_with_cells():
    texts = odd_texts()
    alone = [spelled(text) for text in texts]
    assert [spelled(text) for text in alone] == alone
    assert all(re.search(RESPELLED, text) for text, plain in zip(texts, alone, strict=True) if text != plain)
    assert categories(pl.Series(texts), what="").to_list() == [text or None for text in alone]


def test_a_cell_is_a_number_where_the_column_reader_takes_it_for_one():
    texts = [text for text in odd_texts() if text.strip() == text and (NUMBER.fullmatch(text) or "-" not in text)]
    cast = pl.Series(texts).cast(pl.Float64, strict=False).to_list()
    for text, value in zip(texts, cast, strict=True):
        try:
            alone = number(text)
        except ValueError:
            alone = None
        assert value == alone or text.lower() in MISSING or text.lower() in TRUTH


def test_numbers_of_cells_and_columns_are_equal():
    texts = ["1", " 2.5\u00a0", "", "NA", "-nan", "?", "\\N", "TRUE", "false", "2024-05-31", "2024-05-31T17:45:00.5Z",
             "1969-12-31"]
    typed = [1, 2.5, np.nan, np.nan, np.nan, np.nan, np.nan, 1, 0, 1717113600, 1717177500.5, -86400]
    np.testing.assert_array_equal(numbers(pl.Series(texts), what=""), typed)
    np.testing.assert_array_equal([number(text) for text in texts], typed)


def test_a_moment_that_says_utc_orders_rows():
    written = pl.Series(["2019-10-01 00:00:00 UTC", "2019-10-01 00:00:01.5 UTC", "2019-10-01T00:00:02Z"])
    np.testing.assert_array_equal(times(written, what=""), [1569888000, 1569888001.5, 1569888002])


@pytest.mark.parametrize("cell", ["a b  c", "", '["a", "b c", "", null, 7.0, true]', "[a b]", "[1, {}]", "a", "[]",
                                  "['a', 'b c']", "[1 2\n 3]"])
def test_lists_of_cells_and_columns_are_equal(cell):
    assert multi_values(pl.Series([cell, "x"]), separator=" ", what="").to_list() == [values_in(cell, " "), ["x"]]


def test_a_list_in_keeps_its_values_whole():
    assert values_in('["New York", 7.0, true, null]', " ") == ["New York", "7.0", "true"]
    assert list_in("[1, [2]]") is None and list_in("[1") is None


@pytest.mark.parametrize(("cell", "values"), [
    ("['New York', \"it's\", 7, 1.5, True, None, nan]", ["New York", "it's", "7", "1.5", "true"]),
    ("['a' 'b c'\n 'd']", ["a", "b c", "d"]), ("[1. 2.5 1e-07]", ["1.0", "2.5", "1e-07"]), ("[ 1 22]", ["1", "22"]),
    (r"['it\'s', 'a\\b', 'é\n']", ["it's", "a\\b", "é\n"]), ("['a''b']", ["['a''b']"]), ("[x, 'y']", ["[x,", "'y']"])])
def test_a_list_that_python_or_numpy_printed_is_that_list(cell, values):
    assert values_in(cell, " ") == values
    assert multi_values(pl.Series([cell, "x"]), separator=" ", what="").to_list() == [values, ["x"]]


def test_times_of_day_keep_their_fractions_and_durations_stand_in_lists():
    clocks = pl.Series([datetime.time(1, 2, 3), datetime.time(1, 2, 3, 500_000)])
    spans = pl.Series([datetime.timedelta(seconds=3), datetime.timedelta(seconds=1.5)])
    for typed, values in ((clocks, ["01:02:03", "01:02:03.5"]), (spans, ["PT3S", "PT1.5S"])):
        assert categories(typed, what="").to_list() == values
        lists = multi_values(pl.Series([typed]), separator=" ", what="")
        assert spelled_once(lists.explode()).to_list() == values


def test_a_value_that_stands_twice_is_refused_with_its_places():
    said = "The vocabulary of 'item' lists 'b' twice, as value 2 and 4."
    assert repeated({"user": ["a"], "item": ["a", "b", "c", "b", "a"]}).startswith(said)
    assert repeated({"user": ["a", "b"]}) == ""
    with pytest.raises(DataError, match="lists 'b' twice, as value 2 and 4"):
        Vocabulary("item", ["a", "b", "c", "b"])


def test_a_value_twice_in_a_models_vocabulary_never_shifts_the_rows(tmp_path):
    dataset = load_dataset(write_data(tmp_path))
    twice = dataset.vocabularies | {"item": [*dataset.vocabularies["item"][:-1], dataset.vocabularies["item"][0]]}
    with pytest.raises(DataError, match=r"The vocabulary of 'item' lists .* twice"):
        load_dataset(tmp_path, signature=dataset.signature, vocabularies=twice)


def test_a_vocabulary_is_read_as_it_is_written_then_by_the_one_spelling():
    values = ["1", "1.0", "2.0", "TRUE", "True", "3"]
    cells = pl.Series(["1", "1.0", "2", "2.0", "2.00", "true", "True", "3.0", None, "x"])
    expected = [1, 2, 3, 3, 3, 0, 5, 6, 0, 0]  # "true" could be either of two values
    assert Vocabulary("item", values).rows(cells).tolist() == expected
    known = {value: row for row, value in enumerate(values, 1)}
    assert other_spellings(known) == {"2": 3}


def test_a_file_that_says_12_and_one_that_says_12_0_share_the_vocabulary(tmp_path):
    rows = click_rows()
    for row in rows:
        row[2] = row[2][1:]  # i3 → 3
    write_data(tmp_path, rows)
    train = load_dataset(tmp_path)
    later = [[*row[:2], f"{row[2]}.0", *row[3:]] for row in rows]
    write_data(tmp_path, later, file="later.csv")
    write_data(tmp_path, rows, files={"train": "clicks.csv", "test": "later.csv"}, split={"kind": "random"})
    both = load_dataset(tmp_path)
    assert sorted(both.vocabularies["item"]) == sorted(train.vocabularies["item"])
    values = [both.vocabularies["item"][row - 1] for row in both.splits["test"].inputs["item"]]
    assert values == [row[2] for row in rows]
