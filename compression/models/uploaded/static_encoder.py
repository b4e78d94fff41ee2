"""Static embeddings of tokens: a text is the mean of its tokens' rows, without attention or places.

Source: Reimers & Gurevych's StaticEmbedding; model2vec; wordllama. Legend: B texts, L tokens, D width of a vector.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from compression.models.uploaded.params import StaticEncoderParams
from compression.models.uploaded.sentence_encoder import IDS, MASK, ids_of, mean_of_tokens, pair_score
from compression.models.zoo.fields import RankingModel
from compression.spec.records import Part
from compression.spec.signature import Signature


class StaticEncoder(RankingModel):
    """forward({input_ids, attention_mask: (B, L)}) → (B, D) vectors or (B,) logits; see `output`."""

    def __init__(self, signature: Signature, params: StaticEncoderParams) -> None:
        super().__init__()
        ids = ids_of(signature, params)
        self.params, self.output_form = params, "vector" if params.output == "vector" else "logit"
        self.token = nn.Embedding(ids.cardinality, params.embedding_dim)
        self.table_inputs = {"token": ids.name}
        self.declare(token=Part.EMBEDDING)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        if self.params.output == "pair":
            return self.params.scale * pair_score(self.vector, batch)
        return self.vector(batch[IDS], batch[MASK])

    def vector(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids and mask (1 for a token, 0 for padding), both (B, L) → (B, D)."""
        x = self.token(ids)
        vector = mean_of_tokens(x, mask.to(x.dtype).unsqueeze(-1))
        return F.normalize(vector, dim=-1) if self.params.normalize else vector
