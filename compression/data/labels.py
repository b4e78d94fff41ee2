"""Which rows are positive, and how much each row counts."""

from __future__ import annotations

import numpy as np
import polars as pl

from compression.data.columns import numbers
from compression.spec.data_description import DataDescription, Role
from compression.spec.errors import DataError


def label_of(frame: pl.DataFrame, description: DataDescription) -> np.ndarray:
    """(N,) float32 of 0 and 1: whether the label is at least `label.at_least`. Raises DataError."""
    column = description.label.column
    what = f"Column '{column}' (label)"
    raw = frame[column]
    if raw.dtype == pl.String:
        words = raw.str.strip_chars().cast(pl.Float64, strict=False)
        if words.null_count() == len(raw) and 2 <= raw.n_unique() <= 3 and raw.str.to_lowercase().is_in(
                ["true", "false"]).sum() == 0 and raw.drop_nulls().str.len_chars().sum():
            values = " and ".join(f"'{value[:40]}'" for value in sorted(raw.drop_nulls().unique())[:3])
            raise DataError(f"{what} must hold numbers, 1 for positive and 0 for negative; got the words {values}. "
                            "Replace them by 1 and 0 in the file, or choose another label column.")
    values = numbers(raw, what=what)
    empty = np.isnan(values)
    if empty.any():
        raise DataError(f"{what} is empty in {empty.sum():,} of {len(values):,} rows, first in data row "
                        f"{np.argmax(empty) + 1:,}. Every row needs a label: fill the cells or remove the rows.")
    return (values >= description.label.at_least).astype(np.float32)


def weight_of(frame: pl.DataFrame, description: DataDescription) -> np.ndarray | None:
    """(N,) float32: how much each row counts; None where no column has the role weight. Raises DataError."""
    found = description.by_role(Role.WEIGHT)
    if not found or not frame.height:
        return None
    what = f"Column '{found[0].name}' (weight)"
    values = numbers(frame[found[0].name], what=what)
    wrong = ~(values >= 0)
    if wrong.any():
        place = int(np.argmax(wrong))
        got = "an empty cell" if np.isnan(values[place]) else f"{values[place]:g}"
        raise DataError(f"{what} holds {got} in data row {place + 1:,}. Every row needs a weight of 0 or more: correct "
                        "the cell, or give the column the role ignore.")
    if not values.any():
        raise DataError(f"{what} is 0 in all {len(values):,} rows of a split, so that no row counts. Give the column "
                        "the role ignore.")
    return values.astype(np.float32)
