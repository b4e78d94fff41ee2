"""The raw rows of a split as a CSV, for spreadsheets and other tools."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from compression.data.cells import FORMULA
from compression.data.columns import as_text, multi_values
from compression.data.description import load_description
from compression.data.ingest import read_splits
from compression.spec.errors import DataError

DECIMAL = r"^\s*[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?\s*$"


def export_split_csv(folder: Path, split: str, path: Path) -> Path:
    """Write the described columns of a split's raw rows as CSV with a header, and give its path.

    Text that starts like a formula (=, +, -, @, tab, line break) gets a leading apostrophe; numbers stay as they are.
    Where the files have decimal commas, so has the CSV: it is read by the same description. Lists of a Parquet file
    are joined with the column's separator; a list that wouldn't be cut into the same values there (a value holds the
    separator) is written as a JSON list, which is read back as one. Raises DataError.
    """
    description = load_description(folder)
    splits = read_splits(folder, description)
    if split not in splits:
        raise DataError(f"There is no split '{split}'; there are: {', '.join(splits)}. Choose one of these.")
    columns = {column.name: column for column in description.columns}
    frame = splits[split]
    cells = [_text(frame[name], columns[name].separator) for name in frame.columns]
    cells = [_with_commas(text) if text.name in description.comma_columns else text for text in cells]
    header = [_defused(pl.Series([name]))[0] for name in frame.columns]
    pl.DataFrame(cells).rename(dict(zip(frame.columns, header, strict=True))).write_csv(path)
    return Path(path)


def _text(raw: pl.Series, separator: str) -> pl.Series:
    if isinstance(raw.dtype, pl.List | pl.Array) and not raw.dtype.inner.is_nested():
        raw = _joined(multi_values(raw, separator=separator, what=f"Column '{raw.name}'"), separator)
    elif raw.dtype.is_nested() or raw.dtype in (pl.Binary, pl.Object):
        return pl.Series(raw.name, [None] * len(raw), dtype=pl.String)  # has no place in a CSV
    return raw if raw.dtype.is_numeric() else _defused(as_text(raw))


def _with_commas(text: pl.Series) -> pl.Series:
    """Numbers as the files write them, 3,45 for 3.45."""
    return text.to_frame().select(pl.when(pl.first().str.contains(DECIMAL)).then(
        pl.first().str.replace(".", ",", literal=True)).otherwise(pl.first())).to_series()


def _joined(lists: pl.Series, separator: str) -> pl.Series:
    """Lists of text as cells that are read back as the same lists."""
    text = lists.list.join(separator)
    differs = multi_values(text, separator=separator, what="") != lists
    written = pl.Series([json.dumps(values.to_list(), ensure_ascii=False) for values in lists.filter(differs)],
                        dtype=pl.String)
    return text.scatter(differs.arg_true(), written)


def _defused(text: pl.Series) -> pl.Series:
    name, frame = text.name, text.alias("text").to_frame()
    cell = pl.col("text")
    runs = cell.str.contains(f"^{FORMULA}") & cell.str.strip_chars().cast(pl.Float64, strict=False).is_null()
    return frame.select(pl.when(runs).then("'" + cell).otherwise(cell)).to_series().alias(name)
