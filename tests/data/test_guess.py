"""A first description of a file that nobody described."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from compression.data.click_log import generate_click_log
from compression.data.description import dump_description, load_description
from compression.data.encode import load_dataset
from compression.data.guess import cells_of, guess_delimiter, guess_description, has_header
from compression.spec.errors import DataError
from tests.data.write import click_rows, write_data


def roles(description) -> dict[str, str]:
    return {column.name: str(column.role) for column in description.columns}


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
@pytest.mark.parametrize("header", [True, False])
def test_delimiter_and_header_are_read_off_the_rows(tmp_path, delimiter, header):
    write_data(tmp_path, click_rows(200), delimiter=delimiter, header=header)
    guess = guess_description(tmp_path / "clicks.csv", "mine")
    assert (guess.name, guess.header, len(guess.columns)) == ("mine", header, 6)
    assert guess.format == ("tsv" if delimiter == "\t" else "csv")
    assert guess.delimiter == (";" if delimiter == ";" else None)


def test_names_types_and_contents_give_the_roles(tmp_path):
    write_data(tmp_path, click_rows(200))
    guess = guess_description(tmp_path / "clicks.csv", "mine")
    assert roles(guess) == {"click": "label", "user": "user", "item": "item", "age": "number", "tags": "multi",
                            "time": "time"}
    assert guess.columns[4].separator == "|" and guess.split.kind == "time" and guess.label.at_least == 1


def test_a_guess_reads_its_own_file(tmp_path):
    folder = generate_click_log(tmp_path, rows=3000)
    guess = guess_description(folder / "clicks.csv", "mine")
    (folder / "data.yaml").write_text(dump_description(guess))
    assert load_description(folder) == guess
    assert load_dataset(folder).splits["train"].label.mean() == pytest.approx(0.25, abs=0.05)


def test_a_rating_becomes_a_label_from_the_upper_part_of_its_scale(tmp_path):
    rows = ["userId,movieId,rating,timestamp", *(f"{k % 9},{k % 7},{1 + k % 5},{1260759144 + k}" for k in range(100))]
    (tmp_path / "r.csv").write_text("\n".join(rows))
    guess = guess_description(tmp_path / "r.csv", "r")
    assert roles(guess) == {"userId": "user", "movieId": "item", "rating": "label", "timestamp": "time"}
    assert guess.label.at_least == 4


def test_a_headerless_criteo_file_gets_its_names(tmp_path):
    rng = np.random.default_rng(0)
    rows = ["\t".join([str(k % 2), *(str(v) if v < 400 else "" for v in rng.integers(0, 500, 13)),
                       *(f"{v:08x}" for v in rng.integers(0, 50, 26))]) for k in range(120)]
    (tmp_path / "c.tsv").write_text("\n".join(rows))
    found = roles(guess_description(tmp_path / "c.tsv", "criteo"))
    assert list(found)[:2] == ["label", "I1"] and found["I13"] == "number" and found["C26"] == "category"


def test_row_keys_constants_and_free_text_are_ignored(tmp_path):
    rows = ["id,click,title,market,item", *(f"{k},{k % 2},a text no {k},en,{k % 9}" for k in range(300))]
    (tmp_path / "x.csv").write_text("\n".join(rows))
    assert roles(guess_description(tmp_path / "x.csv", "x")) == {
        "id": "ignore", "click": "label", "title": "ignore", "market": "ignore", "item": "item"}


def test_a_second_label_is_ignored_because_it_would_give_the_answer_away(tmp_path):
    rows = ["user,click,rating", *(f"{k % 5},{k % 2},{1 + k % 5}" for k in range(100))]
    (tmp_path / "x.csv").write_text("\n".join(rows))
    assert roles(guess_description(tmp_path / "x.csv", "x")) == {"user": "user", "click": "label", "rating": "ignore"}


def test_parquet_lists_are_multi_and_dates_are_times(tmp_path):
    days = pl.datetime_range(pl.datetime(2024, 1, 1), pl.datetime(2024, 2, 29), "1d", eager=True)
    frame = pl.DataFrame({"label": [k % 2 for k in range(60)], "likes": [["a", "b"]] * 60, "when": days})
    frame.write_parquet(tmp_path / "x.parquet")
    guess = guess_description(tmp_path / "x.parquet", "x")
    assert roles(guess) == {"label": "label", "likes": "multi", "when": "time"} and guess.format == "parquet"


def test_quoted_delimiters_do_not_mislead_the_guess():
    assert guess_delimiter(['a;b;c', '"x,y,z";"1,2";3', '"p,q,r";"3,4";5']) == ";"


@pytest.mark.parametrize(("rows", "header"), [
    ([["a", "b"], ["1", "2"]], True), ([["1", "b"], ["2", "c"]], False), ([["x", "y"], ["x", "z"], ["w", "y"]], False),
    ([["name", "city"], ["Ann", "Rome"], ["Bob", "Oslo"]], True), ([["a", "a"], ["1", "2"]], True),
    ([["", "a"], ["0", "2"]], True), ([["", "a"], ["1", "b"]], False), ([["a", "a"], ["b", "c"]], False)])
def test_a_header_names_columns_and_is_no_row(rows, header):
    assert has_header(rows) is header


def test_a_cell_too_long_and_too_many_columns_are_refused_in_a_sentence(tmp_path):
    rows = [f"u{k},{'q' * 200_000 if k == 0 else 'x'},{k % 2}" for k in range(50)]
    (tmp_path / "a.csv").write_text("\n".join(["user,query,label", *rows]) + "\n")
    with pytest.raises(DataError, match=r"a\.csv can't be read as a table: a cell is longer than 131,072 characters"):
        guess_description(tmp_path / "a.csv", "mine")
    (tmp_path / "b.csv").write_text(",".join(f"c{k}" for k in range(100_000)) + "\n" + ",".join("1" * 100_000) + "\n")
    with pytest.raises(DataError, match=r"b\.csv has 100,000 columns .* at most 2,000 are allowed"):
        guess_description(tmp_path / "b.csv", "mine")


def test_lone_quotes_are_characters_of_a_cell_as_in_the_reader(tmp_path):
    rows = [f'u{k % 9}\t{(chr(34) + "open") if k % 7 == 0 else "plain"} {k % 5}\t{k % 2}' for k in range(300)]
    (tmp_path / "d.tsv").write_text("\n".join(["user\ttitle\tlabel", *rows]) + "\n")
    found = guess_description(tmp_path / "d.tsv", "mine")
    assert roles(found) == {"user": "user", "title": "category", "label": "label"}
    assert cells_of(['a\t"b', "c\td"], "\t") == [["a", '"b'], ["c", "d"]]
    assert cells_of(['a\t"b', 'c"\td', "e\tf"], "\t") == [["a", "b\nc", "d"], ["e", "f"]]
