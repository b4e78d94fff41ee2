"""The first rows of an uploaded file and a first guess at its columns. The whole file is never read."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from compression.data.collections import recognise_collection
from compression.data.columns import as_text
from compression.data.description import load_description
from compression.data.formats import FORMATS
from compression.data.formats.companions import without_companion
from compression.data.ingest import format_of, guess_description
from compression.data.made import without_made
from compression.data.packed import unpacked
from compression.data.propose import with_companions
from compression.data.text_form import plain_text
from compression.spec.data_description import Column, DataDescription, Role, Split
from compression.spec.errors import DataError
from storage.store import Store
from ui.server.uploads import COLLECTIONS, COMPANIONS, TABLES, Upload

ROWS = 20
LOOKED_AT = 1 << 20  # bytes
NEGATIVES = ".negative"
DESCRIPTIONS = (".yaml", ".yml")
SPLIT_WORDS = {"valid": ("valid", "val", "dev"), "test": ("test",), "train": ("train",)}


@contextmanager
def laid_out(store: Store, files: list[Upload]) -> Iterator[Path]:
    """A passing folder with the uploaded files under their names."""
    with materialised(store, {one.name: one.digest for one in files}) as folder:
        yield folder


@contextmanager
def materialised(store: Store, manifest: dict[str, str]) -> Iterator[Path]:
    """A passing folder with stored files (name → digest)."""
    with tempfile.TemporaryDirectory(dir=store.home, prefix="look-") as folder:
        yield store.files.materialise(manifest, Path(folder))


def guess_files(names: list[str]) -> dict[str, str]:
    """Which file is which split, by name: {"all": …} for one, else train, valid and test as far as names say.

    Of NCF's files the ratings of the test split are left out: the negatives name the same positives.

    Raises DataError where several files are not recognisable as splits.
    """
    tables = [name for name in names if name.lower().endswith(TABLES)]
    said = {f"{name[:-len(NEGATIVES)]}.rating" for name in tables if name.lower().endswith(NEGATIVES)}
    tables = [name for name in tables if name not in said]
    if len(tables) == 1:
        return {"all": tables[0]}
    found: dict[str, str] = {}
    for name in sorted(tables):
        lower = name.lower()
        split = next((split for split, words in SPLIT_WORDS.items() if any(word in lower for word in words)), "")
        if not split or split in found:
            raise DataError(f"{len(tables)} tables were uploaded ({', '.join(sorted(tables))}); which is train, which "
                            "is test? Put the words train, valid and test into their names, or upload one table.")
        found[split] = name
    if not {"train", "test"} <= found.keys():
        raise DataError(f"The tables {', '.join(sorted(tables))} need at least a train and a test; rename them so, or "
                        "upload one table and let RecPress split it.")
    return {split: found[split] for split in ("train", "valid", "test") if split in found}


def described(store: Store, files: list[Upload], name: str, encoding: str | None = None) -> DataDescription:
    """The description among the uploads, else a guess from the first rows. Raises DataError."""
    tables = [one for one in files if one.name.lower().endswith(TABLES)]
    written = [one for one in files if one.name.lower().endswith(DESCRIPTIONS)]
    if not tables:
        raise DataError("A dataset needs a table: upload a CSV, TSV, Parquet or JSON lines file beside the "
                        "description.")
    with laid_out(store, files) as folder:
        if written:
            description = load_description(folder / written[0].name)
            missing = sorted(set(description.files.values()) - {one.name for one in tables})
            if missing:
                raise DataError(f"{written[0].name} names {', '.join(missing)}, which was not uploaded; add it.")
            return description
        judged = judgements_of_runs(folder, [one.name for one in tables])
        places = guess_files([one.name for one in tables if one.name not in judged.values()])
        told = next((file for file in places.values() if file.lower().endswith(NEGATIVES)), "")
        guessed = guess_description(folder / (told or places.get("all") or places["train"]), name,
                                    encoding=encoding)
    if "all" not in places:
        guessed = guessed.model_copy(update={"files": places, "split": Split(kind="given")})
    if guessed.is_run:
        return with_companions(guessed, judged)
    return with_companions(guessed, sizes_beside(guessed, [one.name for one in files]))


def judgements_of_runs(folder: Path, names: list[str]) -> dict[str, str]:
    """The judgements of each run of TREC among these files: the one file of them, or the one called like the run."""
    formats = {name: format_of(folder / name) for name in names} if len(names) > 1 else {}
    runs = [name for name, key in formats.items() if key == "trec-run"]
    judged = [name for name, key in formats.items() if key == "trec"]
    found = {run: judged if len(judged) == 1 else [name for name in judged if name.split(".")[0] == run.split(".")[0]]
             for run in runs}
    return {run: names[0] for run, names in found.items() if len(names) == 1}


def sizes_beside(description: DataDescription, names: list[str]) -> dict[str, str]:
    """The sizes of queries of each file of the description; none where some lack them, or a user is there already."""
    found = {file: name for file in description.files.values() for name in names
             if name.lower().endswith(COMPANIONS) and name.rsplit(".", 1)[0] in (file, file.rsplit(".", 1)[0])}
    if len(found) < len(description.files) or any(one.role is Role.USER for one in description.columns):
        return {}
    return found


def collection_words(store: Store, files: list[Upload]) -> str:
    """What a collection of text holds and is good for, or what is wrong with a zip; "" where files are tables."""
    with laid_out(store, files) as folder:
        try:
            found = recognise_collection([folder / one.name for one in files])
        except DataError as error:
            return str(error)
    if found is None and any(one.name.lower().endswith(COLLECTIONS) for one in files):
        return ("These files are no table and no collection of text (BEIR or TREC) that is known here. Unpack them, "
                "and upload the tables inside.")
    return found.sentence() if found else ""


def first_rows(store: Store, files: list[Upload], description: DataDescription) -> pl.DataFrame:
    """The first rows as text, every column of the file; empty where they can't be read that way.

    Without a header the columns are called as described, or column_1, column_2 … where their number differs.
    """
    wanted = description.files.get("all") or description.files.get("train") or description.files["test"]
    chosen = [one for one in files if one.name == wanted]
    with laid_out(store, chosen) as folder, unpacked(folder / wanted, most=LOOKED_AT) as path:
        try:
            if not description.is_text_table and description.format != "parquet":
                return _first_of(path, description)
            if description.format == "parquet":
                frame = pl.scan_parquet(path, glob=False).head(ROWS).collect()
                return frame.select(as_text(frame[column]).alias(column) for column in frame.columns)
            delimiter = description.delimiter or ("\t" if description.format == "tsv" else ",")
            with plain_text(_head(path), delimiter=delimiter, encoding=description.encoding) as (lines, separator):
                frame = pl.read_csv(lines, separator=separator, has_header=description.header, n_rows=ROWS,
                                    infer_schema=False, truncate_ragged_lines=True)
        except (Exception, pl.exceptions.PanicException):
            return pl.DataFrame()  # the import says why; a preview only helps
    if description.header:
        return frame.rename({name: name.strip() for name in frame.columns})
    names = [one.name for one in without_made(description).columns]
    if len(names) != frame.width:
        names = [f"column_{place + 1}" for place in range(frame.width)]
    return frame.rename(dict(zip(frame.columns, names, strict=True)))


def _head(path: Path) -> Path:
    """The first whole lines of a text file, as a file of its own beside it."""
    head = path.with_name(f"head-{path.name}")
    with path.open("rb") as source:
        head.write_bytes(b"".join(source.readlines(LOOKED_AT)))
    return head


def _first_of(path: Path, description: DataDescription) -> pl.DataFrame:
    """The first rows of a file that is no table, as text."""
    description = without_made(description)
    if description.companions:
        description = without_companion(description)
    with plain_text(path, encoding=description.encoding, most=LOOKED_AT) as (plain, _):
        frame = FORMATS[description.format].read(_head(plain), description).head(ROWS)
    return frame.select(as_text(frame[column]).alias(column) for column in frame.columns)


def reread(description: DataDescription, names: list[str]) -> DataDescription:
    """The description for a file that turns out to have these columns: known ones keep their role.

    Others are categories; where the label is gone, the first column takes its role until the person corrects it.
    """
    known = {one.name: one for one in description.columns}
    made = [one for one in description.columns if one.name in description.made_columns]
    names = [*names, *(one.name for one in made if one.name not in names)] if names else names
    if not names or sorted(known) == sorted(names) or description.companions:
        return description
    columns = [known.get(name, Column(name=name, role=Role.CATEGORY)) for name in names]
    if description.label.column not in names:
        columns[0] = Column(name=names[0], role=Role.LABEL)
    label = next(one.name for one in columns if one.role is Role.LABEL)
    return description.model_copy(update={"columns": tuple(columns),
                                          "label": description.label.model_copy(update={"column": label})})


def examples(frame: pl.DataFrame) -> dict[str, list[str]]:
    """Distinct first values of each column, long ones cut."""
    return {column: [str(value)[:24] for value in frame[column].drop_nulls().unique(maintain_order=True)[:4]]
            for column in frame.columns}
