"""Layers split in two factors of rank r. Both factors are ordinary layers, so that later steps find them."""

from __future__ import annotations

from torch import Tensor, nn


class LowRankEmbedding(nn.Module):
    """A table of rank r: ids (…) int64 → (…, D) float32, stored as (V, r) and (D, r)."""

    def __init__(self, factor: nn.Embedding, expand: nn.Linear) -> None:
        super().__init__()
        self.factor = factor
        self.expand = expand

    @property
    def num_embeddings(self) -> int:
        return self.factor.num_embeddings

    @property
    def embedding_dim(self) -> int:
        return self.expand.out_features

    def forward(self, ids: Tensor) -> Tensor:
        return self.expand(self.factor(ids))


class LowRankLinear(nn.Sequential):
    """A dense layer of rank r: (B, in) → (B, r) → (B, out), the bias in the second layer."""

    def __init__(self, reduce: nn.Linear, expand: nn.Linear) -> None:
        super().__init__(reduce, expand)

    @property
    def in_features(self) -> int:
        return self[0].in_features

    @property
    def out_features(self) -> int:
        return self[1].out_features


class MixtureLinear(nn.Module):
    """A dense layer as K gated experts of low rank: (B, in) → (B, out).

    Σ_k g_k(x) · U_k V_kᵀ x + b with g = K · softmax(gate · x). All V_k stand below each other in `reduce` (r, in), all
    U_k beside each other in `expand` (out, r), so that the gates only weigh the r numbers between the two.
    A gate of zeros gives every expert the weight 1: the layer is then U Vᵀ x + b.
    Source: Wang et al. 2021, arXiv:2008.13535 (DCN-Mix), without a nonlinearity between the factors.
    """

    def __init__(self, reduce: nn.Linear, expand: nn.Linear, gate: nn.Linear) -> None:
        super().__init__()
        self.reduce = reduce
        self.expand = expand
        self.gate = gate

    @property
    def in_features(self) -> int:
        return self.reduce.in_features

    @property
    def out_features(self) -> int:
        return self.expand.out_features

    def forward(self, x: Tensor) -> Tensor:
        n_experts = self.gate.out_features
        gates = self.gate(x).softmax(-1) * n_experts  # (B, K)
        found = self.reduce(x).unflatten(-1, (n_experts, -1)) * gates.unsqueeze(-1)  # (B, K, r / K)
        return self.expand(found.flatten(-2))
