"""A table of which only some rows are kept; every other id reads one shared row.

V rows before, K kept, one shared row at K: the table inside has K + 1 rows and stays an ordinary
nn.Embedding, so that later steps (quantising, low rank) find a table as usual.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from compression.spec import records


class RowMap(nn.Module):
    """Ids of the old table → rows of the new one, by a stored map.

    ids (…) int64 → rows (…) int64. The map is (V, 1) int32 and is written with the model: 4 bytes an id.
    """

    is_leaf = True

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.register_buffer("rows", rows.to(torch.int32).reshape(-1, 1))

    def forward(self, ids: Tensor) -> Tensor:
        # a column, so that it exports as a Gather; the cast comes after it and sees only the batch
        return nn.functional.embedding(ids, self.rows).squeeze(-1).long()

    def stored_tensors(self) -> tuple[records.Tensor, ...]:
        return (records.Tensor(name="rows", dtype="int32", shape=tuple(self.rows.shape)),)

    def as_array(self) -> np.ndarray:
        """The new row of each old id, (V,) int64."""
        return self.rows.squeeze(1).cpu().numpy().astype(np.int64)


class FirstRows(nn.Module):
    """Ids of the old table → rows of the new one, where the kept rows are the first K: min(id, K). Stores nothing."""

    is_leaf = True

    def __init__(self, kept: int, num_embeddings: int) -> None:
        super().__init__()
        self.kept = kept
        self.num_embeddings = num_embeddings

    def forward(self, ids: Tensor) -> Tensor:
        return ids.clamp(max=self.kept)

    def stored_tensors(self) -> tuple[records.Tensor, ...]:
        return ()

    def as_array(self) -> np.ndarray:
        """The new row of each old id, (V,) int64."""
        return np.minimum(np.arange(self.num_embeddings), self.kept)


class RemappedRows(nn.Module):
    """Look up ids in a table with fewer rows: ids (…) int64 → (…, D) float32."""

    def __init__(self, ids: RowMap | FirstRows, table: nn.Embedding) -> None:
        super().__init__()
        self.ids = ids
        self.table = table

    @property
    def num_embeddings(self) -> int:
        return len(self.ids.as_array())

    @property
    def embedding_dim(self) -> int:
        return self.table.embedding_dim

    def forward(self, ids: Tensor) -> Tensor:
        return self.table(self.ids(ids))


def rows_occurring(model: nn.Module, path: str, counts: np.ndarray) -> np.ndarray:
    """How often each row of the table at `path` is read, from how often each id of its input occurs.

    counts (V,) int64 → (rows of the table,) int64: the same where nothing was remapped; otherwise ids that
    share a row add up, through every map on the way. Rows beyond the ids of the input are read by another one, and
    count 0.
    """
    module = model
    for name in path.split("."):
        counts = np.pad(counts, (0, max(0, getattr(module, "num_embeddings", 0) - len(counts))))
        if isinstance(module, RemappedRows) and name == "table":
            rows = module.ids.as_array()
            counts = np.bincount(rows, weights=counts).astype(np.int64)
        module = getattr(module, name)
    return np.pad(counts, (0, max(0, getattr(module, "num_embeddings", 0) - len(counts))))
