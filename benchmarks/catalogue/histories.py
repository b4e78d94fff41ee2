"""A transformer to prune: MovieLens-100K as a user's last liked films and a candidate, read by self-attention.

Such models come to RecPress as weights; here one is trained so that there is something to measure.
Source of the model: Kang & McAuley 2018, arXiv:1808.09781, with a feed-forward part of twice the width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import torch

from compression.data.description import FILE_NAME, dump_description
from compression.data.encode import load_dataset
from compression.data.samples import fetch_sample
from compression.models.files import save_model
from compression.models.folder import LoadedModel
from compression.models.uploaded import build
from compression.spec.data_description import Column, DataDescription, Label, Role, Split
from compression.spec.signature import Input, Signature
from compression.train.loop import train
from compression.train.params import TrainParams

LIKED = 4  # stars from which a film is liked
LENGTH, DIM = 10, 32
CONFIG = {"embedding_dim": DIM, "length": LENGTH, "place_rows": LENGTH + 1, "position_from": 1, "scale": "none",
          "blocks": {"n_blocks": 2, "heads": 8, "norm": "pre", "feed_width": 2 * DIM, "activation": "gelu"}}


def write_histories(folder: Path, _: Path | None) -> None:
    """Rows of (rating, user, item, timestamp) with the films that the user liked before, the latest last."""
    fetch_sample("movielens-100k", folder, lambda progress: None, fallback=True)
    table = pl.read_csv(folder / "movielens-100k.csv").sort("timestamp", maintain_order=True)
    liked: dict[int, list[str]] = {}
    before = []
    for user, item, rating in table.select("user", "item", "rating").iter_rows():
        films = liked.setdefault(user, [])
        before.append(" ".join(films[-LENGTH:]))
        if rating >= LIKED:
            films.append(str(item))
    table.select("rating", "user", "item", "timestamp").with_columns(history=pl.Series(before)).write_csv(
        folder / "histories.csv")
    columns = {"rating": Role.LABEL, "user": Role.USER, "item": Role.ITEM, "timestamp": Role.TIME,
               "history": Role.MULTI}
    description = DataDescription(name="MovieLens-100K, histories", files={"all": "histories.csv"},
                                  label=Label(column="rating", at_least=LIKED), split=Split(kind="user_time"),
                                  columns=tuple(Column(name=name, role=role) for name, role in columns.items()))
    (folder / FILE_NAME).write_text(dump_description(description), encoding="utf-8")


def train_histories(data: Path, place: Path, training: dict[str, Any], seed: int) -> tuple[Path, dict[str, Any]]:
    """The folder of a trained model, whose history and candidate read one table, and notes on its training."""
    films = load_dataset(data).vocabularies["item"]
    rows = len(films) + 1
    signature = Signature(inputs=(
        Input(name="history", kind="multi", column="history", cardinality=rows, max_length=LENGTH, fixed_length=True),
        Input(name="item", kind="category", column="item", cardinality=rows)))
    vocabularies = {"history": films, "item": films}
    dataset = load_dataset(data, signature=signature, vocabularies=vocabularies)
    model = build("sequence", signature, CONFIG, seed=seed)
    for table in (model.item, model.place):
        torch.nn.init.normal_(table.weight, std=0.05, generator=torch.Generator().manual_seed(seed))
    outcome = train(model, dataset, TrainParams(**training), seed=seed, report=lambda progress: None,
                    checkpoint=place / "train.ckpt", task=dataset.description.task)
    save_model(place / "trained", LoadedModel(model.cpu().eval(), signature, vocabularies, "sequence", model.config))
    return place / "trained", outcome.as_notes()
