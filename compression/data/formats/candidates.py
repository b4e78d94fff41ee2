"""The evaluation files of NCF: `(user,item)<tab>negative<tab>negative …`, one positive and its candidates on each line.

Each line becomes rows with label 1 for the item of the pair and 0 for the others, so that a model is asked what the
authors asked theirs. Numbers are row numbers of the model's tables as they are. A train file beside it (`user item
rating time`) holds choices only; each gets one item its user did not choose, as in user_lists.
Source: He et al. 2017, arXiv:1708.05031, ml-1m.test.negative and ml-1m.train.rating.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars as pl

from compression.data.formats.lines import described_only
from compression.data.negatives import unchosen
from compression.spec.data_description import Column, DataDescription, Label, Role, Split
from compression.spec.errors import DataError

LINE = re.compile(r"\(\d+,\s*\d+\)(\t\d+)+\s*")


def looks_like(lines: list[str]) -> bool:
    """Whether every one of the first lines is a pair and numbers."""
    return all(LINE.fullmatch(line) for line in lines[:50])


def describe(lines: list[str], file: str, name: str) -> DataDescription:
    """Candidates to measure with: the file is a test split, without one to train on."""
    columns = (Column(name="label", role=Role.LABEL), Column(name="user", role=Role.USER),
               Column(name="item", role=Role.ITEM))
    return DataDescription(name=name, files={"test": file}, format="candidates", header=False, columns=columns,
                           label=Label(column="label"), split=Split(kind="given"))


def read(path: Path, description: DataDescription) -> pl.DataFrame:
    """label, user, item: the positive of each line, then its negatives. Raises DataError."""
    with path.open(encoding="utf-8", errors="replace") as file:
        first = file.readline()
    frame = _candidates(path) if first.startswith("(") else _choices(path)
    return described_only(frame, description, what="A file of candidates")


def _candidates(path: Path) -> pl.DataFrame:
    users, items, labels = [], [], []
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            if not LINE.fullmatch(line.rstrip("\r\n")):
                raise DataError(f"{path.name}: line {number:,} is no pair with its negatives ({line[:60]!r}). Every "
                                "line is like '(0,25)<tab>1064<tab>174'.")
            pair, *negatives = line.split("\t")
            user, item = (int(value) for value in pair.strip()[1:-1].split(","))
            row = list(dict.fromkeys([item, *map(int, negatives)]))  # drawn twice counts once, as in the authors' code
            users.append(np.full(len(row), user))
            items.append(np.array(row))
            labels.append(np.arange(len(row)) == 0)
    if not users:
        raise DataError(f"{path.name} holds no pair with negatives.")
    return _frame(np.concatenate(labels), np.concatenate(users), np.concatenate(items))


def _choices(path: Path) -> pl.DataFrame:
    """The rows of a train file, `user item …` on each line, and an item drawn beside each."""
    try:
        pairs = np.loadtxt(path, dtype=np.int64, usecols=(0, 1), ndmin=2)
    except (ValueError, OverflowError, UnicodeDecodeError, IndexError):
        raise DataError(f"{path.name} must hold a user and an item as whole numbers on each line, such as "
                        "'0<tab>32<tab>4<tab>978824330'.") from None
    users, items = pairs[:, 0], pairs[:, 1]
    drawn = unchosen(users, items)
    free = drawn != items  # a user who chose everything has no negatives
    label = np.repeat([True, False], [len(users), free.sum()])
    return _frame(label, np.concatenate([users, users[free]]), np.concatenate([items, drawn[free]]))


def _frame(label: np.ndarray, user: np.ndarray, item: np.ndarray) -> pl.DataFrame:
    frame = pl.DataFrame({"label": label.astype(np.float64), "user": user, "item": item})
    return frame.with_columns(pl.col(["user", "item"]).cast(pl.String))
