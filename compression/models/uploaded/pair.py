"""Users and items alone: matrix factorisation with or without biases, GMF, a network over both vectors, NeuMF.

Source: Koren et al. 2009; He et al. 2017, arXiv:1708.05031.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compression.models.uploaded.chain import chain
from compression.models.uploaded.params import PairParams
from compression.models.zoo.fields import Bias, RankingModel
from compression.spec.errors import ModelError
from compression.spec.records import Part
from compression.spec.signature import Signature

TINY = 1e-12  # below a squared distance, so that its root has a gradient

class Pair(RankingModel):
    """forward({user, item}) → (B,) logits. The first input of the signature is the user, the second the item."""

    def __init__(self, signature: Signature, params: PairParams) -> None:
        super().__init__()
        if len(signature.inputs) != 2:
            raise ModelError(f"A model of users and items has two inputs; the signature has {len(signature.inputs)}.")
        self.params = params
        self.names = tuple(item.name for item in signature.inputs)
        rows = [item.cardinality for item in signature.inputs]
        dims = {"product": (params.product_dim,) * 2, "mlp": (params.user_mlp_dim, params.item_mlp_dim),
                "bias": (int(params.biases),) * 2}
        for part, widths in dims.items():
            for side, count, width, name in zip(("user", "item"), rows, widths, self.names, strict=True):
                if width:
                    self.add_module(f"{side}_{part}", nn.Embedding(count, width))
                    self.table_inputs[f"{side}_{part}"] = name
        tables = dict.fromkeys(self.table_inputs, Part.EMBEDDING)
        if params.mlp:
            self.mlp = chain(params.user_mlp_dim + params.item_mlp_dim, params.mlp)
        if params.output != "sum":
            deep = params.mlp.widths[-1] if params.mlp else 0
            width = {"product": params.product_dim, "network": deep, "joined": params.product_dim + deep}
            self.output = nn.Linear(width[params.output], 1, bias=params.output_bias)
        if params.mean:
            self.mean = Bias()
        self.declare(**tables, output=Part.OUTPUT, mean=Part.OUTPUT)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        params, (user, item) = self.params, (batch[name] for name in self.names)
        found = {}
        if params.product_dim:
            sides = [self.user_product(user), self.item_product(item)]
            if params.compare == "cosine":
                sides = [F.normalize(side, dim=-1) for side in sides]
            is_distance = params.compare in ("distance", "squared distance")
            found["product"] = -(sides[0] - sides[1]).square() if is_distance else sides[0] * sides[1]
            if params.compare == "distance":
                found["product"] = -(-found["product"].sum(1, keepdim=True)).clamp_min(TINY).sqrt()
        if params.mlp:
            sides = [self.user_mlp(user), self.item_mlp(item)]
            found["network"] = self.mlp(torch.cat(sides[::1 if params.networks_order == "user first" else -1], 1))
        if params.output == "sum":
            score = sum(part.sum(1) for part in found.values())
            score = score if params.scale == 1 else params.scale * score
        else:
            names = sorted(found, key=lambda name: name != params.first)
            score = self.output(torch.cat([found[name] for name in names], 1)).squeeze(-1)
        if params.biases:
            score = score + (self.user_bias(user) + self.item_bias(item)).squeeze(-1)
        return self.mean(score) if params.mean else score
