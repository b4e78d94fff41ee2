"""Encoded rows, ready for a model: numpy arrays by input, split by split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compression.spec.data_description import DataDescription
from compression.spec.signature import Signature


@dataclass(frozen=True)
class Rows:
    """The rows of a split as a model reads them.

    `inputs`: category ids (N,) int64 · multi ids (N, L) int64, padded with 0 at the end · number values
    (N,) float32, already transformed. `label` (N,) float32 of 0 and 1. `user` (N,) int64 groups rows for
    GAUC, whether the user column is an input or not; a row without a user is a group of its own. `weight` (N,)
    float32 says how much each row counts, where a column has that role.
    """

    inputs: dict[str, np.ndarray]
    label: np.ndarray
    user: np.ndarray | None
    weight: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.label)

    def take(self, index: np.ndarray | slice) -> Rows:
        """The rows at `index`, in that order."""
        return Rows({name: values[index] for name, values in self.inputs.items()}, self.label[index],
                    None if self.user is None else self.user[index],
                    None if self.weight is None else self.weight[index])


@dataclass(frozen=True)
class Dataset:
    """A described dataset, encoded for one signature. Splits: "train", "valid", "test"."""

    description: DataDescription
    signature: Signature
    vocabularies: dict[str, list[str]]  # column → values; id = index + 1, 0 is unknown
    splits: dict[str, Rows]
    warnings: tuple[str, ...] = ()  # what a person should know before believing a number

    def frequencies(self, input_name: str) -> np.ndarray:
        """(V,) int64: how often each id of a category or multi input occurs in train.

        Row 0 of a multi input is padding and counts 0.
        """
        whole, place, shifted = self.signature.place_of(input_name)  # "ids[2]": column 2 of a wide input
        bound = whole if place is None else whole.parts[place]
        ids = self.splits["train"].inputs[whole.name]
        if shifted:  # all columns, where the model shifts them into one table
            ids = ids + np.array([part.shift for part in whole.parts])
        ids = ids.ravel() if place is None else ids[:, place]
        counts = np.bincount(ids, minlength=bound.cardinality or 1)
        if bound.kind == "multi":
            counts[0] = 0
        return counts.astype(np.int64)
