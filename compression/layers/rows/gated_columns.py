"""A table in its own basis, each column behind a gate that training can close.

Legend: V rows, D columns.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compression.layers.dense.low_rank import LowRankEmbedding
from compression.spec import records

GAIN = 50.0  # how far a gate moves when its parameter does: a hundred steps of Adam can close it


class GatedColumns(nn.Module):
    """Look up rows whose columns pass a gate: ids (…) int64 → (…, D) float32.

    Row = Σ_k gate_k · table_k · basis_k, gate_k = max(0, 1 − GAIN · threshold_k): a learned soft threshold of the whole
    column. Once it is closed, nothing flows through it any more. At the start the product is the table as it was.
    """

    is_leaf = True

    def __init__(self, weight: Tensor, basis: Tensor, *, padding_idx: int | None = None) -> None:
        """weight (V, D), basis (D, D) with orthonormal columns, the most important first."""
        super().__init__()
        self.num_embeddings, self.embedding_dim = weight.shape
        self.table = nn.Embedding.from_pretrained((weight @ basis).contiguous(), freeze=False,
                                                  padding_idx=padding_idx, sparse=True)
        self.register_buffer("basis", basis.contiguous())
        self.threshold = nn.Parameter(weight.new_zeros(len(basis)))

    def gates(self) -> Tensor:
        """(D,), each at least 0."""
        return (1 - GAIN * self.threshold).clamp_min(0)

    def forward(self, ids: Tensor) -> Tensor:
        return (self.table(ids) * self.gates()) @ self.basis.T

    @torch.no_grad()
    def narrowed(self) -> LowRankEmbedding | nn.Embedding:
        """What the gates left: the open columns and their projection, or a whole table where that is no larger."""
        gates = self.gates()
        kept = (gates > 0).nonzero().squeeze(1)
        if not len(kept):
            kept = gates.new_zeros(1, dtype=torch.long)  # all are closed: one column of zeros
        factor, back = (self.table.weight * gates)[:, kept].contiguous(), self.basis[:, kept].contiguous()
        padding = self.table.padding_idx
        if len(kept) * (self.num_embeddings + self.embedding_dim) >= self.num_embeddings * self.embedding_dim:
            return nn.Embedding.from_pretrained(factor @ back.T, freeze=False, padding_idx=padding)
        expand = nn.Linear(len(kept), self.embedding_dim, bias=False, device="meta")
        expand.weight = nn.Parameter(back)
        return LowRankEmbedding(nn.Embedding.from_pretrained(factor, freeze=False, padding_idx=padding), expand)

    def stored_tensors(self) -> tuple[records.Tensor, ...]:
        return (records.Tensor(name="table", dtype="float32", shape=(self.num_embeddings, self.embedding_dim)),
                records.Tensor(name="basis", dtype="float32", shape=tuple(self.basis.shape)))
