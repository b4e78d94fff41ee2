"""Files that only make sense together or only as a test: NCF's candidates, query sizes, splits by the last row."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from compression.data.description import dump_description, make_description
from compression.data.encode import load_dataset
from compression.data.guess import guess_description
from compression.data.ingest import read_splits
from compression.data.propose import with_companions
from compression.data.split import split_rows
from compression.data.summary import summarise
from compression.spec.errors import DataError
from compression.spec.signature import Input, Signature
from storage.access import LOCAL_ACCESS
from storage.store import open_store
from tests.data.write import COLUMNS, write_data
from ui.datasets.preview import described, guess_files, sizes_beside
from ui.server.uploads import Upload

SHARED = Path(__file__).parents[2] / "../shared/data"
NEGATIVES = "(0,25)\t1064\t174\n(1,133)\t10\t25\n(7,3)\t1\t2\n"


def saved(folder: Path, description) -> Path:
    (folder / "data.yaml").write_text(dump_description(description), encoding="utf-8")
    return folder


def test_each_pair_of_ncf_becomes_a_positive_and_its_negatives_with_ids_as_they_are(tmp_path):
    (tmp_path / "ml-1m.test.negative").write_text(NEGATIVES)
    found = guess_description(tmp_path / "ml-1m.test.negative", "mine")
    assert found.files == {"test": "ml-1m.test.negative"} and found.is_test_only
    test = read_splits(tmp_path, found)["test"]
    assert test.rows() == [(1.0, "0", "25"), (0.0, "0", "1064"), (0.0, "0", "174"), (1.0, "1", "133"), (0.0, "1", "10"),
                           (0.0, "1", "25"), (1.0, "7", "3"), (0.0, "7", "1"), (0.0, "7", "2")]
    signature = Signature(inputs=tuple(Input(name=name, kind="category", column=name, cardinality=2000, ids="as-is")
                                       for name in ("user", "item")))
    dataset = load_dataset(saved(tmp_path, found), signature=signature)
    assert dataset.splits["test"].inputs["item"].tolist()[:3] == [25, 1064, 174]
    assert len(dataset.splits["train"]) == len(dataset.splits["valid"]) == 0
    assert dataset.frequencies("item").sum() == 0


def test_a_summary_of_candidates_counts_them_and_speaks_of_no_drift(tmp_path):
    (tmp_path / "a.negative").write_text(NEGATIVES)
    summary = summarise(saved(tmp_path, guess_description(tmp_path / "a.negative", "mine")))
    assert summary.rows == {"test": 9} and summary.label_rate == {"test": pytest.approx(1 / 3)}
    item = next(one for one in summary.columns if one.name == "item")
    assert item.cardinality == 8 and item.drift is None and item.unknown_share is None and len(summary.preview) == 9


def test_a_negative_that_was_drawn_twice_is_one_candidate(tmp_path):
    (tmp_path / "a.negative").write_text("(0,25)\t7\t7\t25\t9\n")
    assert read_splits(tmp_path, guess_description(tmp_path / "a.negative", "mine"))["test"]["item"].to_list() == [
        "25", "7", "9"]


def test_a_broken_line_of_candidates_is_named(tmp_path):
    (tmp_path / "a.negative").write_text(NEGATIVES * 30)
    found = guess_description(tmp_path / "a.negative", "mine")
    (tmp_path / "a.negative").write_text(NEGATIVES + "(1,2) 3\n")
    with pytest.raises(DataError, match="line 4 is no pair with its negatives"):
        read_splits(tmp_path, found)


def test_a_train_file_of_ncf_gets_a_negative_beside_each_choice(tmp_path):
    draw = np.random.default_rng(0)
    (tmp_path / "a.test.negative").write_text(NEGATIVES)
    (tmp_path / "a.train.rating").write_text("".join(
        f"{k % 9}\t{draw.integers(50)}\t4\t978824330\n" for k in range(200)))
    found = guess_description(tmp_path / "a.test.negative", "mine").model_copy(
        update={"files": {"train": "a.train.rating", "test": "a.test.negative"}})
    splits = read_splits(tmp_path, found)
    assert splits["train"].height + splits["valid"].height == 400
    assert pl.concat([splits["train"], splits["valid"]])["label"].mean() == 0.5


def test_the_ratings_beside_the_negatives_are_not_taken_for_another_split():
    assert guess_files(["ml-1m.test.rating", "ml-1m.test.negative"]) == {"all": "ml-1m.test.negative"}
    assert guess_files(["ml-1m.train.rating", "ml-1m.test.rating", "ml-1m.test.negative"]) == {
        "train": "ml-1m.train.rating", "test": "ml-1m.test.negative"}


def libsvm(rows: int) -> str:
    draw = np.random.default_rng(rows)
    return "".join(f"{k % 3} 1:{draw.random():.2f} 2:{draw.random():.2f}\n" for k in range(rows))


def test_sizes_of_queries_beside_the_rows_become_groups(tmp_path):
    for part, sizes in (("train", (30, 50, 40)), ("test", (20, 40))):
        (tmp_path / f"rank.{part}").write_text(libsvm(sum(sizes)))
        (tmp_path / f"rank.{part}.query").write_text("".join(f"{size}\n" for size in sizes))
    found = guess_description(tmp_path / "rank.train", "mine").model_copy(
        update={"files": {"train": "rank.train", "test": "rank.test"}})
    found = with_companions(found, sizes_beside(found, [path.name for path in tmp_path.iterdir()]))
    assert found.companions == {"rank.train": "rank.train.query", "rank.test": "rank.test.query"}
    dataset = load_dataset(saved(tmp_path, found))
    assert np.unique(dataset.splits["test"].user, return_counts=True)[1].tolist() == [20, 40]
    (tmp_path / "rank.test.query").write_text("20\n41\n")
    with pytest.raises(DataError, match=r"rank\.test\.query add up to 61 rows, but its file has 60"):
        read_splits(tmp_path, found)


def test_a_companion_of_no_file_is_refused(tmp_path):
    content = {"name": "a", "files": {"all": "a.svm"}, "companions": {"b.svm": "b.query"}, "format": "libsvm",
               "label": {"column": "click"}, "columns": COLUMNS}
    with pytest.raises(DataError, match=r"companions names the file 'b\.svm'"):
        make_description(content)


def test_leave_one_out_takes_the_last_moment_of_each_user_and_the_one_before(tmp_path):
    rows = [[str(k % 2), f"u{user}", f"i{k}", "30", "a", str(1000 + k // 2)] for user in range(4) for k in range(12)]
    rows += [["1", "rare", "i1", "30", "a", "1"], ["0", "rare", "i2", "30", "a", "2"]]
    folder = write_data(tmp_path, rows[::-1], split={"kind": "leave_one_out"})
    splits = read_splits(folder)
    assert [splits[name].height for name in ("train", "valid", "test")] == [34, 8, 8]
    assert splits["test"].group_by("user").len()["len"].to_list() == [2] * 4  # two rows of one moment stay together
    assert set(splits["test"]["item"]) == {"i10", "i11"} and set(splits["valid"]["item"]) == {"i8", "i9"}
    assert "rare" in set(splits["train"]["user"]) and "rare" not in set(splits["test"]["user"])


def test_leave_one_out_needs_users_and_times():
    content = {"name": "a", "files": {"all": "a.csv"}, "label": {"column": "click"}, "split": {"kind": "leave_one_out"},
               "columns": [{"name": "click", "role": "label"}, {"name": "user", "role": "user"}]}
    with pytest.raises(DataError, match=r"split.kind is leave_one_out, but no column has the role time"):
        make_description(content)


def test_users_too_short_for_leaving_one_out_leave_no_test_and_that_is_said():
    frame = pl.DataFrame({"click": ["0", "1", "1"], "user": ["a", "b", "c"], "time": ["1", "2", "3"]})
    description = make_description({
        "name": "a", "files": {"all": "a.csv"}, "label": {"column": "click"}, "split": {"kind": "leave_one_out"},
        "columns": [{"name": "click", "role": "label"}, {"name": "user", "role": "user"},
                    {"name": "time", "role": "time"}]})
    with pytest.raises(DataError, match="The valid split of the leave_one_out split of 3 rows has no rows"):
        split_rows(frame, description)


@pytest.mark.realdata
def test_the_files_of_ncf_are_a_test_of_6040_users_with_100_candidates(tmp_path):
    store = open_store(LOCAL_ACCESS, root=tmp_path / "home")
    uploads = []
    for name in ("ml-1m.test.rating", "ml-1m.test.negative"):
        source = SHARED / "models/ncf_gmf_pytorch" / name
        if not source.is_file():
            pytest.skip("shared/data/models/ncf_gmf_pytorch is not beside the project")
        shutil.copyfile(source, tmp_path / name)
        uploads.append(Upload(id="0", name=name, size=1, kind="data", owner="me", created=0,
                              digest=store.files.put(tmp_path / name)))
    test = read_splits(tmp_path, described(store, uploads, "ncf"))["test"]
    assert test.height == 603_844 and test["user"].n_unique() == 6040 and test["label"].sum() == 6040


@pytest.mark.realdata
def test_the_ranking_data_of_lightgbm_is_read_with_its_queries(tmp_path):
    names = ("rank.train", "rank.train.query", "rank.test", "rank.test.query")
    for name in names:
        if not (SHARED / "ltr_lightgbm" / name).is_file():
            pytest.skip("shared/data/ltr_lightgbm is not beside the project")
        shutil.copyfile(SHARED / "ltr_lightgbm" / name, tmp_path / name)
    found = guess_description(tmp_path / "rank.train", "ltr")
    found = found.model_copy(update={"files": guess_files(list(names))})
    found = with_companions(found, sizes_beside(found, list(names)))
    splits = read_splits(tmp_path, found)
    assert splits["test"].height == 768 and splits["test"]["group"].n_unique() == 50
