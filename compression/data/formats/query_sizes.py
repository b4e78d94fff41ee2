"""The sizes of queries beside a file of rows, as LightGBM and XGBoost keep them: one whole number a line.

Row by row the first query's rows come first, then the second's; the sizes become a column `group`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from compression.spec.errors import DataError

ENDINGS = (".query", ".group")
COLUMN = "group"


def with_groups(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    """The rows with the number of their query, from 1 on, in `group`. Raises DataError where the sizes don't fit."""
    try:
        sizes = np.loadtxt(path, dtype=np.int64, ndmin=1)
    except (ValueError, OverflowError, UnicodeDecodeError):
        sizes = np.array([-1])
    if sizes.ndim != 1 or (sizes < 1).any():
        raise DataError(f"{path.name} must hold one whole number a line, the rows of each query in turn.")
    if sizes.sum() != frame.height:
        raise DataError(f"The sizes in {path.name} add up to {sizes.sum():,} rows, but its file has {frame.height:,}. "
                        "Upload the sizes that belong to these rows.")
    groups = np.repeat(np.arange(1, len(sizes) + 1), sizes)
    return frame.with_columns(pl.Series(COLUMN, groups).cast(pl.String))
