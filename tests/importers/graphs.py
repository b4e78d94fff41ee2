"""Foreign ranking models as other people export them, written by torch with plain modules."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx
import torch
from torch import nn


class SharedTable(nn.Module):
    """One table for all fields with offsets inside, as torchfm and FuxiCTR have it: ids (B, F) → probability."""

    def __init__(self, sizes=(31, 41, 7), dim=4, *, offsets=True):
        super().__init__()
        self.emb, self.linear = nn.Embedding(sum(sizes), dim), nn.Embedding(sum(sizes), 1)
        self.mlp = nn.Sequential(nn.Linear(len(sizes) * dim, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
        self.register_buffer("off", torch.tensor([0, *sizes[:-1]]).cumsum(0) * int(offsets))

    def forward(self, ids):
        x = ids + self.off
        e = self.emb(x)
        fm = 0.5 * (e.sum(1).pow(2) - e.pow(2).sum(1)).sum(1)
        return torch.sigmoid(fm + self.linear(x).sum((1, 2)) + self.mlp(e.flatten(1)).squeeze(-1))


class Columns(nn.Module):
    """A table for each column of a wide input beside wide numbers, as DLRM has it; gives logits (B, 1)."""

    def __init__(self, sizes=(31, 41), n_numbers=2, dim=4):
        super().__init__()
        self.tables = nn.ModuleList([nn.Embedding(size, dim) for size in sizes])
        self.norm = nn.LayerNorm(len(sizes) * dim + n_numbers)
        self.top = nn.Linear(len(sizes) * dim + n_numbers, 1)

    def forward(self, cat, dense):
        parts = [table(cat[:, k]) for k, table in enumerate(self.tables)]
        return self.top(self.norm(torch.cat([*parts, dense], 1)))


def export(model: nn.Module, arguments: dict[str, torch.Tensor], path: Path, *, dynamo=True, opset=18,
           output="out") -> Path:
    """Export as a stranger would, with a dynamic batch and default settings."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        axes = {name: {0: "batch"} for name in arguments}
        options = {"dynamic_axes": {**axes, output: {0: "batch"}}}
        if dynamo:
            options = {"dynamic_shapes": tuple({0: torch.export.Dim("batch")} for _ in arguments), "verbose": False}
        torch.onnx.export(model.eval(), tuple(arguments.values()), path, input_names=list(arguments),
                          output_names=[output], opset_version=opset, dynamo=dynamo, **options)
    return path


def of_a_stranger(path: Path) -> Path:
    """The file without the name of who exported it: one of ours is only read with its bundle."""
    model = onnx.load(str(path), load_external_data=False)
    model.producer_name = ""
    path.write_bytes(model.SerializeToString())
    return path


def files_of(path: Path) -> dict[str, Path]:
    return {file.name: file for file in path.parent.iterdir() if file.is_file()}
