"""A user and the items they chose on each line, oldest first: `user item item …`, as many recommenders are published.

Such a file holds choices only. To learn from it, each choice gets one item that the user did not choose, drawn
evenly over all items of the file; both come as rows with label 1 and 0. The draw is the same every time.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from compression.data.formats.lines import described_only
from compression.data.negatives import unchosen
from compression.spec.data_description import Column, DataDescription, Label, Role, Split
from compression.spec.errors import DataError

FEWEST_LINES = 3


def looks_like(lines: list[str]) -> bool:
    """Whether lines are whole numbers of differing count, the first of each line a different user."""
    rows = [line.split() for line in lines[:200]]
    if len(rows) < FEWEST_LINES or not all(cell.isdigit() for row in rows for cell in row):
        return False
    firsts = {row[0] for row in rows}
    return len(firsts) == len(rows) and len({len(row) for row in rows}) > 1 and max(map(len, rows)) >= 3


def describe(lines: list[str], file: str, name: str) -> DataDescription:
    """Users, items, the place in the list as time; the newest choices of each user are test."""
    columns = (Column(name="label", role=Role.LABEL), Column(name="user", role=Role.USER),
               Column(name="item", role=Role.ITEM), Column(name="place", role=Role.TIME))
    return DataDescription(name=name, files={"all": file}, format="lists", header=False, columns=columns,
                           label=Label(column="label"), split=Split(kind="user_time"))


def read(path: Path, description: DataDescription) -> pl.DataFrame:
    """label, user, item, place: each choice, then the item drawn beside it. Raises DataError."""
    users, items, places = _choices(path)
    drawn = unchosen(users, items)
    free = drawn != items  # a user who chose everything has no negatives
    frame = pl.DataFrame({
        "label": np.repeat([1.0, 0.0], [len(users), free.sum()]), "user": np.concatenate([users, users[free]]),
        "item": np.concatenate([items, drawn[free]]), "place": np.concatenate([places, places[free]])})
    frame = frame.sort("user", "place", "label", descending=[False, False, True], maintain_order=True)
    frame = frame.with_columns(pl.col(["user", "item"]).cast(pl.String))
    return described_only(frame, description, what="A file of users and their items")


def _choices(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(users, items, place in the user's list), each (N,) int64."""
    users, items, places = [], [], []
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            cells = line.split()
            if len(cells) < 2:
                continue  # a user without choices says nothing
            try:
                row = np.array(cells, dtype=np.int64)
            except (ValueError, OverflowError):
                raise DataError(f"{path.name}: line {number:,} holds something other than whole numbers "
                                f"({line[:60]!r}). Every line is a user and their items.") from None
            users.append(np.full(len(row) - 1, row[0]))
            items.append(row[1:])
            places.append(np.arange(len(row) - 1))
    if not users:
        raise DataError(f"{path.name} names no user with items. Every line is a user and their items.")
    return np.concatenate(users), np.concatenate(items), np.concatenate(places)
