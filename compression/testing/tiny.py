"""Tiny datasets and models for the tests: planted structure, made in numpy, no file needed."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import yaml

from compression.data.dataset import Dataset, Rows
from compression.spec.data_description import Column, DataDescription, Label, Role, Split
from compression.spec.signature import Input, Signature

TINY_CONFIG = {
    "lr": {},
    "fm": {"embedding_dim": 4},
    "widedeep": {"embedding_dim": 4, "n_layers": 2, "width": 16, "batch_norm": True},
    "deepfm": {"embedding_dim": 4, "n_layers": 2, "width": 16, "batch_norm": True},
    "dnn": {"embedding_dim": 4, "n_layers": 2, "width": 16, "batch_norm": True},
    "finalmlp": {"embedding_dim": 4, "n_layers": 2, "width": 16, "batch_norm": True, "n_heads": 2},
    "dcnv2": {"embedding_dim": 4, "n_layers": 2, "width": 16, "batch_norm": True, "n_cross_layers": 2},
    "fieldconv": {
        "embedding_dim": 4, "n_layers": 2, "width": 16, "batch_norm": True, "n_conv_layers": 2, "channels": 8,
    },
    "dlrm": {
        "embedding_dim": 4, "n_bottom_layers": 2, "bottom_width": 8, "n_layers": 2, "width": 16, "batch_norm": True,
    },
}

BLOCKS = {"n_blocks": 2, "heads": 4, "feed_width": 16, "activation": "gelu"}
TINY_FOREIGN = {  # key → (inputs of the dataset that it reads, settings): attention over a list of ids
    "text_encoder": (("genres",), {"embedding_dim": 8, "blocks": BLOCKS, "pool_layer": True}),
    "sequence": (("genres", "item"), {"embedding_dim": 8, "place_rows": 4, "position_from": 1,
                                      "blocks": BLOCKS | {"norm": "query", "feed_width": 8, "activation": "relu"}}),
}


def tiny_dataset(seed: int = 0, rows: int = 2000, *, n_users: int = 30, n_items: int = 40, n_genres: int = 6,
                 max_length: int = 3) -> Dataset:
    """A click log in which users like items of their own group, popular items and low ages.

    Inputs: user and item (categories), genres (multi, L = max_length), age (number). Item ids follow Zipf's law.
    Splits 70/15/15 in the order of the rows. A perfect model reaches an AUC of about 0.85.
    """
    raw = _log(seed, rows, n_users, n_items, n_genres, max_length)
    description = _description()
    mean, std = float(raw["age"].mean()), float(raw["age"].std())
    signature = Signature(inputs=(
        Input(name="user", kind="category", column="user", cardinality=n_users + 1),
        Input(name="item", kind="category", column="item", cardinality=n_items + 1),
        Input(name="genres", kind="multi", column="genres", cardinality=n_genres + 1, max_length=max_length),
        Input(name="age", kind="number", column="age", transform="standardize", mean=mean, std=std, dtype="float32"),
    ))
    vocabularies = {"user": [f"u{k}" for k in range(n_users)], "item": [f"i{k}" for k in range(n_items)],
                    "genres": [f"g{k}" for k in range(n_genres)]}
    everything = Rows(
        {"user": raw["user"] + 1, "item": raw["item"] + 1, "genres": raw["genres"],
         "age": ((raw["age"] - mean) / std).astype(np.float32)},
        raw["label"].astype(np.float32), raw["user"])
    first, second = int(rows * 0.7), int(rows * 0.85)
    splits = {"train": everything.take(slice(0, first)), "valid": everything.take(slice(first, second)),
              "test": everything.take(slice(second, rows))}
    return Dataset(description, signature, vocabularies, splits)


def tiny_model(architecture: str = "deepfm", dataset: Dataset | None = None, *, trained: bool = False, seed: int = 0,
               **config):
    """A small model of the zoo for the dataset, in eval mode; `trained` runs a few quick epochs."""
    from compression.models.zoo import build

    dataset = dataset or tiny_dataset()
    if architecture in TINY_FOREIGN:
        model = _foreign_model(architecture, dataset, config, seed)
    else:
        model = build(architecture, dataset.signature, TINY_CONFIG[architecture] | config, seed=seed)
    if trained:
        from compression.train.loop import train
        from compression.train.params import TrainParams

        train(model, dataset, TrainParams(epochs=5, batch_size=128), seed=seed, report=lambda progress: None)
    return model.eval()


def write_tiny_data(folder: Path, seed: int = 0, rows: int = 2000) -> Path:
    """clicks.csv and data.yaml with the same log in `folder`; returns the folder."""
    raw = _log(seed, rows, 30, 40, 6, 3)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "clicks.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["user", "item", "genres", "age", "time", "click"])
        for k in range(rows):
            genres = " ".join(f"g{g - 1}" for g in raw["genres"][k] if g)
            writer.writerow([f"u{raw['user'][k]}", f"i{raw['item'][k]}", genres, f"{raw['age'][k]:.1f}", 1_000_000 + k,
                             int(raw["label"][k])])
    text = yaml.safe_dump(_description().model_dump(mode="json"), sort_keys=False)
    (folder / "data.yaml").write_text(text, encoding="utf-8")
    return folder


def _foreign_model(architecture: str, dataset: Dataset, config: dict, seed: int):
    """A model of imported weights' kind that reads a few of the inputs; the others count as dropped."""
    from compression.models.uploaded import build

    names, settings = TINY_FOREIGN[architecture]
    read = tuple(item for item in dataset.signature.inputs if item.name in names)
    length = next(item.max_length for item in read if item.kind == "multi")
    model = build(architecture, Signature(inputs=read), settings | {"length": length} | config, seed=seed)
    model.dropped_inputs = tuple(item.name for item in dataset.signature.inputs if item.name not in names)
    return model


def signature_of(model, dataset: Dataset) -> Signature:
    """What an exported file of the model reads: lists of one length where its places have a table."""
    if getattr(model, "architecture", "") not in TINY_FOREIGN:
        return dataset.signature
    return dataset.signature.model_copy(update={"inputs": tuple(
        item.model_copy(update={"fixed_length": item.kind == "multi"}) for item in dataset.signature.inputs)})


def _description() -> DataDescription:
    roles = {"user": Role.USER, "item": Role.ITEM, "genres": Role.MULTI, "age": Role.NUMBER, "time": Role.TIME,
             "click": Role.LABEL}
    return DataDescription(name="tiny", files={"all": "clicks.csv"}, label=Label(column="click"),
                           columns=tuple(Column(name=name, role=role) for name, role in roles.items()),
                           split=Split(kind="time", valid=0.15, test=0.15))


def _log(seed: int, rows: int, n_users: int, n_items: int, n_genres: int, max_length: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    user = random.integers(0, n_users, rows)
    weight = 1 / np.arange(1, n_items + 1)
    item = random.choice(n_items, rows, p=weight / weight.sum())
    age = np.round(random.uniform(18, 70, rows), 1)
    genre_of_item = np.zeros((n_items, max_length), np.int64)  # 0 is padding
    for k in range(n_items):
        count = random.integers(1, max_length + 1)
        genre_of_item[k, :count] = 1 + random.choice(n_genres, count, replace=False)
    same_group = np.where(user % 3 == item % 3, 1.8, -0.9)
    logit = same_group + random.normal(0, 0.8, n_items)[item] + random.normal(0, 0.5, n_users)[user]
    logit += random.normal(0, 0.8, n_genres + 1)[genre_of_item[item, 0]] - 0.03 * (age - 44)
    label = random.random(rows) < 1 / (1 + np.exp(-logit))
    return {"user": user, "item": item, "genres": genre_of_item[item], "age": age, "label": label}
