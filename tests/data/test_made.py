"""Histories and negatives: made from a log when it is read."""

import numpy as np
import polars as pl
import pytest

from compression.data.description import load_description, make_description
from compression.data.encode import load_dataset
from compression.data.ingest import read_splits
from compression.data.negatives import unchosen
from compression.data.propose import negatives_words
from compression.spec.data_description import Negatives
from compression.spec.errors import DataError
from tests.data.write import write_data

COLUMNS = [{"name": "label", "role": "label"}, {"name": "user", "role": "user"}, {"name": "item", "role": "item"},
           {"name": "time", "role": "time"}, {"name": "past", "role": "multi"}]
LOG = ["1,u,a,1", "0,u,b,2", "1,u,c,3", "1,u,d,3", "1,v,e,4", "1,u,f,5", "0,u,g,6", "1,,h,7", "1,,i,8", "1,v,j,9"]


def read(folder, lines=LOG, **changes):
    """All rows of a log of label, user, item and time, by item."""
    kind = {"split": {"kind": "time", "valid": 0.2, "test": 0.2}, "label": {"column": "label"},
            "history": {"column": "past", "last": 2}}
    write_data(folder, text="label,user,item,time\n" + "\n".join(lines) + "\n", columns=COLUMNS, **kind | changes)
    frame = pl.concat(read_splits(folder).values())
    return {row["item"]: row["past"] for row in frame.iter_rows(named=True)}


def test_a_history_holds_the_last_positive_items_at_earlier_moments_of_the_same_user(tmp_path):
    lines = [*LOG[:8], "0,,i,8", "1,v,j,9"]
    assert read(tmp_path, lines) == {
        "a": [], "b": ["a"], "c": ["a"], "d": ["a"],  # b was no positive; c and d are of one moment
        "e": [], "f": ["c", "d"], "g": ["d", "f"], "h": [], "i": [], "j": ["e"]}  # nobody is no user


def test_a_history_does_not_depend_on_the_order_of_the_file(tmp_path):
    lines = [*LOG[:8], "0,,i,8", "1,v,j,9"]
    found = read(tmp_path, lines[::-1])
    assert found["j"] == ["e"] and found["g"] == ["c", "f"] and found["f"] == ["d", "c"]  # of one moment as they stand


def test_rows_of_test_have_a_history_of_train_rows_and_a_model_reads_it(tmp_path):
    lines = [f"{k % 2},u{k % 3},i{k},{k}" for k in range(60)]
    read(tmp_path, lines)
    dataset = load_dataset(tmp_path)
    values = ["", *dataset.vocabularies["past"]]
    last = [values[one] for one in dataset.splits["test"].inputs["past"][-1]]
    rows = read_splits(tmp_path)["test"].to_dicts()
    assert rows[-1]["item"] == "i59" and rows[-1]["past"] == ["i47", "i53"]  # of u2, the odd ones before
    known = [one for one in rows[-1]["past"] if one in values]
    assert last == [*known, *[""] * (2 - len(known))] and "past" in dataset.signature.singles[-1].column


@pytest.mark.parametrize(("changes", "said"), [
    ({"split": {"kind": "random"}}, "with history, split.kind random would put what test rows hold into histories"),
    ({"history": {"column": "gone"}}, "history.column is 'gone'"),
])
def test_a_history_that_would_leak_or_stands_nowhere_is_refused(changes, said, tmp_path):
    with pytest.raises(DataError, match=said):
        read(tmp_path, **changes)


POSITIVES = [{"name": "label", "role": "label"}, {"name": "user", "role": "user"}, {"name": "item", "role": "item"},
             {"name": "genre", "role": "category"}, {"name": "time", "role": "time"}]


def positives(folder, **negatives):
    random = np.random.default_rng(0)
    rows = [(f"u{k % 7}", int(random.zipf(1.5) % 30), k) for k in range(400)]
    text = "user,item,genre,time\n" + "".join(f"{u},i{i},g{i % 4},{k}\n" for u, i, k in rows)
    write_data(folder, text=text, columns=POSITIVES, label={"column": "label"}, negatives=negatives,
               split={"kind": "time", "valid": 0.2, "test": 0.2})
    return pl.concat(read_splits(folder).values())


@pytest.mark.parametrize("by", ["uniform", "popularity"])
def test_negatives_are_items_the_user_never_chose_with_what_belongs_to_them(by, tmp_path):
    frame = positives(tmp_path, per_positive=3, by=by, seed=5)
    drawn, chosen = frame.filter(pl.col("label") == 0), frame.filter(pl.col("label") == 1)
    assert chosen.height == 400 and 0 < drawn.height <= 1200
    assert not set(drawn.select("user", "item").iter_rows()) & set(chosen.select("user", "item").iter_rows())
    assert all(int(item[1:]) % 4 == int(genre[1:]) for item, genre in drawn.select("item", "genre").iter_rows())
    assert drawn.group_by("time", "user").len()["len"].max() == 3  # the moment and the user of the positive
    assert frame.equals(positives(tmp_path, per_positive=3, by=by, seed=5))
    assert not frame.equals(positives(tmp_path, per_positive=3, by=by, seed=6))


def test_by_popularity_items_are_drawn_as_often_as_they_were_chosen():
    users = np.arange(40_000)  # nobody chooses twice
    items = np.repeat([0, 1, 2], [24_000, 12_000, 4_000])
    drawn = unchosen(users, items, by="popularity", seed=1)[items == 2]
    assert (drawn == 0).mean() == pytest.approx(2 / 3, abs=0.03)  # of 0 and 1, which this user did not choose
    assert (unchosen(users, items, seed=1)[items == 2] == 0).mean() == pytest.approx(1 / 2, abs=0.03)


def test_a_user_who_chose_all_but_one_gets_that_one_and_one_who_chose_all_gets_none():
    users, items = np.repeat([1, 2], [99, 100]), np.concatenate([np.arange(99), np.arange(100)])
    for by in ("uniform", "popularity"):
        drawn = unchosen(users, items, by=by)
        assert (drawn[:99] == 99).all() and (drawn[99:] == items[99:]).all()


def test_files_of_train_and_test_draw_from_one_another_and_keep_their_rows(tmp_path):
    (tmp_path / "train.csv").write_text("user,item\n" + "".join(f"u{k % 5},i{k % 5 + k % 3}\n" for k in range(60)))
    (tmp_path / "test.csv").write_text("user,item\n" + "".join(f"u{k % 5},j{k % 4}\n" for k in range(20)))
    description = make_description({
        "name": "d", "files": {"train": "train.csv", "test": "test.csv"}, "columns": POSITIVES[:3],
        "label": {"column": "label"}, "negatives": {"per_positive": 1}, "split": {"kind": "given"}})
    splits = read_splits(tmp_path, description)
    assert splits["test"]["label"].sum() == 20 and splits["train"]["label"].sum() + splits["valid"]["label"].sum() == 60
    train = set(splits["train"].filter(pl.col("label") == 1).select("user", "item").iter_rows())
    assert not train & set(splits["test"].filter(pl.col("label") == 0).select("user", "item").iter_rows())


def test_the_words_say_what_the_draw_does_to_the_numbers():
    assert "a score of 20% is the average row" in negatives_words(Negatives(per_positive=4))
    assert "only knows what is popular scores well" in negatives_words(Negatives())
    assert "popularity alone scores about .5" in negatives_words(Negatives(by="popularity"))


def test_a_stored_description_without_these_is_written_as_before(tmp_path):
    from compression.data.description import dump_description

    text = dump_description(load_description(write_data(tmp_path)))
    assert not any(key in text for key in ("history", "negatives", "encoding", "decimal"))
