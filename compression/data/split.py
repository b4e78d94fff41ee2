"""Rows into train, validation and test: by time, at random, by user, or as the files are."""

from __future__ import annotations

import numpy as np
import polars as pl

from compression.data.columns import categories, times
from compression.spec.data_description import DataDescription, Role
from compression.spec.errors import DataError


def split_rows(frame: pl.DataFrame, description: DataDescription) -> dict[str, pl.DataFrame]:
    """One table as {"train", "valid", "test"}; within a split rows stay in order (of time, or of the file).

    time: the latest `test` share is test, the share before it valid; rows of equal time stay together.
    user_time: the latest rows of each user, so that test users are known to the model.
    leave_one_out: the last moment of each user is test and the one before it valid; users with fewer than three
    moments stay in train. Rows of one moment stay together (a choice and the negative drawn beside it are two).
    random: drawn with `seed`. user: whole users are drawn, so that test users are unknown to the model.
    Raises DataError where times are missing or all equal, or a split would be empty.
    """
    split = description.split
    if split.kind == "user_time":
        parts = _by_user_time(frame, description)
    elif split.kind == "leave_one_out":
        parts = _leave_one_out(frame, description)
    elif split.kind == "time":
        frame, (first, second) = _by_time(frame, description)
        parts = {"train": frame[:first], "valid": frame[first:second], "test": frame[second:]}
    else:
        place, count = _user_places(frame, description) if split.kind == "user" else (
            _random_order(frame.height, split.seed), frame.height)
        first, second = round(count * (1 - split.valid - split.test)), round(count * (1 - split.test))
        parts = {"train": frame.filter(place < first), "valid": frame.filter((place >= first) & (place < second)),
                 "test": frame.filter(place >= second)}
    check_not_empty({name: part.height for name, part in parts.items()}, f"the {split.kind} split of "
                    f"{frame.height:,} rows")
    return parts


def cut_validation(train: pl.DataFrame, description: DataDescription) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(train, valid) of a train file that came with a test file only: the latest rows, or random ones without time."""
    share = description.split.valid
    if description.by_role(Role.TIME) and description.split.kind in ("time", "given"):
        train, values = _sorted_by_time(train, description)
        cut = _boundary(values, round(len(values) * (1 - share)), 1)
        parts = train[:cut], train[cut:]
    else:
        place, cut = _random_order(train.height, description.split.seed), round(train.height * (1 - share))
        parts = train.filter(place < cut), train.filter(place >= cut)
    check_not_empty({"train": parts[0].height, "valid": parts[1].height}, f"the {train.height:,} rows of train")
    return parts


def check_not_empty(rows: dict[str, int], source: str) -> None:
    """Raise DataError where a split has no row."""
    for name, count in rows.items():
        if not count:
            others = ", ".join(f"{other} {n:,}" for other, n in rows.items() if other != name)
            raise DataError(f"The {name} split of {source} has no rows ({others}). Every split needs rows of both "
                            "classes: use more rows, larger shares, or another kind of split.")


def _by_time(frame: pl.DataFrame, description: DataDescription) -> tuple[pl.DataFrame, tuple[int, int]]:
    frame, values = _sorted_by_time(frame, description)
    n, split = len(values), description.split
    second = _boundary(values, round(n * (1 - split.test)), 2)
    first = _boundary(values[:second], round(n * (1 - split.test - split.valid)), 1)
    return frame, (first, second)


def _by_user_time(frame: pl.DataFrame, description: DataDescription) -> dict[str, pl.DataFrame]:
    """A row's place is its rank within its user, from 0 (first) to 1 (last); ties keep the order of the file."""
    frame, _ = _sorted_by_time(frame, description)
    users = _users(frame, description)
    order = np.argsort(users, kind="stable")
    lengths = np.bincount(users)
    starts = np.cumsum(lengths) - lengths
    place = np.empty(frame.height)
    place[order] = (np.arange(frame.height) - np.repeat(starts, lengths) + 0.5) / np.repeat(lengths, lengths)
    first, second = 1 - description.split.valid - description.split.test, 1 - description.split.test
    names = {"train": place < first, "valid": (place >= first) & (place < second), "test": place >= second}
    return {name: frame.filter(chosen) for name, chosen in names.items()}


def _leave_one_out(frame: pl.DataFrame, description: DataDescription) -> dict[str, pl.DataFrame]:
    """Rows by how many later moments their user has: 0 is test, 1 valid, more is train."""
    frame, values = _sorted_by_time(frame, description)
    moments = pl.DataFrame({"user": _users(frame, description), "time": values}).select(
        from_last=pl.col("time").rank("dense", descending=True).over("user").cast(pl.Int64) - 1,
        count=pl.col("time").n_unique().over("user"))
    later, several = moments["from_last"], moments["count"] >= 3
    return {"train": frame.filter(~several | (later > 1)), "valid": frame.filter(several & (later == 1)),
            "test": frame.filter(several & (later == 0))}


def _sorted_by_time(frame: pl.DataFrame, description: DataDescription) -> tuple[pl.DataFrame, np.ndarray]:
    column = description.by_role(Role.TIME)[0].name
    values = times(frame[column], what=f"Column '{column}' (time)")
    order = np.argsort(values, kind="stable")
    values = values[order]
    distinct = int((np.diff(values) > 0).sum()) + 1 if len(values) else 0
    if distinct < 3 and len(values):
        raise DataError(f"Column '{column}' (time) holds {distinct} different value{'s'[: distinct != 1]} in "
                        f"{len(values):,} rows, and a split by time needs at least 3. Choose split.kind random, or "
                        "another time column.")
    return frame[order], values


def _boundary(values: np.ndarray, wanted: int, groups_before: int) -> int:
    """The start of a group of equal sorted values nearest to `wanted`, with at least `groups_before` groups before."""
    starts = (np.flatnonzero(np.diff(values) > 0) + 1)[groups_before - 1:]
    return int(starts[np.abs(starts - wanted).argmin()]) if len(starts) else len(values)


def _random_order(count: int, seed: int) -> np.ndarray:
    """(count,) int64: the place of each row in a random order."""
    return np.random.default_rng(seed).permutation(count)


def _user_places(frame: pl.DataFrame, description: DataDescription) -> tuple[np.ndarray, int]:
    """(N,) int64 place of each row's user in a random order of users, and their number; no user is one user."""
    users = _users(frame, description)
    count = int(users.max(initial=-1)) + 1
    return _random_order(count, description.split.seed)[users], count


def _users(frame: pl.DataFrame, description: DataDescription) -> np.ndarray:
    """(N,) int64: each row's user as a number from 0 on; rows without a user share one."""
    column = description.by_role(Role.USER)[0].name
    users = categories(frame[column], what=f"Column '{column}' (user)").fill_null("")
    return users.rank("dense").to_numpy().astype(np.int64) - 1
