"""What training, export and serving need of a dataset, checked where it is described and read: before training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from compression.spec.data_description import Column, Role
from compression.spec.errors import DataError
from compression.spec.signature import MAX_INPUTS

MAX_NAME_CHARS = 200  # of a column
FARTHEST = 1e9  # of a number as the model reads it, in standard deviations of train: products of a few stay finite
NOT_INPUTS = (Role.LABEL, Role.TIME, Role.WEIGHT, Role.IGNORE)


def check_columns(columns: Iterable[Column], *, where: str) -> None:
    """Raise DataError unless a model can have these columns as its inputs, and a file can name them."""
    inputs = [column.name for column in columns if column.role not in NOT_INPUTS]
    if not inputs:
        raise DataError(f"{where}: no column is an input. Give at least one column the role user, item, category, "
                        "number or multi.")
    if len(inputs) > MAX_INPUTS:
        raise DataError(f"{where}: {len(inputs):,} columns are inputs; a model has at most {MAX_INPUTS:,}. Give the "
                        "others the role ignore, or put many values of one kind into one multi column.")
    for name in inputs:
        if not name.strip():
            raise DataError(f"{where}: a column without a name can't be an input. Write its name into the first line, "
                            "or give it the role ignore.")
        if len(name) > MAX_NAME_CHARS:
            raise DataError(f"{where}: the column '{name[:40]}…' has a name of {len(name):,} characters; at most "
                            f"{MAX_NAME_CHARS} are allowed. Rename it.")
        if any(ord(letter) < 32 or 0xD800 <= ord(letter) < 0xE000 for letter in name):
            raise DataError(f"{where}: the name of the column {ascii(name)[:60]} holds a line break, another control "
                            "character, or half a character. Rename it.")


def check_read_values(column: str, values: Mapping[str, np.ndarray]) -> None:
    """Raise DataError where a number column, as a model trained on it reads it (split → (N,)), is beyond all bounds."""
    for split, part in values.items():
        beyond = np.flatnonzero(np.abs(part) > FARTHEST)
        if len(beyond):
            raise DataError(f"Column '{column}' (number) holds a value in row {beyond[0] + 1:,} of {split} that lies "
                            f"{abs(part[beyond[0]]):.0e} standard deviations from the mean of train; at most "
                            f"{FARTHEST:.0e} are allowed, as scores would not be finite. Correct the "
                            f"{'cell' if len(beyond) == 1 else f'{len(beyond):,} cells'}, or give the column another "
                            "role.")
