"""Encoded rows and datasets, as models and measurements read them. numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compression.data.schema import DataDescription
from compression.models.signature import Signature


@dataclass(frozen=True)
class Rows:
    """Encoded rows of a split.

    inputs: input name → ids (N,) int64 | ids (N, L) int64 padded with 0 | values (N,) float32, already transformed.
    label (N,) float32 of 0 and 1; user (N,) int64 groups for GAUC, or None.
    """

    inputs: dict[str, np.ndarray]
    label: np.ndarray
    user: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.label)

    def take(self, index: np.ndarray | slice) -> Rows:
        """The rows at `index`, in its order."""
        inputs = {name: values[index] for name, values in self.inputs.items()}
        return Rows(inputs, self.label[index], None if self.user is None else self.user[index])


@dataclass(frozen=True)
class Dataset:
    """A dataset encoded for one signature.

    vocabularies: column → values; id = index + 1, id 0 is unknown. splits: "train", "valid", "test".
    """

    description: DataDescription
    signature: Signature
    vocabularies: dict[str, list[str]]
    splits: dict[str, Rows]

    def frequencies(self, input_name: str) -> np.ndarray:
        """How often each row of the input's table occurs in the training split: (V,) int64; padding is not counted."""
        described = self.signature.input(input_name)
        ids = self.splits["train"].inputs[input_name].reshape(-1)
        counts = np.bincount(ids, minlength=described.cardinality or 1).astype(np.int64)
        if described.kind == "multi":
            counts[0] = 0
        return counts
