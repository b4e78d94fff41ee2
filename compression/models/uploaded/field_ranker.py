"""Fields' vectors through the parts that a click model is made of: one module for LR, FM, DeepFM, Wide & Deep, DCN v2
and DLRM with networks of any widths, as other repositories train them.

Sources: Rendle 2010; Cheng et al. 2016; Guo et al. 2017; Naumov et al. 2019; Wang et al. 2021.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compression.models.uploaded.chain import chain
from compression.models.uploaded.params import FieldRankerParams
from compression.models.zoo.dcnv2 import cross
from compression.models.zoo.fields import Bias, Fields, RankingModel, pairwise, pool_mean
from compression.spec.records import Part
from compression.spec.signature import Signature


class PooledFields(Fields):
    """A table a field; lists are averaged or added up, with the padding left out or in."""

    pooling, skip_padding = "mean", True

    def forward(self, batch: dict[str, Tensor]) -> list[Tensor]:
        vectors = []
        for key, item in self.read:
            ids = batch[item.name]
            found = self[key](ids)
            vectors.append(self._pooled(found, ids) if item.kind == "multi" else found)
        return vectors

    def _pooled(self, found: Tensor, ids: Tensor) -> Tensor:
        if self.pooling == "mean":
            return pool_mean(found, ids) if self.skip_padding else found.mean(1)
        return ((ids != 0).to(found.dtype).unsqueeze(-1) * found if self.skip_padding else found).sum(1)


class FieldRanker(RankingModel):
    """forward({input: tensor}) → (B,) logits: the sum of the parts that are there."""

    def __init__(self, signature: Signature, params: FieldRankerParams) -> None:
        super().__init__()
        self.params, dim = params, params.embedding_dim
        self.numbers = tuple(item.name for item in signature.inputs if item.kind == "number")
        if params.vectors:
            self.tables = self._fields(signature, dim)
        n_vectors = len(self.tables.read) if params.vectors else 0
        if params.first_order:
            self.first_order = self._fields(signature, 1)
            if params.first_order_pooling != "same":
                self.first_order.pooling = params.first_order_pooling
        if params.bottom:
            self.bottom = chain(len(self.numbers), params.bottom)
            n_vectors += 1
        n_in = n_vectors * dim + (len(self.numbers) if params.numbers == "values" else 0)
        if params.dots:
            rows, columns = torch.tril_indices(n_vectors, n_vectors, -1, device="cpu") \
                if params.dots_order == "lower" else torch.triu_indices(n_vectors, n_vectors, 1, device="cpu")
            self.register_buffer("places", rows * n_vectors + columns, persistent=False)
            n_in = (dim if params.bottom else n_in) + n_vectors * (n_vectors - 1) // 2
        self.cross = nn.ModuleList(
            nn.Linear(n_in, 1 if params.cross_form == "vector" else n_in, bias=params.cross_form == "matrix")
            for _ in range(params.cross_layers))
        self.cross_added = nn.ModuleList(Bias(n_in) for _ in self.cross if params.cross_form != "matrix")
        if params.mlp:
            self.mlp = chain(n_in, params.mlp)
        if params.output:
            n_cross = n_in if params.cross_layers and (params.structure == "parallel" or not params.mlp) else 0
            deep = params.mlp.widths[-1] if params.mlp else 0
            self.output = nn.Linear(n_cross + deep, 1, bias=params.output_bias)
        if params.wide:
            self.wide = nn.Linear(len(self.numbers), 1, bias=params.wide_bias)
        if params.linear != "none":
            self.linear = nn.Linear(n_in if params.linear == "all" else len(self.tables.read) * dim, 1)
        if params.bias:
            self.bias = Bias()
        self.declare(bottom=Part.DENSE, cross=Part.INTERACTION, cross_added=Part.INTERACTION, output=Part.OUTPUT,
                     wide=Part.OUTPUT, linear=Part.OUTPUT, bias=Part.OUTPUT)

    def _fields(self, signature: Signature, dim: int) -> PooledFields:
        fields = PooledFields(signature, dim, numbers=self.params.numbers == "vectors")
        fields.pooling, fields.skip_padding = self.params.pooling, self.params.skip_padding
        return fields

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        params, terms = self.params, []
        vectors = self.tables(batch) if params.vectors else []
        values = [torch.stack([batch[name] for name in self.numbers], 1)] if self.numbers else []
        if params.first_order:
            terms.append(torch.cat(self.first_order(batch), 1).sum(1))
        if params.pairs:
            terms.append(pairwise(vectors))
        if params.wide:
            terms.append(self.wide(values[0]).squeeze(-1))
        if params.linear == "vectors":
            terms.append(self.linear(torch.cat(vectors, 1)).squeeze(-1))
        if params.linear == "all":
            terms.append(self.linear(self._flat(vectors, values)).squeeze(-1))
        if params.bottom:
            vectors = [self.bottom(values[0]), *vectors]
        if params.mlp or params.cross_layers:
            terms.append(self._deep(vectors, values))
        score = sum(terms)
        return self.bias(score) if params.bias else score

    def _flat(self, vectors: list[Tensor], values: list[Tensor]) -> Tensor:
        """The vectors side by side, and the numbers where the network reads them as they are."""
        beside = values if self.params.numbers == "values" else []
        return torch.cat([*beside, *vectors] if self.params.numbers_place == "first" else [*vectors, *beside], 1)

    def _deep(self, vectors: list[Tensor], values: list[Tensor]) -> Tensor:
        params, flat = self.params, self._flat(vectors, values)
        if params.dots:
            stacked = torch.stack(vectors, 1)  # (B, F, D)
            products = torch.bmm(stacked, stacked.transpose(1, 2)).flatten(1).index_select(1, self.places)
            flat = torch.cat([vectors[0] if params.bottom else flat, products], 1)
        crossed = cross(flat, self.cross, self.cross_added)
        found = [crossed] if params.cross_layers and (params.structure == "parallel" or not params.mlp) else []
        if params.mlp:
            found.append(self.mlp(crossed if params.structure == "stacked" else flat))
        if params.output:
            return self.output(torch.cat(found[::1 if params.output_order == "cross first" else -1], 1)).squeeze(-1)
        return sum(found).sum(1)  # of width 1
