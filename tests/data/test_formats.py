"""Files as other projects publish them: recognised by content, read whole, split and encoded."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow
import pytest

from compression.data.description import dump_description
from compression.data.encode import load_dataset
from compression.data.guess import guess_description
from compression.data.ingest import read_splits, read_table
from compression.data.packed import MAX_TIMES
from compression.data.propose import notes_on
from compression.spec.errors import DataError
from tests.data.write import click_rows, write_data

SHARED = Path(__file__).parents[2] / "../shared/data"
DRAW = np.random.default_rng(0)


def roles(description) -> dict[str, str]:
    return {column.name: str(column.role) for column in description.columns}


def guessed(folder: Path, file: str, text: str):
    (folder / file).write_text(text, encoding="utf-8")
    return guess_description(folder / file, "mine")


def ratings(count: int = 300, delimiter: str = "\t") -> str:
    return "\n".join(delimiter.join(map(str, (DRAW.integers(1, 40), DRAW.integers(1, 60), DRAW.integers(1, 6),
                                              880_000_000 + 1000 * k))) for k in range(count)) + "\n"


@pytest.mark.parametrize(("file", "delimiter"), [("u.data", "\t"), ("ratings.dat", "::"), ("Books.csv", ",")])
def test_headerless_ratings_of_movielens_and_amazon_get_their_names(tmp_path, file, delimiter):
    found = guessed(tmp_path, file, ratings(delimiter=delimiter))
    assert roles(found) == {"user": "user", "item": "item", "rating": "label", "timestamp": "time"}
    assert not found.header and found.label.at_least == 4 and found.split.kind == "time"
    (tmp_path / "data.yaml").write_text(dump_description(found), encoding="utf-8")
    assert sum(len(rows) for rows in load_dataset(tmp_path).splits.values()) == 300


def test_a_recbole_atomic_file_keeps_its_names_and_loses_nothing_to_their_types(tmp_path):
    body = ratings().replace("\n\n", "\n")
    found = guessed(tmp_path, "mine.inter", "user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + body)
    assert roles(found) == {"user_id:token": "user", "item_id:token": "item", "rating:float": "label",
                            "timestamp:float": "time"}
    assert read_table(tmp_path / "mine.inter", found).height == 300


def test_a_headerless_avazu_file_gets_the_names_of_the_contest(tmp_path):
    rows = "\n".join(",".join([str(10**18 + k), str(k % 2), f"1410{21 + k % 3}{k % 24:02d}", "1005", "0",
                               *(f"{DRAW.integers(5):08x}" for _ in range(9)),
                               *(str(DRAW.integers(9)) for _ in range(10))])
                     for k in range(200))
    found = guessed(tmp_path, "avazu.csv", rows)
    assert [column.name for column in found.columns][:4] == ["id", "click", "hour", "C1"] and len(found.columns) == 24
    assert found.label.column == "click" and roles(found)["id"] == "ignore" and roles(found)["hour"] == "time"


def test_json_lines_of_reviews_become_columns_and_a_missing_key_a_missing_value(tmp_path):
    lines = [{"reviewerID": f"A{k % 17}", "asin": f"B{k % 23}", "overall": float(1 + k % 5), "unixReviewTime":
              1_300_000_000 + 1000 * k, "tags": ["a", "b"][: k % 3]} | ({"verified": True} if k % 2 else {})
             for k in range(200)]
    found = guessed(tmp_path, "reviews.json", "\n".join(map(json.dumps, lines)))
    assert found.format == "jsonl"
    assert roles(found) | {"verified": "-"} == {"reviewerID": "user", "asin": "item", "overall": "label",
                                                "unixReviewTime": "time", "tags": "multi", "verified": "-"}
    frame = read_table(tmp_path / "reviews.json", found)
    assert frame.height == 200 and frame["verified"].null_count() == 100
    (tmp_path / "data.yaml").write_text(dump_description(found), encoding="utf-8")
    assert set(load_dataset(tmp_path).vocabularies["tags"]) == {"a", "b"}


def test_a_line_that_is_no_json_is_named(tmp_path):
    found = guessed(tmp_path, "a.jsonl", '{"user": 1, "item": 2, "label": 1}\n' * 30)
    (tmp_path / "a.jsonl").write_text('{"user": 1, "item": 2, "label": 1}\n' * 4 + "{oh no\n")
    with pytest.raises(DataError, match="line 5 is no JSON object"):
        read_table(tmp_path / "a.jsonl", found)


def test_libfm_rows_of_one_length_become_a_column_a_field(tmp_path):
    text = "".join(f"{k % 2} {DRAW.integers(9)}:1 {10 + DRAW.integers(20)}:1 {40 + k % 3}:1\n" for k in range(100))
    found = guessed(tmp_path, "frappe.libfm", text)
    assert roles(found) == {"label": "label", "field_1": "category", "field_2": "category", "field_3": "category"}
    frame = read_table(tmp_path / "frappe.libfm", found)
    assert frame["field_3"].to_list()[:4] == ["40", "41", "42", "40"] and frame["label"].sum() == 50


def test_libsvm_rows_of_ones_and_many_lengths_become_one_multi_column(tmp_path):
    found = guessed(tmp_path, "a.libsvm", "+1 3:1 7:1\n-1 2:1\n+1 3:1 7:1 9:1\n" * 20)
    assert roles(found) == {"label": "label", "features": "multi"} and found.label.at_least == 1
    assert read_table(tmp_path / "a.libsvm", found)["features"].to_list()[:2] == [["3", "7"], ["2"]]


def test_svmlight_rows_of_a_query_become_numbers_in_groups(tmp_path):
    found = guessed(tmp_path, "a.svm", "2 qid:1 1:0.5 3:0.25 # doc\n0 qid:1 2:1.5\n1 qid:2 3:-1e-2\n" * 10)
    assert roles(found) == {"label": "label", "group": "user", "x1": "number", "x2": "number", "x3": "number"}
    frame = read_table(tmp_path / "a.svm", found)
    assert frame.row(0) == (2.0, "1", 0.5, 0.0, 0.25) and frame.row(2)[4] == pytest.approx(-0.01)
    assert found.label.at_least == 1 and found.split.kind == "user"


def test_a_line_of_libsvm_that_is_broken_is_named(tmp_path):
    found = guessed(tmp_path, "a.svm", "1 1:0.5 2:1\n0 1:0.5\n" * 40)
    (tmp_path / "a.svm").write_text("1 1:0.5\n0 banana\n")
    with pytest.raises(DataError, match=r"row 2 is no label with index:value pairs \('0 banana'\)"):
        read_table(tmp_path / "a.svm", found)


def test_lists_of_users_and_items_get_items_not_chosen_as_negatives(tmp_path):
    lists = {user: DRAW.permutation(100)[: 5 + user % 7].tolist() for user in range(40)}
    text = "\n".join(" ".join(map(str, (user, *items))) for user, items in lists.items())
    found = guessed(tmp_path, "train.txt", text)
    assert found.format == "lists" and found.split.kind == "user_time"
    assert any("1 negative is drawn beside each" in note for note in notes_on(found))
    frame = read_table(tmp_path / "train.txt", found)
    assert frame.height == 2 * sum(map(len, lists.values())) and frame["label"].mean() == 0.5
    for label, user, item, _ in frame.iter_rows():
        assert (int(item) in lists[int(user)]) == (label == 1)
    assert frame.equals(read_table(tmp_path / "train.txt", found))
    newest = read_splits(tmp_path, found)["test"].filter(label=1.0)
    assert all(lists[int(user)].index(int(item)) >= len(lists[int(user)]) // 2
               for user, item in newest.select("user", "item").iter_rows())


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_a_packed_table_is_read_as_the_table_it_holds(tmp_path, ending):
    plain = write_data(tmp_path, click_rows(200))
    expected = read_splits(plain)
    data = (tmp_path / "clicks.csv").read_bytes()
    packed = gzip.compress(data) if ending == "gz" else pyarrow.compress(data, codec="zstd", asbytes=True)
    write_data(tmp_path, text=packed, file=f"clicks.csv.{ending}")
    assert all(part.equals(expected[name]) for name, part in read_splits(tmp_path).items())
    assert roles(guess_description(tmp_path / f"clicks.csv.{ending}", "mine"))["user"] == "user"


def test_a_packed_bomb_is_refused_and_leaves_nothing_behind(tmp_path):
    write_data(tmp_path, text=gzip.compress(b"a,b\n" + b"0" * 100_000_000), file="clicks.csv.gz")
    with pytest.raises(DataError, match=f"more than {MAX_TIMES} times its size"):
        read_splits(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clicks.csv.gz", "data.yaml"]


@pytest.mark.realdata
@pytest.mark.parametrize(("file", "format", "rows"), [
    ("ml1m_m1/test.txt", "lists", 2 * 99_455), ("lastfm_s3rec/LastFM.txt", "lists", 105_102),
    ("ltr_lightgbm/rank.test", "libsvm", 768), ("avazu_10k/avazu_test1k.csv", "csv", 1000),
    ("ml_latest_small/ratings.csv", "csv", 100_004),
])
def test_files_as_they_are_published_are_read_whole(tmp_path, file, format, rows):
    if not (SHARED / file).is_file():
        pytest.skip(f"shared/data/{file} is not beside the project")
    path = tmp_path / Path(file).name
    shutil.copyfile(SHARED / file, path)
    found = guess_description(path, "mine")
    assert found.format == format
    assert sum(part.height for part in read_splits(tmp_path, found).values()) == rows
