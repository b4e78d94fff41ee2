"""Impressions of the MIND news data: `id<tab>user<tab>time<tab>clicked before<tab>N1-0 N2-1`, a list of items a line.

Each item that was shown becomes a row, with label 1 where it was clicked. The history is the one that the file gives.
Source: Wu et al. 2020, MIND: A Large-scale Dataset for News Recommendation, behaviors.tsv.
"""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from compression.data.formats.lines import described_only, frame_of
from compression.spec.data_description import Column, DataDescription, Label, Role
from compression.spec.errors import DataError

LINE = re.compile(r"\d+\t[^\t]+\t\d+/\d+/\d{4} \d+:\d\d:\d\d [AP]M\t[^\t]*\t\S+( \S+)*\s*")
SHOWN = r"^\S+-[01]( \S+-[01])*$"
TIME = "%m/%d/%Y %I:%M:%S %p"
NAMES = ("impression", "user", "time", "history", "shown")
COLUMNS = (Column(name="label", role=Role.LABEL), Column(name="impression", role=Role.IGNORE),
           Column(name="user", role=Role.USER), Column(name="item", role=Role.ITEM),
           Column(name="history", role=Role.MULTI), Column(name="time", role=Role.TIME))


def looks_like(lines: list[str]) -> bool:
    """Whether every one of the first lines is an impression."""
    return all(LINE.fullmatch(line) for line in lines[:50])


def describe(lines: list[str], file: str, name: str) -> DataDescription:
    """The columns are always the same; the task splits them, by time."""
    return DataDescription(name=name, files={"all": file}, format="impressions", header=False, columns=COLUMNS,
                           label=Label(column="label"))


def read(path: Path, description: DataDescription) -> pl.DataFrame:
    """A row for each item shown. Raises DataError with the first line that is not of the format."""
    return frame_of(path, lambda lines, before: described_only(_parsed(lines, before, path), description,
                                                               what="A file of impressions"))


def _parsed(lines: pl.Series, before: int, path: Path) -> pl.DataFrame:
    """A row for each item shown in these lines."""
    cells = lines.str.split("\t")
    if (cells.list.len() != len(NAMES)).any():
        at = int((cells.list.len() != len(NAMES)).arg_true()[0])
        raise DataError(f"{path.name}: row {before + at + 1:,} has {cells.list.len()[at]} cells; an impression has "
                        f"five, separated by tabs ({lines[at][:60]!r}).")
    frame = pl.DataFrame({name: cells.list.get(place) for place, name in enumerate(NAMES)})
    bare = ~frame["shown"].str.strip_chars().str.contains(SHOWN)
    if bare.any():
        at = int(bare.arg_true()[0])
        raise DataError(f"{path.name}: row {before + at + 1:,} does not say what was clicked "
                        f"({frame['shown'][at][:60]!r}); in MIND the test files don't. Use the train and dev files, "
                        "where items end with -0 or -1.")
    times = frame["time"].str.to_datetime(TIME, strict=False, time_unit="ms")
    if times.null_count():
        at = int(times.is_null().arg_true()[0])
        raise DataError(f"{path.name}: row {before + at + 1:,} has the time {frame['time'][at][:40]!r}; it must be "
                        "like '11/15/2019 9:05:58 AM', the month first.")
    frame = frame.with_columns(times.alias("time"), pl.col("shown").str.strip_chars().str.split(" "),
                               pl.col("history").str.split(" ")).explode("shown")
    return frame.with_columns(item=pl.col("shown").str.slice(0, pl.col("shown").str.len_chars() - 2),
                              label=pl.col("shown").str.tail(1).cast(pl.Float64))
