"""Files that are no plain table, each format with one small reader: what it looks like, and how it becomes columns.

    found = recognise(path)                 # None for CSV, TSV and Parquet, which ingest reads itself
    frame = FORMATS[description.format].read(path, description)

A format is told by its content, like a file's magic number; a name can lie.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from compression.data.formats import candidates, impressions, json_lines, libffm, libsvm, trec, user_lists
from compression.spec.data_description import DataDescription

LOOKED_AT = 1 << 20


@dataclass(frozen=True)
class Format:
    """One format: whether lines are of it, the description to begin with, and all its rows as columns."""

    key: str
    title: str
    looks_like: Callable[[list[str]], bool]  # the first whole lines
    describe: Callable[[list[str], str, str], DataDescription]  # lines, file name, name of the dataset
    read: Callable[[Path, DataDescription], pl.DataFrame]


FORMATS: dict[str, Format] = {one.key: one for one in (
    Format("jsonl", "JSON objects", json_lines.looks_like, json_lines.describe, json_lines.read),
    Format("libsvm", "libsvm, libFM or svmlight", libsvm.looks_like, libsvm.describe, libsvm.read),
    Format("libffm", "libffm: field:index:value", libffm.looks_like, libffm.describe, libffm.read),
    Format("trec", "judgements of TREC: query, document, relevance", trec.looks_like, trec.describe, trec.read),
    Format("trec-run", "a run of TREC: query, document, rank, score", trec.looks_like_run, trec.describe_run,
           trec.read_run),
    Format("impressions", "impressions of MIND: a row for each item shown", impressions.looks_like,
           impressions.describe, impressions.read),
    Format("candidates", "pairs with their negatives, as NCF is evaluated", candidates.looks_like, candidates.describe,
           candidates.read),
    Format("lists", "a user and their items on each line", user_lists.looks_like, user_lists.describe,
           user_lists.read),
)}


def recognise(path: Path) -> tuple[Format, list[str]] | None:
    """The format of a text file and its first lines; None where it is none of these."""
    with path.open("rb") as file:
        text = file.read(LOOKED_AT).decode("utf-8-sig", "replace")
    lines = text.splitlines()
    if path.stat().st_size > LOOKED_AT and len(lines) > 1:
        lines = lines[:-1]  # the last one is cut
    lines = [line for line in lines if line.strip()]
    found = next((one for one in FORMATS.values() if lines and one.looks_like(lines)), None)
    return (found, lines) if found else None
