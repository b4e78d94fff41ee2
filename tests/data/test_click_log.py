"""The generated click log: its right answer is known, and it is the same for a seed."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from compression.data.click_log import generate_click_log
from compression.data.encode import load_dataset
from compression.data.ingest import read_splits
from compression.data.scores import auc, row_loss


def test_the_auc_counts_ties_one_half():
    assert auc(np.array([0.1, 0.5, 0.5, 0.9]), np.array([0, 0, 1, 1])) == pytest.approx(0.875)


def test_the_true_chances_stand_beside_the_rows_and_are_right(tmp_path):
    splits = read_splits(generate_click_log(tmp_path, rows=40_000, seed=1))
    truth = json.loads((tmp_path / "truth.json").read_text())
    chance = np.concatenate([frame["truth"].cast(float).to_numpy() for frame in splits.values()])
    click = np.concatenate([frame["click"].cast(int).to_numpy() for frame in splits.values()])
    assert auc(chance, click) == pytest.approx(truth["auc"], abs=1e-5)
    assert row_loss(chance, click, margin=1e-12).mean() == pytest.approx(truth["logloss"], abs=1e-4)
    assert 0.75 < truth["auc"] < 0.9 and abs(click.mean() - 0.25) < 0.01
    for low in np.arange(0, 1, 0.1):  # of rows with a chance near p, a share near p is clicked
        rows = (chance >= low) & (chance < low + 0.1)
        assert abs(click[rows].mean() - chance[rows].mean()) < 4.5 * 0.5 / np.sqrt(rows.sum())


def test_the_truth_is_no_input(tmp_path):
    dataset = load_dataset(generate_click_log(tmp_path, rows=3000, n_fields=2))
    assert [item.name for item in dataset.signature.inputs] == ["user", "item", "field_1", "field_2", "price", "tags"]


def test_popularity_falls_as_zipf_says(tmp_path):
    dataset = load_dataset(generate_click_log(tmp_path, rows=60_000, n_items=500, zipf=1.0))
    counts = dataset.frequencies("item")[1:]
    assert counts[0] / counts[9] == pytest.approx(10, rel=0.2)


def test_the_same_seed_writes_the_same_bytes(tmp_path):
    first, again, other = (generate_click_log(tmp_path / name, rows=2000, seed=seed)
                           for name, seed in (("a", 7), ("b", 7), ("c", 8)))
    assert (first / "clicks.csv").read_bytes() == (again / "clicks.csv").read_bytes()
    assert (first / "data.yaml").read_bytes() == (again / "data.yaml").read_bytes()
    assert (first / "clicks.csv").read_bytes() != (other / "clicks.csv").read_bytes()


@pytest.mark.slow
def test_two_million_rows_and_a_million_ids_take_less_than_a_minute(tmp_path):
    start = time.monotonic()
    generate_click_log(tmp_path, rows=2_000_000, n_users=1_000_000, n_items=200_000)
    assert time.monotonic() - start < 60
