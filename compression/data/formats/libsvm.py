"""libsvm, libFM and svmlight files: a label, then index:value pairs, as `1 3:1 10:1 40:1` or `2 qid:7 1:0.3 5:0.8`.

Three readings, told by the columns of the description:
    field_1, field_2 …   the k-th index of each row is a category (libFM of one-hot fields, such as Frappe)
    features             all indices of a row as one multi column (rows of different lengths, values all 1)
    x1, x2 …             the value at each index, 0 where it is absent (numbers, as in learning to rank)
`group` is the qid. Sources of the formats: Chang & Lin 2011 (libsvm), Rendle 2012 (libFM), Joachims 1999 (svmlight).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars as pl

from compression.data.formats.lines import check_lines, frame_of
from compression.spec.data_description import Column, DataDescription, Label, Role, Split
from compression.spec.errors import DataError

LINE = re.compile(r"[-+.\deE]+( qid:\d+)?( +\d+:[-+.\deE]+)+ *(#.*)?")
MAX_DENSE = 1000  # numbers at more indices than this are no table


def looks_like(lines: list[str]) -> bool:
    """Whether every one of the first lines is a label and pairs."""
    return all(LINE.fullmatch(line.strip()) for line in lines[:50])


def describe(lines: list[str], file: str, name: str) -> DataDescription:
    """The reading that fits the first lines: fields, one multi column, or numbers."""
    rows = [_pairs(line) for line in lines]
    labels = sorted({float(line.split()[0]) for line in lines})
    grouped = any(" qid:" in line[:40] for line in lines)
    columns = [Column(name="label", role=Role.LABEL)]
    if grouped:
        columns.append(Column(name="group", role=Role.USER))
    lengths = {len(row) for row in rows}
    if all(value == 1 for row in rows for _, value in row):
        if len(lengths) == 1:
            columns += [Column(name=f"field_{place + 1}", role=Role.CATEGORY) for place in range(lengths.pop())]
        else:
            columns.append(Column(name="features", role=Role.MULTI))
    else:
        indices = sorted({index for row in rows for index, _ in row})
        columns += [Column(name=f"x{index}", role=Role.NUMBER) for index in indices[:MAX_DENSE]]
    at_least = 1.0 if labels[-1] <= 1 else float(np.ceil((labels[0] + labels[-1]) / 2))
    kind = "user" if grouped else "random"
    return DataDescription(name=name, files={"all": file}, format="libsvm", header=False, columns=tuple(columns),
                           label=Label(column="label", at_least=at_least), split=Split(kind=kind))


def read(path: Path, description: DataDescription) -> pl.DataFrame:
    """The described columns. Raises DataError with the first line that is not of the format."""
    def parse(lines: pl.Series, before: int) -> pl.DataFrame:
        check_lines(lines, r"^[-+.\deE]+( qid:\d+)?( +\d+:[-+.\deE]+)*$", path, before=before,
                    is_none="label with index:value pairs", like="1 3:1 10:1")
        frame = lines.to_frame().select(
            label=pl.col("line").str.extract(r"^(\S+)").cast(pl.Float64, strict=False),
            group=pl.col("line").str.extract(r" qid:(\d+)"),
            indices=pl.col("line").str.extract_all(r" \d+:").list.eval(pl.element().str.extract(r"(\d+)")),
            values=pl.col("line").str.extract_all(r" \d+:\S+").list.eval(
                pl.element().str.extract(r":(\S+)").cast(pl.Float32, strict=False)))
        return pl.DataFrame([_column(frame, column.name, path, before) for column in description.columns])

    return frame_of(path, parse, comment=r"\s*#.*$")


def _column(frame: pl.DataFrame, name: str, path: Path, before: int) -> pl.Series:
    if name in ("label", "group"):
        return frame[name]
    if name == "features":
        return frame["indices"].alias(name)
    if found := re.fullmatch(r"field_(\d{1,4})", name):
        place = int(found[1]) - 1
        short = frame["indices"].list.len() <= place
        if short.any():
            row = int(short.arg_true()[0])
            count = frame["indices"].list.len()[row]
            raise DataError(f"{path.name}: row {before + row + 1:,} has {count} features, but column {name} "
                            f"reads the one at place {place + 1}. Describe one multi column named 'features' "
                            "where rows differ in length.")
        return frame["indices"].list.get(place).alias(name)
    if found := re.fullmatch(r"x(\d{1,9})", name):
        return _values_at(frame, found[1]).alias(name)
    raise DataError(f"A libsvm file has no column '{name}'; it has label, group, features, field_1 … and x1 …. "
                    "Correct the columns of the description.")


def _values_at(frame: pl.DataFrame, index: str) -> pl.Series:
    """The value at one index of every row, 0 where it is absent."""
    lengths = frame["indices"].list.len().to_numpy()
    flat, values = frame["indices"].explode(), frame["values"].explode().to_numpy()
    rows = np.repeat(np.arange(len(lengths)), np.maximum(lengths, 1))
    hit = (flat == index).fill_null(False).to_numpy()
    out = np.zeros(len(lengths), np.float32)
    out[rows[hit]] = values[hit]
    return pl.Series(out)


def _pairs(line: str) -> list[tuple[int, float]]:
    cells = line.split("#")[0].split()[1:]
    return [(int(cell.split(":")[0]), float(cell.split(":")[1])) for cell in cells if not cell.startswith("qid:")]
