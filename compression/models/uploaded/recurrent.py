"""A GRU over a history, its last state against the candidate item.

Source: Hidasi et al. 2016, arXiv:1511.06939. Here: one candidate a row, from the same table as the history.
"""

from __future__ import annotations

from torch import Tensor, nn

from compression.models.uploaded.params import RecurrentParams
from compression.models.uploaded.sequence import history_and_item, last_state, moved_to_end
from compression.models.zoo.fields import RankingModel
from compression.spec.records import Part
from compression.spec.signature import Signature


class Recurrent(RankingModel):
    """forward({history (B, L), item (B,)}) → (B,) logits."""

    def __init__(self, signature: Signature, params: RecurrentParams) -> None:
        super().__init__()
        self.history, self.candidate, rows = history_and_item(signature, params.length)
        self.params = params
        self.item = nn.Embedding(rows, params.embedding_dim)
        self.gru = nn.GRU(params.embedding_dim, params.hidden, params.n_layers, bias=params.bias, batch_first=True)
        if params.output:
            self.output = nn.Linear(params.hidden, params.embedding_dim)
        self.table_inputs = {"item": self.history}
        self.declare(item=Part.EMBEDDING, gru=Part.INTERACTION, output=Part.DENSE)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        history = batch[self.history]
        if self.params.padding == "front":
            history = moved_to_end(history)
        states, _ = self.gru(self.item(history))
        state = last_state(states, history, self.params.padding)
        return ((self.output(state) if self.params.output else state) * self.item(batch[self.candidate])).sum(-1)
