"""The models that every point is compared with: one trained DeepFM for each dataset and seed, cached in a folder.

    reference = load_reference(folder, DATASETS["movielens"], seed=0)
    reference.baseline            # the fp32 export
    reference.scores              # its scores of the test rows

A dataset and its reference are made once; a run that was stopped finds them where they were.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.catalogue.histories import train_histories, write_histories
from benchmarks.peers import criteo_description
from compression.data.click_log import generate_click_log
from compression.data.dataset import Dataset, Rows
from compression.data.description import FILE_NAME, dump_description
from compression.data.encode import load_dataset
from compression.data.samples import fetch_sample
from compression.models.files import load_model
from compression.models.folder import LoadedModel
from compression.running.reference import train_reference, training_sentence
from compression.running.run import export_baseline
from compression.spec.data_description import Column, DataDescription, Label, Role, Split
from compression.spec.records import Target, TrainSpec
from compression.spec.runtime import RUNTIMES

ADULT = ("age", "workclass", "weight", "education", "years", "marital", "occupation", "relationship", "race", "sex",
         "gain", "loss", "hours", "country")
ADULT_NUMBERS = ("age", "years", "gain", "loss", "hours")
N_INDEXED = 39  # fields of the indexed Criteo sample, numbers cut into bins
LOG_USERS, LOG_ITEMS, LOG_ROWS = 1_000_000, 10_000, 2_000_000


@dataclass(frozen=True)
class Source:
    """A dataset of the benchmark: how it is written, what is trained on it, with how many seeds."""

    key: str
    title: str
    write: Callable[[Path, Path | None], object]  # (folder to write into, the folder given for it)
    given: bool = False  # whether its rows come from a folder given by argument
    seeds: tuple[int, ...] = (0,)
    architecture: str = "deepfm"
    about: str = ""  # what a reader should know of it
    training: dict[str, Any] = field(default_factory=dict)  # TrainParams of the reference
    fine_tune: dict[str, Any] = field(default_factory=dict)  # TrainParams of one epoch after a step
    train: Callable[[Path, Path, dict[str, Any], int], tuple[Path, dict[str, Any]]] | None = None  # of no zoo model


@dataclass(frozen=True)
class Reference:
    """A trained model, its data, its fp32 export and the scores of that file."""

    source: Source
    seed: int
    loaded: LoadedModel
    dataset: Dataset
    baseline: Path
    scores: np.ndarray  # (N,) of the test rows
    training: str  # how it was trained, in a sentence

    @property
    def rows(self) -> Rows:
        return self.dataset.splits["test"]


def _write_movielens(folder: Path, _: Path | None) -> None:
    fetch_sample("movielens-100k", folder, lambda progress: None, fallback=True)


def _write_log(folder: Path, _: Path | None) -> None:
    generate_click_log(folder, rows=LOG_ROWS, n_users=LOG_USERS, n_items=LOG_ITEMS, name="Generated click log, 2M rows")


def _write_small_log(folder: Path, _: Path | None) -> None:
    generate_click_log(folder, rows=10_000, n_users=1_000, n_items=300, name="Generated click log, 10,000 rows")


def _write_adult(folder: Path, given: Path) -> None:
    """Census income: the label's words become 1 and 0; the second file is the test."""
    for name in ("adult_train.csv", "adult_valid.csv"):
        text = (given / name).read_text(encoding="utf-8").replace("<=50K.", "0").replace(">50K.", "1")
        (folder / name).write_text(text.replace("<=50K", "0").replace(">50K", "1"), encoding="utf-8")
    columns = [Column(name=name, role=Role.NUMBER if name in ADULT_NUMBERS else Role.CATEGORY)
               if name != "weight" else Column(name=name, role=Role.IGNORE) for name in ADULT]
    _describe(folder, "Adult", {"train": "adult_train.csv", "test": "adult_valid.csv"},
              [*columns, Column(name="income", role=Role.LABEL)])


def _write_criteo(folder: Path, given: Path) -> None:
    for file in given.glob("criteo_t*"):
        shutil.copyfile(file, folder / file.name)
    (folder / FILE_NAME).write_text(dump_description(criteo_description(folder)), encoding="utf-8")


def _write_indexed(folder: Path, given: Path) -> None:
    """Criteo with every field already an id: the label, then 39 ids."""
    files = {split: next(given.glob(f"*{split}*")).name for split in ("train", "test")}
    for name in files.values():
        shutil.copyfile(given / name, folder / name)
    columns = [Column(name=f"C{place}", role=Role.CATEGORY) for place in range(1, N_INDEXED + 1)]
    _describe(folder, "Criteo indexed sample", files, [Column(name="label", role=Role.LABEL), *columns])


def _describe(folder: Path, name: str, files: dict[str, str], columns: list[Column]) -> None:
    label = next(column.name for column in columns if column.role is Role.LABEL)
    description = DataDescription(name=name, files=files, header=False, label=Label(column=label),
                                  columns=tuple(columns), split=Split(kind="random"))
    (folder / FILE_NAME).write_text(dump_description(description), encoding="utf-8")


# a second epoch only memorises here, so fine-tuning takes smaller steps than training did
FINE_TUNE = {"epochs": 1, "embedding_learning_rate": 0.005, "learning_rate": 5e-4}
LOG_TRAINING = {"batch_size": 2048, "embedding_learning_rate": 0.1, "epochs": 5, "patience": 1}
LOG_FINE_TUNE = {"batch_size": 2048, "embedding_learning_rate": 0.01, "learning_rate": 2e-4, "epochs": 1}
SOURCES = {source.key: source for source in (
    Source("movielens", "MovieLens-100K", _write_movielens, seeds=(0, 1, 2), fine_tune=FINE_TUNE),
    Source("crosses", "MovieLens-100K, DCN v2", _write_movielens, seeds=(0, 1, 2), architecture="dcnv2",
           fine_tune=FINE_TUNE),
    Source("convolutions", "MovieLens-100K, field convolutions", _write_movielens, seeds=(0, 1, 2),
           architecture="fieldconv", fine_tune=FINE_TUNE),
    Source("attention", "MovieLens-100K, self-attentive histories", write_histories, seeds=(0, 1, 2),
           architecture="sequence", train=train_histories, fine_tune=FINE_TUNE,
           about="It reads a user's last ten liked films and the candidate, nothing else; eight heads in each of two "
                 "blocks."),
    Source("log", "Generated click log, 2 million rows", _write_log,
           training=LOG_TRAINING, fine_tune=LOG_FINE_TUNE,
           about=f"The log draws from {LOG_USERS:,} users and {LOG_ITEMS:,} items by Zipf's law; a table has the ids "
                 "that occur in training, so what is never read saves nothing."),
    Source("adult", "Adult", _write_adult, given=True, fine_tune=FINE_TUNE),
    Source("criteo", "Criteo sample", _write_criteo, given=True, fine_tune=FINE_TUNE),
    Source("criteo_indexed", "Criteo sample, indexed", _write_indexed, given=True, fine_tune=FINE_TUNE),
    Source("quick", "Generated click log, 10,000 rows", _write_small_log,
           training={"epochs": 3}, fine_tune=FINE_TUNE),
)}


def prepare(folder: Path, source: Source, seed: int, given: Path | None, *, config: dict[str, Any] | None = None,
            name: str = "") -> Path:
    """Write the data and train the reference (or with `config` another one, kept under `name`), where it isn't yet."""
    data = folder / source.key / "data"
    if not (data / FILE_NAME).exists():
        data.mkdir(parents=True, exist_ok=True)
        source.write(data, given)
    place = folder / source.key / f"seed-{seed}{name}"
    if not (place / "training.txt").exists():
        place.mkdir(parents=True, exist_ok=True)
        if source.train is not None:
            trained, notes = source.train(data, place, source.training, seed)
        else:
            spec = TrainSpec(data="file", architecture=source.architecture, config=config or {},
                             training=source.training, seed=seed)
            trained, _, notes = train_reference(spec, data_folder=data, folder=place, report=lambda progress: None)
        export_baseline(load_model(trained), place / "baseline")
        (place / "training.txt").write_text(training_sentence(notes), encoding="utf-8")
    return place


@lru_cache(maxsize=3)
def load_reference(folder: Path, key: str, seed: int, name: str = "") -> Reference:
    """A prepared reference, with its data encoded and its test rows scored."""
    source = SOURCES[key]
    place = folder / key / f"seed-{seed}{name}"
    loaded = load_model(place / "trained")
    dataset = _dataset(folder, key, place)
    baseline = place / "baseline" / "model.onnx"
    scores = score(baseline, dataset.splits["test"])
    return Reference(source, seed, loaded, dataset, baseline, scores,
                     (place / "training.txt").read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def _dataset(folder: Path, key: str, place: Path) -> Dataset:
    """Vocabularies come from the training rows alone, so that they are the same for every seed."""
    loaded = load_model(place / "trained")
    return load_dataset(folder / key / "data", signature=loaded.signature, vocabularies=loaded.vocabularies)


def score(file: Path, rows: Rows) -> np.ndarray:
    """Scores (N,) of an exported file, one thread."""
    target = Target()
    return RUNTIMES[target.runtime].open(file, **target.session).score(rows.inputs)


def one_thread() -> None:
    """The benchmark takes one core, so that two runs of it or a neighbour don't change its course."""
    torch.set_num_threads(1)
