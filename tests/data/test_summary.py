"""A dataset at a glance, held against counts made by hand."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from compression.data.click_log import generate_click_log
from compression.data.encode import load_dataset
from compression.data.ingest import read_splits
from compression.data.summary import DataSummary, stability_index, summarise
from tests.data.write import click_rows, write_data
from ui.datasets.view import findings


def column(summary: DataSummary, name: str):
    return next(item for item in summary.columns if item.name == name)


def test_rows_rates_and_preview_are_those_of_the_file(tmp_path):
    summary = summarise(write_data(tmp_path))
    assert summary.rows == {"train": 48, "valid": 6, "test": 6}
    assert summary.label_rate == {"train": 0.5, "valid": 0.5, "test": 0.5}
    assert len(summary.preview) == 20 and list(summary.preview[3]) == click_rows()[3]


def test_a_number_shows_range_mean_and_missing_cells(tmp_path):
    rows = click_rows()
    rows[1][3] = rows[59][3] = ""
    age = column(summarise(write_data(tmp_path, rows)), "age")
    train = [float(row[3]) for k, row in enumerate(rows[:48]) if k != 1]
    assert (age.missing, age.lower, age.upper) == (2, min(train), max(train))
    assert age.mean == pytest.approx(np.mean(train)) and age.cardinality == len(set(train))


def test_a_category_shows_its_frequent_values_and_its_tail(tmp_path):
    rows = [[row[0], row[1], "hit" if k % 2 else f"i{k}", *row[3:]] for k, row in enumerate(click_rows())]
    item = column(summarise(write_data(tmp_path, rows)), "item")
    assert (item.frequent[0].value, item.frequent[0].count, item.cardinality) == ("hit", 24, 25)
    assert item.head_share == 0.5 and item.single_share == 24 / 25 and item.unknown_share == 0.5
    assert (item.profile[0].rank, item.profile[0].count) == (1, 24)
    assert (item.profile[-1].rank, item.profile[-1].share) == (25, 1.0)


def test_a_multi_column_counts_its_values(tmp_path):
    rows = [[*row[:4], ["a", "a|b", ""][k % 3], row[5]] for k, row in enumerate(click_rows())]
    tags = column(summarise(write_data(tmp_path, rows)), "tags")
    assert [(value.value, value.count) for value in tags.frequent] == [("a", 32), ("b", 16)]
    assert tags.missing == 20 and tags.mean_length == 1.0


def test_equal_splits_do_not_drift_and_shifted_ones_do(tmp_path):
    still = summarise(generate_click_log(tmp_path / "still", rows=20_000))
    assert column(still, "price").drift < 0.02 and column(still, "field_1").drift < 0.02
    rows = [[*row[:2], "new" if k >= 540 else row[2], "99" if k >= 540 else row[3], *row[4:]]
            for k, row in enumerate(click_rows(600))]
    moved = summarise(write_data(tmp_path, rows))
    assert column(moved, "age").drift > 1 and column(moved, "item").drift > 1


def test_the_stability_index_is_the_textbook_sum():
    assert stability_index(np.array([25, 75]), np.array([50, 50])) == pytest.approx(
        (0.5 - 0.25) * np.log(0.5 / 0.25) + (0.5 - 0.75) * np.log(0.5 / 0.75))
    assert stability_index(np.array([3, 7]), np.array([30, 70])) == pytest.approx(0)


def test_a_summary_comes_back_equal_from_json(tmp_path):
    summary = summarise(write_data(tmp_path))
    assert DataSummary.model_validate_json(summary.model_dump_json()) == summary


def test_long_cells_are_cut_in_the_preview(tmp_path):
    rows = click_rows()
    rows[0][2] = "x" * 500
    assert summarise(write_data(tmp_path, rows)).preview[0][2] == "x" * 60


def test_files_of_different_types_are_compared_by_what_their_cells_mean(tmp_path):
    """Whole numbers in one Parquet file, floats with gaps in the other, as pandas writes them."""
    frame = pl.DataFrame({"click": [k % 2 for k in range(60)], "item": [k % 7 for k in range(60)],
                          "age": [k % 5 for k in range(60)]})
    frame.write_parquet(tmp_path / "train.parquet")
    gaps = frame.cast(pl.Float64).with_columns(pl.when(pl.col("item") > 0).then("item"))
    gaps.write_parquet(tmp_path / "test.parquet")
    columns = [{"name": "click", "role": "label"}, {"name": "item", "role": "item"}, {"name": "age", "role": "number"}]
    write_data(tmp_path, files={"train": "train.parquet", "test": "test.parquet"}, columns=columns, format="parquet",
               split={"kind": "random"})
    summary = summarise(tmp_path)
    item = summary.columns[1]
    assert (item.unknown_share, item.unknown_valid, item.missing) == (0, 0, 9)
    assert summary.leakage.repeated_rows == (read_splits(tmp_path)["train"]["item"] > 0).sum() == 46


@pytest.mark.parametrize(("valid", "test", "named"), [
    ("other", "same", ["validation"]), ("same", "other", ["test"]), ("other", "other", ["validation", "test"]),
    ("same", "same", [])])
def test_mostly_unknown_values_of_valid_or_test_are_reported(tmp_path, valid, test, named):
    rows = click_rows()
    for name, item in (("valid", valid), ("test", test)):
        changed = [[*row[:2], f"{item}-{row[2]}" if item == "other" else row[2], *row[3:]] for row in rows]
        write_data(tmp_path, changed, file=f"{name}.csv")
    write_data(tmp_path, rows, files={"train": "clicks.csv", "valid": "valid.csv", "test": "test.csv"},
               split={"kind": "given"})
    told = [sentence for sentence in findings(summarise(tmp_path)) if "do not occur in train" in sentence]
    assert [sentence.split(" values of item")[0] for sentence in told] == [f"Most {split}" for split in named]
    warned = [f"100% of the {split.replace('ation', '')} values of 'item' are unknown to the model" for split in named]
    assert [sentence.split(":")[0] for sentence in load_dataset(tmp_path).warnings] == warned
