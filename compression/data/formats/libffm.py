"""libffm files, of field-aware factorisation machines: a label, then field:index:value, as `1 0:28:1 2:102:0.5`.

    field_0, field_1 …   the index of each field; a multi column where a row has a field several times
    value_2 …            the value beside the index of a field, where values are not all 1
Source of the format: Juan et al. 2016, https://github.com/ycjuan/libffm.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import polars as pl

from compression.data.formats.lines import check_lines, frame_of
from compression.spec.data_description import Column, DataDescription, Label, Role, Split
from compression.spec.errors import DataError

PAIR = r"\d+:\d+:[-+.\deE]+"
LINE = re.compile(rf"[-+.\deE]+(\s+{PAIR})+\s*")
MOST_FIELDS = 1000


def looks_like(lines: list[str]) -> bool:
    """Whether every one of the first lines is a label and triples."""
    return all(LINE.fullmatch(line) for line in lines[:50])


def describe(lines: list[str], file: str, name: str) -> DataDescription:
    """A column for each field, and one for its values where they say something."""
    repeated, valued = {}, {}
    for line in lines:
        triples = [cell.split(":") for cell in line.split()[1:]]
        for field, count in Counter(int(triple[0]) for triple in triples).items():
            repeated[field] = max(repeated.get(field, 1), count)
        for field, _, value in triples:
            valued[int(field)] = valued.get(int(field), False) or float(value) != 1
    columns = [Column(name="label", role=Role.LABEL)]
    for field in sorted(repeated)[:MOST_FIELDS]:
        columns.append(Column(name=f"field_{field}", role=Role.MULTI if repeated[field] > 1 else Role.CATEGORY))
        if valued[field] and repeated[field] == 1:
            columns.append(Column(name=f"value_{field}", role=Role.NUMBER))
    return DataDescription(name=name, files={"all": file}, format="libffm", header=False, columns=tuple(columns),
                           label=Label(column="label"), split=Split(kind="random"))


def read(path: Path, description: DataDescription) -> pl.DataFrame:
    """The described columns. Raises DataError with the first line that is not of the format."""
    def parse(lines: pl.Series, before: int) -> pl.DataFrame:
        check_lines(lines, rf"^[-+.\deE]+(\s+{PAIR})+$", path, before=before, is_none="label with field:index:value",
                    like="1 0:28:1 1:60:0.5")
        return pl.DataFrame([_column(lines, column, path, before) for column in description.columns])

    return frame_of(path, parse)


def _column(lines: pl.Series, column: Column, path: Path, before: int) -> pl.Series:
    if column.name == "label":
        return lines.str.extract(r"^(\S+)").cast(pl.Float64, strict=False).alias("label")
    found = re.fullmatch(r"(field|value)_(\d{1,9})", column.name)
    if not found:
        raise DataError(f"A libffm file has no column '{column.name}'; it has label, field_0 …, and value_0 …. Correct "
                        "the columns of the description.")
    if found[1] == "value":
        return lines.str.extract(rf"\s{found[2]}:\d+:(\S+)").cast(pl.Float64, strict=False).alias(column.name)
    if column.role is Role.MULTI:
        parts = lines.str.extract_all(rf"\s{found[2]}:\d+:")
        return parts.list.eval(pl.element().str.extract(r":(\d+):")).alias(column.name)
    several = lines.str.count_matches(rf"\s{found[2]}:\d+:") > 1
    if several.any():
        row = before + int(several.arg_true()[0]) + 1
        raise DataError(f"{path.name}: row {row:,} has the field {found[2]} several times. "
                        f"Give the column {column.name} the role multi.")
    return lines.str.extract(rf"\s{found[2]}:(\d+):").alias(column.name)
