"""A first description of a file nobody described: format, delimiter, header, roles, label.

A guess is read off the names and the first rows; the person sees it with a preview and corrects it.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from compression.data.columns import as_text
from compression.data.formats import recognise
from compression.data.known_tables import CRITEO, names_of, plain_name
from compression.data.packed import unpacked
from compression.data.schema import Column, DataDescription, Label, Role, Split
from compression.data.text_file import check_magic, read_first_line
from compression.errors import DataError

SAMPLE_BYTES = 2 << 20
SAMPLE_ROWS = 10_000
DELIMITERS = (",", "\t", ";", "|", "::")
NAMES = {
    Role.LABEL: {"label", "click", "clicked", "is_click", "target", "y", "is_clicked", "purchase", "purchased",
                 "converted", "conversion", "like", "liked", "cnt", "rating", "ratings", "score", "stars", "overall"},
    Role.USER: {"user", "userid", "uid", "user_name", "username", "member", "memberid", "customer", "customerid",
                "reviewerid", "visitor", "visitorid"},
    Role.ITEM: {"item", "itemid", "iid", "movie", "movieid", "product", "productid", "asin", "ad", "adid", "sku",
                "song", "songid", "track", "trackid", "video", "videoid", "news", "newsid", "article", "articleid",
                "book", "bookid", "business", "businessid", "isbn"},
    Role.TIME: {"time", "timestamp", "ts", "date", "datetime", "unixreviewtime", "eventtime", "created_at"},
}
ROW_KEYS = {"id", "rowid", "row", "index", "unnamed0", "", "eventid", "impressionid", "sessionid", "requestid"}
MULTI_SEPARATORS = ("|", ";", " ", ",")
EPOCH = ((5e8, 5e9), (5e11, 5e12), (5e14, 5e15))  # seconds, milliseconds, microseconds since 1970
MANY_IDS, DENSE = 100, 0.3  # whole numbers of a headerless table are ids where so many fill so much of their range
FEW_NUMBERS = 31  # whole numbers with at most so many values are categories


@dataclass(frozen=True)
class _Facts:
    """What the first rows say about one column."""

    name: str
    values: pl.Series  # text, null where missing
    numbers: pl.Series | None  # float64 where every present value is a number
    distinct: int

    @property
    def whole(self) -> bool:
        return self.numbers is not None and bool((self.numbers == self.numbers.floor()).all())

    def named(self, role: Role) -> bool:
        name = plain_name(self.name).lower()
        plain = re.sub(r"[^a-z0-9]", "", name)
        return name in NAMES[role] or plain in {re.sub(r"[^a-z0-9]", "", n) for n in NAMES[role]}


def guess_description(path: Path, name: str) -> DataDescription:
    """A description of one file of rows, to be looked at and corrected. `name` is the dataset's.

    Reads the first 2 MiB (of Parquet the first 10,000 rows). Raises DataError where the file is no table.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"There is no file {path.name}. Choose a CSV, TSV, Parquet or JSON lines file.")
    with unpacked(path, most=SAMPLE_BYTES) as plain:
        return _guess(plain, path.name, name)


def _guess(path: Path, file: str, name: str) -> DataDescription:
    with path.open("rb") as opened:
        head = opened.read(4)
    if head == b"PAR1":
        return described_frame(_parquet_head(path), file, name, format="parquet")
    check_magic(path, head)
    found = recognise(path)
    if found:
        form, lines = found
        return form.describe(lines, file, name)
    frame, delimiter, header = _text_head(path)
    return described_frame(frame, file, name, format="tsv" if delimiter == "\t" else "csv", delimiter=delimiter,
                           header=header)


def described_frame(frame: pl.DataFrame, file: str, name: str, *, format: str, delimiter: str | None = None,
                    header: bool = True) -> DataDescription:
    """The description of the first rows of a file: roles by names and contents, a label, a split."""
    facts = [_facts(frame[column]) for column in frame.columns]
    roles = {fact.name: _role(fact, frame[fact.name].dtype) for fact in facts}
    for fact in facts:  # without a name, only the numbers themselves can say that they are ids
        if not header and roles[fact.name][0] is Role.NUMBER and _looks_like_ids(fact):
            roles[fact.name] = (Role.CATEGORY, " ")
    label = _pick_label(facts)
    for role in (Role.LABEL, Role.USER, Role.TIME):  # one of each; a second item stays an item
        named = [column for column, found in roles.items() if found[0] is role]
        for column in named[1:]:
            roles[column] = (Role.CATEGORY if role is Role.USER else Role.IGNORE, " ")
    for column, found in list(roles.items()):
        if found[0] is Role.LABEL and column != label.name:
            roles[column] = (Role.IGNORE, " ")  # a second label would give the answer away
    roles[label.name] = (Role.LABEL, " ")
    columns = tuple(Column(name=column, role=role, separator=separator) for column, (role, separator) in roles.items())
    timed = next((fact for fact in facts if roles[fact.name][0] is Role.TIME), None)
    by_time = timed is not None and timed.distinct >= 20 and timed.values.null_count() == 0
    return DataDescription(name=name, files={"all": file}, format=format, header=header, columns=columns,
                           delimiter=None if delimiter in (None, "\t" if format == "tsv" else ",") else delimiter,
                           label=Label(column=label.name, at_least=_at_least(label)),
                           split=Split(kind="time" if by_time else "random"))


def guess_delimiter(lines: list[str]) -> str:
    """The delimiter that cuts the lines into the same, largest number of cells; a comma when none does."""
    best, most = ",", 0.0
    for delimiter in DELIMITERS:
        counts = Counter(len(row) for row in cells_of(lines, delimiter))
        if not counts:
            continue
        cells, rows = counts.most_common(1)[0]
        score = (cells > 1) * (rows / sum(counts.values())) ** 4 * min(cells, 4)
        if score > most:
            best, most = delimiter, score
    return best


def cells_of(lines: list[str], delimiter: str) -> list[list[str]]:
    """The lines cut into cells, blank ones left out; a delimiter of two characters knows no quotes."""
    if len(delimiter) > 1:
        return [line.split(delimiter) for line in lines if line]
    return [row for row in csv.reader(lines, delimiter=delimiter) if row]


def has_header(rows: list[list[str]]) -> bool:
    """Whether the first of the rows names the columns: distinct filled cells, none a number, unlike those below."""
    first, below = rows[0], rows[1:]
    if len(set(first)) < len(first) or any(_is_number(cell) or not cell.strip() for cell in first):
        return False
    columns = list(zip(*(row for row in below if len(row) == len(first)), strict=True))
    if any(all(_is_number(cell) or not cell for cell in column) and any(column) for column in columns):
        return True
    repeated = sum(cell in column for cell, column in zip(first, columns, strict=False))
    return repeated == 0


def _text_head(path: Path) -> tuple[pl.DataFrame, str, bool]:
    """(first rows as text, delimiter, header) of a CSV or TSV."""
    read_first_line(path, ",")  # complains of an empty or binary file
    with path.open("rb") as file:
        text = file.read(SAMPLE_BYTES).decode("utf-8-sig", "replace")
    lines = text.splitlines()[: SAMPLE_ROWS + 1]
    if len(text) >= SAMPLE_BYTES // 4 and len(lines) > 1 and len(lines) <= SAMPLE_ROWS:
        lines = lines[:-1]  # the last one is cut
    delimiter = guess_delimiter(lines[:200])
    try:
        rows = cells_of(lines, delimiter)
    except csv.Error:
        raise DataError(f"{path.name} can't be read as a table: a cell is longer than {csv.field_size_limit():,} "
                        "characters. Check that quotes are closed.") from None
    header = has_header(rows)
    width = len(rows[0])
    if header:
        names, rows = [cell.strip() for cell in rows[0]], rows[1:]
        if len(set(names)) < width:
            header, names, rows = False, [f"column_{k + 1}" for k in range(width)], [names, *rows]
    else:
        names = names_of(rows, delimiter) or [f"column_{k + 1}" for k in range(width)]
    cells = list(zip(*(row for row in rows if len(row) == width), strict=True)) or [()] * width
    columns = zip(names, cells, strict=True)
    return pl.DataFrame({name: pl.Series(values, dtype=pl.String) for name, values in columns}), delimiter, header


def _parquet_head(path: Path) -> pl.DataFrame:
    try:
        return pl.scan_parquet(path, glob=False).head(SAMPLE_ROWS).collect()
    except (Exception, pl.exceptions.PanicException):
        raise DataError(f"{path.name} starts like a Parquet file but can't be read: it is cut or damaged. "
                        "Copy or write it again.") from None


def _facts(column: pl.Series) -> _Facts:
    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
        return _Facts(column.name, pl.Series(column.name, [None] * len(column), dtype=pl.String), None, 0)
    text = as_text(column).str.strip_chars().to_frame().select(
        pl.when(pl.first() != "").then(pl.first())).to_series()
    present = text.drop_nulls()
    present = present.filter(~present.str.to_lowercase().is_in(["nan", "na", "null", "none", "?", "\\n"]))
    cast = present.str.replace("(?i)^true$", "1").str.replace("(?i)^false$", "0").cast(pl.Float64, strict=False)
    numeric = cast if len(present) and not cast.null_count() else None
    return _Facts(column.name, text, numeric, present.n_unique())


def _role(fact: _Facts, dtype: pl.DataType) -> tuple[Role, str]:
    """(role, separator of a multi column)."""
    if isinstance(dtype, pl.List | pl.Array):
        return Role.MULTI, " "
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object) or not fact.distinct:
        return Role.IGNORE, " "
    rows = len(fact.values)
    plain = re.sub(r"[^a-z0-9]", "", fact.name.lower())
    for role in (Role.LABEL, Role.USER, Role.ITEM):
        if fact.named(role) and (role is not Role.LABEL or fact.numbers is not None):
            return role, " "
    if dtype.is_temporal() or _looks_like_time(fact):
        return Role.TIME, " "
    if (fact.distinct == 1 and rows > 1) or (plain in ROW_KEYS and fact.distinct > 0.9 * rows):
        return Role.IGNORE, " "
    if fact.name in CRITEO:
        return (Role.NUMBER if fact.name.startswith("I") else Role.CATEGORY), " "
    if fact.numbers is not None:
        is_id = plain.endswith("id") and fact.whole
        few = fact.whole and fact.distinct <= min(FEW_NUMBERS, max(2, rows // 2))
        return (Role.CATEGORY if is_id or few else Role.NUMBER), " "
    separator = _multi_separator(fact)
    if separator:
        return Role.MULTI, separator
    if rows >= 100 and fact.distinct > 0.95 * rows:
        return Role.IGNORE, " "  # titles, texts, row keys
    return Role.CATEGORY, " "


def _looks_like_ids(fact: _Facts) -> bool:
    """Whether whole numbers are many, come again and again, and leave few gaps."""
    return fact.whole and fact.numbers.min() >= 0 and fact.distinct >= MANY_IDS and (
        2 * fact.distinct <= len(fact.values)) and fact.distinct >= DENSE * (fact.numbers.max() - fact.numbers.min())


def _looks_like_time(fact: _Facts) -> bool:
    if fact.numbers is not None:
        low, high = fact.numbers.min(), fact.numbers.max()
        if any(start <= low and high <= end for start, end in EPOCH) and not fact.name.lower().endswith("id"):
            return fact.distinct > 0.05 * len(fact.values) or fact.named(Role.TIME)
        stamp = fact.name.lower() in ("hour", "day") and low > 1e5  # YYMMDDHH as in Avazu, YYYYMMDD
        return bool(fact.named(Role.TIME) or stamp) and fact.distinct > 1
    dates = fact.values.drop_nulls().head(200).str.contains(r"^\d{4}[-/]\d{2}[-/]\d{2}([ T]\d{2}:\d{2}.*)?$")
    return bool(dates.all())


def _multi_separator(fact: _Facts) -> str | None:
    """The separator that cuts text cells into values repeated from cell to cell; None for single values."""
    present = fact.values.drop_nulls()
    for separator in MULTI_SEPARATORS:
        pieces = present.str.split(separator)
        several = pieces.list.len() > 1
        if several.mean() < 0.2:
            continue
        values = pieces.explode()
        if values.n_unique() < 0.5 * min(fact.distinct, len(present)) and values.n_unique() < 0.2 * len(values):
            return separator
    return None


def _pick_label(facts: list[_Facts]) -> _Facts:
    """The likeliest label: by name with 0 and 1, by name, any column of 0 and 1 (the first, then the last column)."""
    usable = [fact for fact in facts if fact.numbers is not None and fact.distinct > 1]
    binary = [fact for fact in usable if set(fact.numbers.unique()) == {0.0, 1.0}]
    named = [fact for fact in usable if fact.named(Role.LABEL)]
    ends = [fact for fact in (facts[0], facts[-1]) if fact in binary]
    ranked = [fact for fact in named if fact in binary] + named + ends + binary + [facts[-1]]
    return ranked[0]


def _at_least(fact: _Facts) -> float:
    """1 for 0/1 labels; for ratings the upper part of the scale: 4 of 5, 7 of 10, else above the middle."""
    if fact.numbers is None or fact.numbers.max() <= 1:
        return 1.0
    top = float(fact.numbers.max())
    if top <= 5:
        return {2.0: 2.0, 3.0: 3.0}.get(top, 4.0)
    if top <= 10:
        return 7.0
    return float(fact.numbers.median()) + 1 if fact.numbers.median() < top else top


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
