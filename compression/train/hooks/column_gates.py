"""What learns how many columns each table needs: gates on columns, and a price on those that stay.

Source: Liu et al. 2021, arXiv:2101.07577 (embedding dimensions by learned soft thresholds).
"""

from __future__ import annotations

from torch import Tensor, nn

from compression.layers.dense.low_rank import LowRankEmbedding
from compression.layers.rows.gated_columns import GatedColumns
from compression.models.structure import move_table, replace
from compression.spec.hook import Hook

SETTLED = 0.75  # share of the training after which an epoch can be the best: gates need time to close


class ColumnGatesHook(Hook):
    """Puts gates before the columns of tables, adds price × the share of bytes behind open gates to the loss.

    `bases`: path → (D, D), the basis in which a table's columns are judged. A table that a later step replaced is left
    alone. At the end closed columns are gone.
    """

    def __init__(self, bases: dict[str, Tensor], *, price: float) -> None:
        self.bases = bases
        self.price = price
        self.gated: dict[str, GatedColumns] = {}

    def on_start(self, model: nn.Module, total_steps: int) -> None:
        self.gated = {}
        for path, basis in self.bases.items():
            table = _leaf(model, path)
            if isinstance(table, nn.Embedding) and table.embedding_dim == len(basis):
                weight = table.weight.detach()
                layer = GatedColumns(weight, basis.to(weight), padding_idx=table.padding_idx).to(weight.device)
                replace(model, path, layer.train(table.training))
                self.gated[path] = layer

    def loss(self, batch: dict[str, Tensor], logits: Tensor, label: Tensor, loss: Tensor,
             weight: Tensor | None = None) -> Tensor:
        if not self.gated:
            return loss
        costs = [layer.num_embeddings + layer.embedding_dim for layer in self.gated.values()]
        whole = sum(cost * layer.embedding_dim for cost, layer in zip(costs, self.gated.values(), strict=True))
        stays = sum(cost * layer.gates().sum() for cost, layer in zip(costs, self.gated.values(), strict=True))
        return loss + self.price * stays / whole

    def settled(self, step: int, total_steps: int) -> bool:
        return not self.gated or step >= SETTLED * total_steps

    def on_end(self, model: nn.Module) -> None:
        for path, layer in self.gated.items():
            left = layer.narrowed().train(layer.training)
            replace(model, path, left)
            if isinstance(left, LowRankEmbedding):
                move_table(model, path, f"{path}.factor")
        self.gated = {}


def _leaf(model: nn.Module, path: str) -> nn.Module | None:
    try:
        return model.get_submodule(path)
    except AttributeError:
        return None  # a later step removed it
