"""Files into tables: what stands in the file is what comes out, split as described."""

from __future__ import annotations

import csv
import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from compression.data.description import load_description
from compression.data.ingest import label_of, read_splits, read_table
from compression.data.text_file import check_text_file
from tests.data.write import COLUMNS, click_rows, write_data


@pytest.mark.parametrize("chunk", [5, 64, 1 << 20])
@pytest.mark.parametrize("seed", range(8))
def test_quoted_cells_come_out_as_the_csv_module_reads_them(tmp_path, monkeypatch, seed, chunk):
    monkeypatch.setattr("compression.data.text_file.CHUNK", chunk)
    rng = np.random.default_rng(seed)
    pieces = ["a", "é", ",", '"', "\n", " ", "b1", ""]
    rows = [["".join(rng.choice(pieces, rng.integers(0, 5))) for _ in COLUMNS] for _ in range(40)]
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator=["\n", "\r\n"][seed % 2]).writerows([[c["name"] for c in COLUMNS], *rows])
    folder = write_data(tmp_path, text=buffer.getvalue())
    table = read_table(folder / "clicks.csv", load_description(folder))
    assert [[cell or "" for cell in row] for row in table.rows()] == rows


def test_quotes_inside_cells_are_plain_characters_where_every_line_still_fits(tmp_path):
    rows = click_rows()
    rows[3][1] = '27" tv'
    folder = write_data(tmp_path, rows)
    assert read_table(folder / "clicks.csv", load_description(folder))["user"][3] == '27" tv'


@pytest.mark.parametrize("ending", ["\n", "\r\n", "", "\n\n\n", "\r\n\r\n"])
def test_line_ends_and_blank_lines_at_the_end_make_no_rows(tmp_path, ending):
    newline = "\r\n" if "\r" in ending else "\n"
    lines = ["click,user,item,age,tags,time", *(",".join(row) for row in click_rows())]
    folder = write_data(tmp_path, text=newline.join(lines) + ending)
    table = read_table(folder / "clicks.csv", load_description(folder))
    assert table.height == 60 and table["time"][-1] == "1059"
    assert check_text_file(folder / "clicks.csv", ",").lines == 61


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    lines = ["click,user,item,age,tags,time", *(",".join(row) for row in click_rows())]
    folder = write_data(tmp_path, text=b"\xef\xbb\xbf" + "\n".join(lines).encode())
    assert read_table(folder / "clicks.csv", load_description(folder))["click"].to_list() == ["0", "1"] * 30


def test_columns_the_description_leaves_out_are_not_read_and_order_is_the_descriptions(tmp_path):
    folder = write_data(tmp_path, columns=[COLUMNS[5], COLUMNS[0], COLUMNS[2]])
    assert read_table(folder / "clicks.csv", load_description(folder)).columns == ["time", "click", "item"]


def test_headerless_tsv_is_read_in_the_descriptions_order(tmp_path):
    folder = write_data(tmp_path, header=False, delimiter="\t", file="x.tsv", format="tsv")
    assert read_table(folder / "x.tsv", load_description(folder))["item"].to_list() == [row[2] for row in click_rows()]


def test_a_split_by_time_puts_the_latest_rows_into_test(tmp_path):
    rows = click_rows()
    shuffled = [rows[k] for k in np.random.default_rng(3).permutation(len(rows))]
    splits = read_splits(write_data(tmp_path, shuffled))
    times = [[int(t) for t in splits[name]["time"]] for name in ("train", "valid", "test")]
    assert [len(part) for part in times] == [48, 6, 6]
    assert [*times[0], *times[1], *times[2]] == sorted(range(1000, 1060))


def test_rows_of_equal_time_stay_in_one_split(tmp_path):
    rows = [[*row[:5], str(k // 7)] for k, row in enumerate(click_rows(200))]
    splits = read_splits(write_data(tmp_path, rows))
    sets = [set(splits[name]["time"]) for name in ("train", "valid", "test")]
    assert all(sets) and not any(left & right for left, right in pairwise(sets))


@pytest.mark.parametrize("form", ["{}-{:02d}-{:02d} 10:00:00", "{}-{:02d}-{:02d}T10:00:00Z", "{}/{:02d}/{:02d}"])
def test_dates_order_rows_as_the_calendar_does(tmp_path, form):
    days = np.arange("2023-12-01", "2024-01-30", dtype="datetime64[D]").astype(object)
    rows = [[*row[:5], form.format(day.year, day.month, day.day)] for row, day in zip(click_rows(), days, strict=True)]
    splits = read_splits(write_data(tmp_path, rows[::-1]))
    assert splits["test"]["time"].to_list() == [row[5] for row in rows[-6:]]


def test_a_random_split_is_the_same_for_a_seed_and_another_for_another(tmp_path):
    first, again = (read_splits(write_data(tmp_path, split={"kind": "random", "seed": 4})) for _ in range(2))
    other = read_splits(write_data(tmp_path, split={"kind": "random", "seed": 5}))
    assert first["test"].equals(again["test"]) and not first["test"].equals(other["test"])
    assert sorted(pl.concat(first.values())["time"]) == sorted(row[5] for row in click_rows())


def test_a_split_by_user_shares_no_user(tmp_path):
    rows = [[row[0], f"u{k // 6}", *row[2:]] for k, row in enumerate(click_rows(300))]
    splits = read_splits(write_data(tmp_path, rows, split={"kind": "user", "valid": 0.2, "test": 0.2}))
    users = [set(frame["user"]) for frame in splits.values()]
    assert [len(part) for part in users] == [30, 10, 10] and len(set.union(*users)) == 50


def test_given_files_are_taken_as_they_are(tmp_path):
    for name, count in (("train", 40), ("valid", 10), ("test", 20)):
        write_data(tmp_path, click_rows(count), file=f"{name}.csv")
    folder = write_data(tmp_path, click_rows(40), file="train.csv", split={"kind": "given"},
                        files={name: f"{name}.csv" for name in ("train", "valid", "test")})
    assert {name: frame.height for name, frame in read_splits(folder).items()} == {"train": 40, "valid": 10, "test": 20}


@pytest.mark.parametrize(("columns", "latest"), [
    (COLUMNS, True), ([*COLUMNS[:-1], {"name": "time", "role": "ignore"}], False)])
def test_without_a_validation_file_the_end_of_train_or_random_rows_are_cut_off(tmp_path, columns, latest):
    write_data(tmp_path, click_rows(20), file="test.csv")
    folder = write_data(tmp_path, click_rows(100), files={"train": "clicks.csv", "test": "test.csv"}, columns=columns,
                        split={"kind": "given"})
    splits = read_splits(folder)
    assert [frame.height for frame in splits.values()] == [90, 10, 20]
    assert (splits["valid"]["time"].to_list() == [str(1090 + k) for k in range(10)]) is latest


@pytest.mark.parametrize("values", [["true", "false"], ["True", "False"], ["1.0", "0.0"], ["5", "2"]])
def test_labels_become_one_and_zero_by_the_threshold(tmp_path, values):
    rows = [[values[0] if row[0] == "1" else values[1], *row[1:]] for row in click_rows()]
    at_least = 4 if values[0] == "5" else 1
    folder = write_data(tmp_path, rows, label={"column": "click", "at_least": at_least})
    label = label_of(read_splits(folder)["train"], load_description(folder))
    assert label.dtype == np.float32 and label.tolist() == [0.0, 1.0] * 24


def test_a_split_by_time_within_users_tests_on_the_latest_rows_of_each(tmp_path: Path) -> None:
    lines = ["label,who,at"] + [f"{step % 2},{who},{1000 - 90 * who + step}" for who in range(4) for step in range(20)]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "data.yaml").write_text(
        "version: 1\nname: rows\nfiles: {all: rows.csv}\nlabel: {column: label}\nsplit: {kind: user_time}\ncolumns:\n"
        "- {name: label, role: label}\n- {name: who, role: user}\n- {name: at, role: time}\n"
    )
    splits = read_splits(tmp_path)
    assert {name: part.height for name, part in splits.items()} == {"train": 64, "valid": 8, "test": 8}
    for _, times in splits["test"].group_by("who"):
        assert sorted(int(at) % 10 for at in times["at"]) == [8, 9]


def test_a_split_by_time_within_users_loses_no_row_where_a_place_is_the_very_boundary(tmp_path: Path) -> None:
    rows = [[str(k % 2), f"u{n}", "i", "30", "a", str(1000 + k)] for n in (5, 10, 15, 25) for k in range(n)]
    for valid, test in ((0.1, 0.1), (0.2, 0.1), (0.2, 0.2), (0.25, 0.25)):
        folder = write_data(tmp_path, rows, split={"kind": "user_time", "valid": valid, "test": test})
        splits = read_splits(folder)
        for n in (5, 10, 15, 25):
            of = {name: part.filter(part["user"] == f"u{n}")["time"].cast(int).to_list() for name, part in
                  splits.items()}
            assert [time for part in of.values() for time in part] == list(range(1000, 1000 + n)), (n, valid, test)
    # a place of exactly 0.9 of five, 15 or 25 rows is test, as the boundary is 0.9
    splits = read_splits(write_data(tmp_path, rows, split={"kind": "user_time", "valid": 0.1, "test": 0.1}))
    counts = dict(splits["test"].group_by("user").len().iter_rows())
    assert counts == {"u5": 1, "u10": 1, "u15": 2, "u25": 3}
