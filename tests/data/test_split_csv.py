"""A split back as CSV: the raw rows, and no cell that a spreadsheet would run."""

from __future__ import annotations

import csv

import polars as pl
import pytest

from compression.data.cells import spelled
from compression.data.split_csv import export_split_csv
from compression.spec.errors import DataError
from tests.data.write import click_rows, write_data


def cells(path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_the_rows_of_a_split_come_back_as_they_were(tmp_path):
    path = export_split_csv(write_data(tmp_path), "test", tmp_path / "out.csv")
    assert cells(path) == [["click", "user", "item", "age", "tags", "time"], *click_rows()[-6:]]


@pytest.mark.parametrize(("cell", "written"), [
    ("=1+2", "'=1+2"), ("+cmd|x", "'+cmd|x"), ("-x", "'-x"), ("@SUM(A1)", "'@SUM(A1)"), (" =1", "' =1"),
    ("\t=1", "'\t=1"), ("＝1", "'＝1"), ("\tx", "'\tx"), ("-1.5", "-1.5"), ("+3e2", "+3e2"),
    ("a=b", "a=b"), ("it's", "it's")])
def test_only_text_that_starts_like_a_formula_is_defused(tmp_path, cell, written):
    rows = click_rows()
    rows[-1][2] = cell
    assert cells(export_split_csv(write_data(tmp_path, rows), "test", tmp_path / "out.csv"))[-1][2] == written
    assert spelled(written) == spelled(cell)  # so that a downloaded split is read as what it was


def test_lists_of_a_parquet_file_are_joined(tmp_path):
    names = ["click", "user", "item", "age", "tags", "time"]
    frame = pl.DataFrame(dict(zip(names, zip(*click_rows(), strict=True), strict=True)))
    folder = write_data(tmp_path, file="c.parquet", format="parquet")
    frame.with_columns(pl.col("tags").str.split("|"), pl.col("time").cast(int)).write_parquet(folder / "c.parquet")
    assert cells(export_split_csv(folder, "test", tmp_path / "out.csv"))[1:] == click_rows()[-6:]


def test_an_unknown_split_is_named_with_those_there_are(tmp_path):
    with pytest.raises(DataError, match="There is no split 'dev'; there are: train, valid, test"):
        export_split_csv(write_data(tmp_path), "dev", tmp_path / "out.csv")
