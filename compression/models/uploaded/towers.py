"""A network for the user and one for the item, compared by cosine or dot product.

Source: Huang et al. 2013, CIKM (DSSM).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from compression.models.uploaded.chain import chain
from compression.models.uploaded.params import TowersParams
from compression.models.zoo.fields import RankingModel
from compression.spec.errors import ModelError
from compression.spec.records import Part
from compression.spec.signature import Signature


class Towers(RankingModel):
    """forward({user, item}) → (B,) logits. The first input of the signature is the user, the second the item."""

    def __init__(self, signature: Signature, params: TowersParams) -> None:
        super().__init__()
        if len(signature.inputs) != 2:
            raise ModelError(f"Two towers have two inputs; the signature has {len(signature.inputs)}.")
        self.params, (user, item) = params, signature.inputs
        self.user, self.item = nn.Embedding(user.cardinality, params.user_dim), nn.Embedding(
            item.cardinality, params.item_dim)
        self.user_tower = chain(params.user_dim, params.user_tower)
        self.item_tower = chain(params.item_dim, params.item_tower)
        self.names = (user.name, item.name)
        self.table_inputs = {"user": user.name, "item": item.name}
        self.declare(user=Part.EMBEDDING, item=Part.EMBEDDING)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        user, item = (batch[name] for name in self.names)
        left, right = self.user_tower(self.user(user)), self.item_tower(self.item(item))
        if self.params.compare == "cosine":
            left, right = F.normalize(left, dim=-1), F.normalize(right, dim=-1)
        return self.params.scale * (left * right).sum(-1)
