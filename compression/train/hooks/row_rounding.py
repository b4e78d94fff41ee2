"""What trains tables through the rounding they are stored with.

Sources: Esser et al. 2020, arXiv:1902.08153 (learned step size); of embedding tables, arXiv:2212.05735.
"""

from __future__ import annotations

from torch import nn

from compression.layers.rows.learned_rows import LearnedRows
from compression.layers.rows.quantized_rows import QuantizedRows
from compression.models.structure import replace
from compression.spec.hook import Hook


class RowRoundingHook(Hook):
    """At the start quantised rows become trainable ones with their float values back, at the end codes again.

    `tables`: path → the float table as it was before it was quantised. One that a later step replaced is left alone.
    Every epoch is scored on rounded rows, so that the best one is the best as it is stored.
    """

    def __init__(self, tables: dict[str, nn.Embedding]) -> None:
        self.tables = tables

    def on_start(self, model: nn.Module, total_steps: int) -> None:
        for path, table in self.tables.items():
            rows = _leaf(model, path)
            if isinstance(rows, QuantizedRows) and rows.codes.shape[0] == len(table.weight):
                weight = table.weight.detach().clone().to(rows.codes.device)  # training writes into it
                learned = LearnedRows(weight, rows.scale, rows.n_bits, padding_idx=table.padding_idx)
                replace(model, path, learned.to(rows.codes.device).train(rows.training))

    def on_end(self, model: nn.Module) -> None:
        for path in self.tables:
            rows = _leaf(model, path)
            if isinstance(rows, LearnedRows):
                replace(model, path, rows.as_codes().train(rows.training))


def _leaf(model: nn.Module, path: str) -> nn.Module | None:
    try:
        return model.get_submodule(path)
    except AttributeError:
        return None  # a later step removed it
