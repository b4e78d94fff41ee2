"""Which row of a table a value stands for, over whole columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from compression.data.cells import other_spellings, repeated
from compression.data.columns import spelled_once
from compression.spec.errors import DataError


class Vocabulary:
    """The values of a column in the order of a table's rows, from row 1 on.

    A value is looked up as it is written, then in its one spelling: a vocabulary that another tool wrote with 12.0 is
    read by data that says 12. Raises DataError where a value stands twice, so that no row is certain to be its own.
    """

    def __init__(self, column: str, values: Sequence[str]) -> None:
        text = pl.Series("value", values, dtype=pl.String)
        if text.n_unique() < len(text):
            raise DataError(repeated({column: values}))
        self._rows = pl.DataFrame({"value": text, "row": np.arange(1, len(text) + 1)})
        odd = self._rows.filter(spelled_once(text) != text)
        self._as_written = len(odd) > 0
        if self._as_written:
            others = other_spellings(dict(odd.iter_rows()))
            known = pl.DataFrame({"value": list(others), "row": list(others.values())}, schema=self._rows.schema)
            self._rows = pl.concat([self._rows, known.join(self._rows, on="value", how="anti")])

    def rows(self, values: pl.Series) -> np.ndarray:
        """(N,) int64: the row of each value, 0 where it is missing or unknown."""
        found = self._look_up(spelled_once(values))
        if self._as_written:
            exact = self._look_up(values)
            found = np.where(exact > 0, exact, found)
        return found

    def _look_up(self, values: pl.Series) -> np.ndarray:
        joined = values.alias("value").to_frame().join(self._rows, on="value", how="left", maintain_order="left")
        return joined["row"].fill_null(0).to_numpy(writable=True)
