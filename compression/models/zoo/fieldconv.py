"""Convolutions over the fields: filters see a few neighbours at a time, a deep network reads what they found.

Sources: Liu et al. 2015, "A convolutional click prediction model", CIKM (filters over the sequence of fields);
Kim 2014, arXiv:1408.5882 (the vector's entries as channels of a 1-D convolution). Here: zero padding keeps every
field's place in every layer, and ReLU stands for the first paper's pooling of the largest few.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from compression.models.zoo.fields import Fields, RankingModel, mlp
from compression.models.zoo.params import FieldConvParams
from compression.spec.records import Part
from compression.spec.signature import Signature


class FieldConv(RankingModel):
    """forward({input: tensor}) → (B,) logits."""

    def __init__(self, signature: Signature, params: FieldConvParams) -> None:
        super().__init__()
        self.tables = Fields(signature, params.embedding_dim)
        widths = (params.embedding_dim, *(params.channels,) * params.n_conv_layers)
        self.convs = nn.ModuleList(nn.Conv1d(n_in, n_out, params.kernel_size, padding=params.kernel_size // 2)
                                   for n_in, n_out in pairwise(widths))
        self.mlp = mlp(len(self.tables.read) * params.channels, (params.width,) * params.n_layers, 1,
                       dropout=params.dropout, batch_norm=params.batch_norm)
        self.declare(convs=Part.INTERACTION)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        found = torch.stack(self.tables(batch), 2)  # (B, D, F)
        for conv in self.convs:
            found = torch.relu(conv(found))  # (B, channels, F)
        return self.mlp(found.flatten(1)).squeeze(-1)
