"""Every bad file and description ends in a sentence that says what, where, what was got, and the next step."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import yaml

from compression.data.encode import load_dataset
from compression.data.ingest import guess_description
from compression.spec.errors import DataError
from compression.spec.signature import Input, Signature
from tests.data.write import COLUMNS, click_rows, write_data

pytestmark = pytest.mark.security


def message(folder: Path, **how) -> str:
    with pytest.raises(DataError) as caught:
        load_dataset(folder, **how)
    text = str(caught.value)
    assert "polars" not in text.lower() and "infer_schema" not in text and str(folder) not in text
    assert caught.value.__cause__ is None
    return text


def replaced(row: int, column: int, value: str) -> list[list[str]]:
    rows = click_rows()
    rows[row][column] = value
    return rows


def test_a_short_row_is_named_with_its_line(tmp_path):
    rows = click_rows()
    rows[4] = rows[4][:3]
    assert message(write_data(tmp_path, rows)).startswith(
        "clicks.csv: line 6 has 3 cells, but the first line has 6 (delimiter: ','). Every line needs the same number")


def test_long_rows_are_counted(tmp_path):
    rows = click_rows()
    rows[10] = [*rows[10], "x"]
    rows[20] = [*rows[20], "x", "y"]
    assert ("line 12 has 7 cells, but the first line has 6 (delimiter: ','). 2 of 61 lines differ."
            in message(write_data(tmp_path, rows)))


def test_a_blank_line_between_rows_is_named(tmp_path):
    rows = click_rows()
    text = "\n".join(["click,user,item,age,tags,time", *(",".join(row) for row in rows[:30]), "",
                      *(",".join(row) for row in rows[30:])])
    assert "line 32 is blank, but the first line has 6" in message(write_data(tmp_path, text=text))


def test_ragged_rows_are_found_across_the_pieces_a_file_is_read_in(tmp_path, monkeypatch):
    monkeypatch.setattr("compression.data.text_file.CHUNK", 7)
    rows = click_rows()
    load_dataset(write_data(tmp_path, rows))
    rows[40] = rows[40][:2]
    assert "line 42 has 2 cells" in message(write_data(tmp_path, rows))


def test_the_wrong_delimiter_is_named_with_the_right_one(tmp_path):
    text = message(write_data(tmp_path, delimiter=";"))
    assert text.startswith("Column 'click' (and 5 more) with the role label is not in clicks.csv; it has: "
                           "'click;user;item")
    assert "the first line has 6 cells when split at ';': set that delimiter." in text


def test_the_wrong_delimiter_of_a_headerless_file_is_named_too(tmp_path):
    text = message(write_data(tmp_path, header=False, delimiter="\t"))
    assert text.startswith("clicks.csv has 1 column when split at ',', and no header; 6 are described.")
    assert "6 cells when split at tab: set that delimiter" in text


def test_a_delimiter_that_cannot_separate_is_refused(tmp_path):
    assert "The delimiter '\"' can't separate cells" in message(_with(write_data(tmp_path), delimiter='"'))


def _with(folder: Path, **changes) -> Path:
    path = folder / "data.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))
    return folder


def test_a_missing_label_column_is_named_with_the_columns_there_are(tmp_path):
    text = "\n".join(["clicked,user,item,age,tags,time", *(",".join(row) for row in click_rows())])
    assert message(write_data(tmp_path, text=text)) == (
        "Column 'click' with the role label is not in clicks.csv; it has: 'clicked', 'user', 'item', 'age', 'tags', "
        "'time'. Correct the columns of the description.")


def test_a_file_without_the_promised_header_gets_a_hint(tmp_path):
    folder = write_data(tmp_path, header=False)
    assert "the file has no header: add one, or set header: false" in message(_with(folder, header=True))


def test_one_class_only_names_the_range_and_the_threshold(tmp_path):
    text = message(write_data(tmp_path, label={"column": "click", "at_least": 4}))
    assert text == ("All 48 rows of the train split are negative: column 'click' goes from 0 to 1, and counts as "
                    "positive from 4 on. Both classes are needed in every split: change label.at_least, the label "
                    "column, or the split.")


def test_one_class_in_the_test_split_alone_is_refused(tmp_path):
    rows = click_rows()
    for row in rows[-6:]:
        row[0] = "1"
    assert message(write_data(tmp_path, rows)).startswith("All 6 rows of the test split are positive")


def test_a_split_without_rows_is_named(tmp_path):
    folder = write_data(tmp_path, click_rows(4), split={"kind": "random", "valid": 0.1, "test": 0.1})
    assert message(folder).startswith("The test split of the random split of 4 rows has no rows (train 3, valid 1).")


def test_a_given_file_without_rows_is_named(tmp_path):
    (tmp_path / "test.csv").write_text("click,user,item,age,tags,time\n")
    folder = write_data(tmp_path, files={"train": "clicks.csv", "test": "test.csv"}, split={"kind": "given"})
    assert message(folder) == ("test.csv has a header but no rows. Every split needs rows: upload the file again or "
                               "choose another.")


def test_ids_beyond_the_table_are_counted(tmp_path):
    rows = [[*row[:2], str(k % 50), *row[3:]] for k, row in enumerate(click_rows())]
    signature = Signature(inputs=(Input(name="item_id", kind="category", column="item", cardinality=40, ids="as-is"),))
    assert message(write_data(tmp_path, rows), signature=signature) == (
        "Column 'item' holds ids beyond the table of the input 'item_id': 8 of 48 train values lie outside 0 to 39 "
        "(smallest 0, largest 47); the table has 40 rows. Use the data the model was trained on, or bind another "
        "column.")


def test_a_negative_id_is_beyond_the_table_too(tmp_path):
    signature = Signature(inputs=(Input(name="age", kind="category", column="age", cardinality=99, ids="as-is"),))
    assert "(smallest -3, largest" in message(write_data(tmp_path, replaced(5, 3, "-3")), signature=signature)


def test_a_column_the_model_reads_and_the_data_lacks_is_named(tmp_path):
    signature = Signature(inputs=(Input(name="shop", kind="category", column="shop", cardinality=9),))
    text = message(write_data(tmp_path), signature=signature, vocabularies={"shop": ["x"]})
    assert text.startswith("The model reads the column 'shop' (input 'shop', category), which 'clicks' does not have; "
                           "it has: 'click', 'user'")


def test_a_model_without_a_vocabulary_is_refused(tmp_path):
    signature = Signature(inputs=(Input(name="item", kind="category", column="item", cardinality=9),))
    assert "The model has no vocabulary for the column 'item'" in message(write_data(tmp_path), signature=signature)


def test_a_vocabulary_longer_than_its_table_is_refused(tmp_path):
    signature = Signature(inputs=(Input(name="item", kind="category", column="item", cardinality=3),))
    text = message(write_data(tmp_path), signature=signature, vocabularies={"item": ["i1", "i2", "i3"]})
    assert "The vocabulary of 'item' has 3 values, but the table of the input 'item' has 3 rows" in text


def test_a_label_that_is_no_number_is_shown(tmp_path):
    assert message(write_data(tmp_path, replaced(7, 0, "maybe"))).startswith(
        "Column 'click' (label) must hold numbers; got 'maybe' in 1 row, first in data row 8.")


def test_a_label_in_words_is_told_to_become_one_and_zero(tmp_path):
    rows = [["<=50K" if row[0] == "0" else ">50K", *row[1:]] for row in click_rows()]
    assert message(write_data(tmp_path, rows)).startswith(
        "Column 'click' (label) must hold numbers, 1 for positive and 0 for negative; got the words '<=50K' and "
        "'>50K'.")


def test_an_empty_label_cell_is_counted(tmp_path):
    assert "Column 'click' (label) is empty in 1 of 48 rows, first in data row 4." in message(
        write_data(tmp_path, replaced(3, 0, "")))


def test_text_in_a_number_column_is_shown(tmp_path):
    assert message(write_data(tmp_path, replaced(2, 3, "old"))).startswith(
        "Column 'age' (number) must hold numbers; got 'old' in 1 row, first in data row 3.")


def test_an_infinite_number_is_refused(tmp_path):
    assert "Column 'age' (number) holds infinity in 1 row, first in data row 3." in message(
        write_data(tmp_path, replaced(2, 3, "inf")))


@pytest.mark.parametrize(("value", "said"), [("soon", "holds 'soon' in data row 10, which is neither a number nor a "
                                                      "date"), ("", "is empty in 1 row, first in data row 10")])
def test_a_time_that_orders_nothing_is_named(tmp_path, value, said):
    assert f"Column 'time' (time) {said}" in message(write_data(tmp_path, replaced(9, 5, value)))


def test_one_time_for_all_rows_cannot_split_by_time(tmp_path):
    rows = [[*row[:5], "7"] for row in click_rows()]
    assert "holds 1 different value in 60 rows, and a split by time needs at least 3" in message(
        write_data(tmp_path, rows))


@pytest.mark.parametrize("text", [b"", b"  \n\n"])
def test_an_empty_file_is_named(tmp_path, text):
    assert message(write_data(tmp_path, text=text)).startswith(f"clicks.csv is empty ({len(text)} bytes).")


def test_a_header_alone_is_no_data(tmp_path):
    assert message(write_data(tmp_path, [])).startswith("clicks.csv has a header but no rows.")


def test_a_truncated_parquet_file_says_so(tmp_path):
    whole = _parquet(tmp_path)
    content = whole.read_bytes()
    whole.write_bytes(content[: len(content) // 2])
    assert message(tmp_path) == (f"clicks.parquet is a Parquet file that ends too early (after {len(content) // 2:,} "
                                 "bytes). It was cut while copied or uploaded: copy it again.")


@pytest.mark.parametrize("place", [20, -30])
def test_a_damaged_parquet_file_says_so(tmp_path, place):
    whole = _parquet(tmp_path)
    content = bytearray(whole.read_bytes())
    content[place:place + 12] = b"\xff" * 12
    whole.write_bytes(content)
    assert "clicks.parquet starts and ends like a Parquet file but can't be read: it is damaged" in message(tmp_path)


def test_text_called_parquet_is_refused(tmp_path):
    folder = write_data(tmp_path, file="clicks.parquet", format="parquet")
    assert "clicks.parquet is not a Parquet file: it does not start with PAR1." in message(folder)


def _parquet(folder: Path) -> Path:
    names = [column["name"] for column in COLUMNS]
    frame = pl.DataFrame(dict(zip(names, zip(*click_rows(), strict=True), strict=True)))
    write_data(folder, file="clicks.parquet", format="parquet")
    frame.write_parquet(folder / "clicks.parquet")
    return folder / "clicks.parquet"


@pytest.mark.parametrize(("junk", "said"), [
    (bytes(range(128, 256)) * 40, "clicks.csv is not UTF-8 text: byte 0 can't be read"),
    (b"click,user\n1,\xff\n", "clicks.csv is not UTF-8 text: byte 13 can't be read"),
    (b"\x80\x04\x95abc", "clicks.csv is not text: it is a Python pickle, which is never loaded"),
    (b"PK\x03\x04abc", "it is a zip archive or a spreadsheet; unpack it"),
    (b"\x1f\x8b\x08abc", "is packed with gzip, but is cut or damaged"),
    (b"PAR1abcPAR1", "it is a Parquet file; set format: parquet"),
    ("click,user\n".encode("utf-16"), "it is text in UTF-16; set encoding: utf-16"),
])
def test_binary_junk_is_told_apart(tmp_path, junk, said):
    assert said in message(write_data(tmp_path, text=junk))


def test_a_nul_byte_is_named_with_its_place(tmp_path):
    text = "\n".join(["click,user,item,age,tags,time", *(",".join(row) for row in replaced(50, 1, "u\0"))])
    assert f"clicks.csv holds a NUL byte at byte {text.index(chr(0)):,}" in message(write_data(tmp_path, text=text))


def test_too_many_columns_are_counted(tmp_path):
    text = ",".join(f"c{k}" for k in range(2001)) + "\n" + ",".join("1" * 2001) + "\n"
    assert message(write_data(tmp_path, text=text)).startswith(
        "clicks.csv has 2,001 columns when split at ','; at most 2,000 are allowed.")


def test_an_endless_first_line_is_refused(tmp_path):
    assert "The first line of clicks.csv is longer than 1,048,576 bytes" in message(
        write_data(tmp_path, text="x" * 1_100_000))


def test_two_columns_of_one_name_are_refused(tmp_path):
    text = "\n".join(["click,user,user,age,tags,time", *(",".join(row) for row in click_rows())])
    assert "clicks.csv has several columns named 'user'. Column names must differ" in message(
        write_data(tmp_path, text=text))


def test_a_quote_that_never_closes_is_refused(tmp_path):
    rows = replaced(30, 1, '"u,1')
    assert "In clicks.csv a quote is opened and never closed" in message(write_data(tmp_path, rows))


def test_guessing_over_junk_is_a_sentence_too(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"\0\1\2" * 50)
    with pytest.raises(DataError, match=r"x\.csv holds a NUL byte at byte 0"):
        guess_description(tmp_path / "x.csv", "x")
