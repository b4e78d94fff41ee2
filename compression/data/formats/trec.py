"""Judgements of TREC and MS MARCO (qrels): `query 0 document relevance`, one a line.

Queries take the place of users: quality is measured query by query. Judgements that are all positive get negatives,
which stay unjudged documents; the description says so. A run, `query Q0 document rank score name`, has no label.
"""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from compression.data.formats.lines import check_lines, lines_of
from compression.spec.data_description import Column, DataDescription, Label, Negatives, Role, Split
from compression.spec.errors import DataError

JUDGEMENT = re.compile(r"\S+[ \t]+(0|Q0)[ \t]+\S+[ \t]+-?\d+\s*")
RUN = re.compile(r"\S+[ \t]+Q0[ \t]+\S+[ \t]+\d+[ \t]+[-+.\deE]+[ \t]+\S+\s*")
PATTERN = r"^(\S+)[ \t]+\S+[ \t]+(\S+)[ \t]+(-?\d+)\s*$"


def looks_like(lines: list[str]) -> bool:
    """Whether every one of the first lines is a judgement, or the line of a run."""
    return any(all(kind.fullmatch(line) for line in lines[:50]) for kind in (JUDGEMENT, RUN))


def describe(lines: list[str], file: str, name: str) -> DataDescription:
    """Query, document and relevance; negatives where nothing is judged irrelevant. Raises DataError for a run."""
    if RUN.fullmatch(lines[0]):
        raise DataError(f"{file} is a TREC run: the documents that a system ranked for each query, without judgements, "
                        "so there is no label to learn from or to measure with. Write a table of query, document, "
                        "score and the relevance from the qrels as its label.")
    grades = {int(line.split()[3]) for line in lines}
    columns = (Column(name="query", role=Role.USER), Column(name="document", role=Role.ITEM),
               Column(name="relevance", role=Role.LABEL))
    return DataDescription(name=name, files={"all": file}, format="trec", header=False, columns=columns,
                           label=Label(column="relevance"), split=Split(kind="user"),
                           negatives=Negatives() if min(grades) >= 1 else None)


def read(path: Path, description: DataDescription) -> pl.DataFrame:
    """query, document, relevance. Raises DataError with the first line that is not of the format."""
    lines = lines_of(path)
    check_lines(lines, PATTERN, path, is_none="judgement", like="query 0 document 1")
    frame = pl.DataFrame({name: lines.str.extract(PATTERN, place)
                          for place, name in enumerate(("query", "document", "relevance"), 1)})
    unknown = [column.name for column in description.columns if column.name not in frame.columns]
    if unknown:
        raise DataError(f"A file of judgements has no column '{unknown[0]}'; it has: {', '.join(frame.columns)}. "
                        "Correct the columns of the description.")
    return frame.select(column.name for column in description.columns)
