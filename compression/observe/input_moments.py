"""Mean and covariance of what enters a dense layer, added up while calibration rows pass through the model.

Legend: N rows seen, I inputs of the layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compression.models.watch import watch_inputs


@dataclass
class Moments:
    """Sums over all rows in float64: products (I, I), values (I,), magnitudes (I,)."""

    products: Tensor
    values: Tensor
    magnitudes: Tensor
    n_rows: int = 0

    def add(self, rows: Tensor) -> None:
        rows = rows.detach().flatten(0, -2).cpu().double()
        self.products += rows.T @ rows
        self.values += rows.sum(0)
        self.magnitudes += rows.abs().sum(0)
        self.n_rows += len(rows)

    @property
    def mean(self) -> Tensor:
        return self.values / self.n_rows

    @property
    def covariance(self) -> Tensor:
        return self.products / self.n_rows - torch.outer(self.mean, self.mean)


def input_moments(model: nn.Module, layers: dict[str, nn.Linear],
                  batches: list[dict[str, Tensor]]) -> dict[str, Moments]:
    """Run the batches and sum up what enters each layer. A layer that no row reaches is absent."""
    found: dict[str, Moments] = {}

    def add(path: str, layer: nn.Linear, rows: Tensor) -> None:
        n = layer.in_features
        empty = (torch.zeros(n, n, dtype=torch.float64), *torch.zeros(2, n, dtype=torch.float64))
        found.setdefault(path, Moments(*empty)).add(rows)

    watch_inputs(model, layers, batches, add)
    return found
