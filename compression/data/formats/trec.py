"""Judgements (qrels) and runs of TREC and MS MARCO, a line each.

    trec        judgements: `query 0 document relevance`
    trec-run    what a system found: `query Q0 document rank score name`; the relevance comes from judgements beside it

Queries take the place of users: quality is measured query by query. Judgements that are all positive get negatives,
which stay unjudged documents; the description says so. Documents of a run that nobody judged count as not relevant, as
in trec_eval.
"""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from compression.data.formats.lines import check_lines, described_only, frame_of
from compression.spec.data_description import Column, DataDescription, Label, Negatives, Role, Split
from compression.spec.errors import DataError

JUDGEMENT = re.compile(r"\S+[ \t]+(0|Q0)[ \t]+\S+[ \t]+-?\d+\s*")
RUN = re.compile(r"\S+[ \t]+Q0[ \t]+\S+[ \t]+\d+[ \t]+[-+.\deE]+[ \t]+\S+\s*")
JUDGED = r"^(\S+)[ \t]+\S+[ \t]+(\S+)[ \t]+(-?\d+)$"
FOUND = r"^(\S+)[ \t]+Q0[ \t]+(\S+)[ \t]+(\d+)[ \t]+([-+.\deE]+)[ \t]+\S+$"
RELEVANCE = "relevance"


def looks_like(lines: list[str]) -> bool:
    """Whether every one of the first lines is a judgement."""
    return all(JUDGEMENT.fullmatch(line) for line in lines[:50])


def describe(lines: list[str], file: str, name: str) -> DataDescription:
    """Query, document and relevance; negatives where nothing is judged irrelevant."""
    grades = {int(line.split()[3]) for line in lines}
    columns = (Column(name="query", role=Role.USER), Column(name="document", role=Role.ITEM),
               Column(name=RELEVANCE, role=Role.LABEL))
    return DataDescription(name=name, files={"all": file}, format="trec", header=False, columns=columns,
                           label=Label(column=RELEVANCE), split=Split(kind="user"),
                           negatives=Negatives() if min(grades) >= 1 else None)


def read(path: Path, description: DataDescription) -> pl.DataFrame:
    """query, document, relevance. Raises DataError with the first line that is not of the format."""
    return described_only(_judgements(path), description, what="A file of judgements")


def looks_like_run(lines: list[str]) -> bool:
    """Whether every one of the first lines is of a run."""
    return all(RUN.fullmatch(line) for line in lines[:50])


def describe_run(lines: list[str], file: str, name: str) -> DataDescription:
    """Query, document, its score and the relevance that judgements beside the run give."""
    columns = (Column(name="query", role=Role.USER), Column(name="document", role=Role.ITEM),
               Column(name="rank", role=Role.IGNORE), Column(name="score", role=Role.NUMBER),
               Column(name=RELEVANCE, role=Role.LABEL))
    return DataDescription(name=name, files={"all": file}, format="trec-run", header=False, columns=columns,
                           label=Label(column=RELEVANCE), split=Split(kind="user"))


def read_run(path: Path, description: DataDescription) -> pl.DataFrame:
    """query, document, rank, score. Raises DataError with the first line that is not of the format."""
    def parse(lines: pl.Series, before: int) -> pl.DataFrame:
        check_lines(lines, FOUND, path, before=before, is_none="line of a run", like="query Q0 document 1 9.5 name")
        return pl.DataFrame([lines.str.extract(FOUND, 1).alias("query"), lines.str.extract(FOUND, 2).alias("document"),
                             lines.str.extract(FOUND, 3).cast(pl.Float64).alias("rank"),
                             lines.str.extract(FOUND, 4).cast(pl.Float64, strict=False).alias("score")])

    return described_only(frame_of(path, parse), description, what="A run without its judgements")


def with_relevance(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    """The rows of a run with what the judgements in `path` say of them, 0 where they say nothing.

    Raises DataError where no document of the run was judged, or one twice.
    """
    judged = _judgements(path).with_columns(pl.col(RELEVANCE).cast(pl.Float64))
    twice = judged.filter(judged.select("query", "document").is_duplicated())
    if twice.height:
        raise DataError(f"{path.name} judges the document {twice['document'][0]!r} of the query {twice['query'][0]!r} "
                        "several times. Leave one judgement for each.")
    found = frame.join(judged, on=["query", "document"], how="left", maintain_order="left")
    if found[RELEVANCE].null_count() == found.height:
        raise DataError(f"{path.name} judges no document that the run found: its first judgement is of document "
                        f"{judged['document'][0]!r} for query {judged['query'][0]!r}, the run's first line of "
                        f"{frame['document'][0]!r} for {frame['query'][0]!r}. Upload the judgements of these queries.")
    return found.with_columns(pl.col(RELEVANCE).fill_null(0.0))


def _judgements(path: Path) -> pl.DataFrame:
    """query, document, relevance as text."""
    def parse(lines: pl.Series, before: int) -> pl.DataFrame:
        check_lines(lines, JUDGED, path, before=before, is_none="judgement", like="query 0 document 1")
        return pl.DataFrame({name: lines.str.extract(JUDGED, place)
                             for place, name in enumerate(("query", "document", RELEVANCE), 1)})

    return frame_of(path, parse)
