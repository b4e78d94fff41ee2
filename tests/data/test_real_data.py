"""Public datasets as they are distributed: guessed, corrected where needed, encoded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from compression.data.description import dump_description
from compression.data.encode import load_dataset
from compression.data.guess import guess_description
from compression.data.summary import summarise
from compression.spec.data_description import Role, Split
from compression.spec.errors import DataError

SHARED = Path(__file__).parents[2] / "../shared/data"
pytestmark = pytest.mark.realdata


def copied(folder: Path, *names: str) -> list[Path]:
    for name in names:
        if not (SHARED / name).is_file():
            pytest.skip(f"shared/data/{name} is not beside the project")
        shutil.copyfile(SHARED / name, folder / Path(name).name)
    return [folder / Path(name).name for name in names]


def write(folder: Path, description) -> Path:
    (folder / "data.yaml").write_text(dump_description(description), encoding="utf-8")
    return folder


def test_criteo_is_read_from_headerless_tsv_with_its_empty_cells(tmp_path):
    train, test = copied(tmp_path, "criteo_10k/criteo_train8k.tsv", "criteo_10k/criteo_test2k.tsv")
    guess = guess_description(train, "Criteo")
    assert [column.role for column in guess.columns] == [Role.LABEL] + [Role.NUMBER] * 13 + [Role.CATEGORY] * 26
    folder = write(tmp_path, guess.model_copy(update={"files": {"train": train.name, "test": test.name},
                                                      "split": Split(kind="given")}))
    dataset = load_dataset(folder)
    assert [len(rows) for rows in dataset.splits.values()] == [7200, 800, 2000]
    assert len(dataset.signature.inputs) == 39 and dataset.signature.input("I2").transform == "log"
    assert 0.2 < dataset.splits["train"].label.mean() < 0.3
    summary = summarise(folder)
    assert next(column for column in summary.columns if column.name == "I1").missing > 1000


def test_the_label_of_adult_is_words_and_becomes_numbers_after_advice(tmp_path):
    (path,) = copied(tmp_path, "adult/adult_train.csv")
    guess = guess_description(path, "Adult")
    assert not guess.header and len(guess.columns) == 15 and guess.label.column == "column_15"
    folder = write(tmp_path, guess)
    with pytest.raises(DataError, match=r"got the words '<=50K' and '>50K'\. Replace them by 1 and 0"):
        load_dataset(folder)
    path.write_text(path.read_text().replace("<=50K", "0").replace(">50K", "1"))
    dataset = load_dataset(folder)
    assert sum(len(rows) for rows in dataset.splits.values()) == 32_561
    assert dataset.splits["train"].label.mean() == pytest.approx(0.2408, abs=0.005)


def test_movielens_ratings_are_split_by_time(tmp_path):
    (path,) = copied(tmp_path, "ml_latest_small/ratings.csv")
    dataset = load_dataset(write(tmp_path, guess_description(path, "MovieLens")))
    assert dataset.description.label.at_least == 4 and dataset.description.split.kind == "time"
    assert sum(len(rows) for rows in dataset.splits.values()) == 100_004
    assert dataset.splits["test"].user is not None


def test_avazu_is_read_and_its_headerless_test_file_gets_a_sentence(tmp_path):
    train, test = copied(tmp_path, "avazu_10k/avazu_train9k.csv", "avazu_10k/avazu_test1k.csv")
    guess = guess_description(train, "Avazu")
    assert guess.label.column == "click" and guess.columns[0].role is Role.IGNORE
    assert sum(len(rows) for rows in load_dataset(write(tmp_path, guess)).splits.values()) == 8_999
    both = guess.model_copy(update={"files": {"train": train.name, "test": test.name}, "split": Split(kind="given")})
    with pytest.raises(DataError, match=r"is not in avazu_test1k\.csv; .* the file has no header: add one"):
        load_dataset(write(tmp_path, both))
