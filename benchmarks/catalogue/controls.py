"""The controls: what anybody could do without a method. A method that they beat everywhere isn't worth its place.

    one row         every id of a table reads one row, the mean by frequency: the floor
    random rows     a table keeps rows drawn at random, the others share that row
    largest rows    a table keeps the rows of the largest norm, the others share that row
    small model     the same architecture trained with fewer columns, or fewer units
    stock int8      onnxruntime.quantization on the exported fp32 file

Maps of ids are stored and counted. Random and magnitude pruning of dense layers are methods of the catalogue.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnxruntime import quantization as stock
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

from benchmarks.catalogue.references import Reference, prepare
from benchmarks.catalogue.sweeps import BOTH, DENSE, TABLES
from benchmarks.peers import Calibration
from compression.export.onnx import export_onnx
from compression.layers.rows.remapped_rows import RemappedRows, RowMap
from compression.methods.embed.prune_rows import row_map, shared_row
from compression.models.structure import leaves, move_table, replace
from compression.running.run import table_frequencies
from compression.spec.method import copy_structure

MIN_ROWS = 100  # smaller tables stay whole, as in the methods
Make = Callable[[Reference, Any, Path, Path], Path]  # reference, value, scratch, the benchmark's folder → file


@dataclass(frozen=True)
class Control:
    """A control at several settings; `trained` where another model is trained, with the same rows."""

    key: str
    name: str
    on: str
    values: tuple[Any, ...]
    make: Make
    unit: str = ""
    trained: bool = False
    everywhere: bool = False  # also where only one part is made smaller

    def label(self, value: object) -> str:
        return f"{self.unit} {value}".strip()


def keep_rows(reference: Reference, folder: Path, choose: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Path:
    """Export the model with the rows that `choose` (weight (V, D), counts (V,)) → ids names; others share one row."""
    model = copy_structure(reference.loaded.module)
    counts = table_frequencies(model, reference.dataset)
    for path, leaf in list(leaves(model)):
        if not isinstance(leaf, nn.Embedding) or leaf.num_embeddings < MIN_ROWS:
            continue
        weight, seen = leaf.weight.detach(), counts[path]
        kept = np.sort(choose(weight.numpy(), seen))
        rare = np.setdiff1d(np.arange(len(seen)), kept)
        shared = shared_row(weight[torch.from_numpy(rare)], torch.from_numpy(seen[rare]))
        rows = nn.Embedding.from_pretrained(torch.cat([weight[torch.from_numpy(kept)], shared.unsqueeze(0)]))
        replace(model, path, RemappedRows(RowMap(torch.from_numpy(row_map(kept, len(seen)))), rows))
        move_table(model, path, f"{path}.table")
    return export_onnx(model, reference.loaded.signature, folder / "model.onnx").path


def one_row(reference: Reference, value: object, folder: Path, work: Path) -> Path:
    """Every id of a table reads the mean row; the table is gone, and no map is needed."""
    model = copy_structure(reference.loaded.module)
    counts = table_frequencies(model, reference.dataset)
    for path, leaf in list(leaves(model)):
        if isinstance(leaf, nn.Embedding):
            mean = shared_row(leaf.weight.detach(), torch.from_numpy(counts[path]))
            replace(model, path, OneRow(mean, leaf.num_embeddings))
    return export_onnx(model, reference.loaded.signature, folder / "model.onnx").path


class OneRow(nn.Module):
    """ids (…) → (…, D): the same row for every id."""

    is_leaf = True

    def __init__(self, row: torch.Tensor, num_embeddings: int) -> None:
        super().__init__()
        self.row = nn.Parameter(row)
        self.num_embeddings, self.embedding_dim = num_embeddings, len(row)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return (ids * 0).unsqueeze(-1) + self.row


def random_rows(reference: Reference, value: float, folder: Path, work: Path) -> Path:
    random = np.random.default_rng(reference.seed)
    return keep_rows(reference, folder, lambda weight, seen: random.choice(
        len(seen), max(1, round(value * len(seen))), replace=False))


def largest_rows(reference: Reference, value: float, folder: Path, work: Path) -> Path:
    return keep_rows(reference, folder, lambda weight, seen: np.argsort(
        -np.square(weight).sum(1), kind="stable")[:max(1, round(value * len(seen)))])


def small_dim(reference: Reference, value: int, folder: Path, work: Path) -> Path:
    return small_model(reference, {"embedding_dim": value}, work)


def small_width(reference: Reference, value: int, folder: Path, work: Path) -> Path:
    return small_model(reference, {"width": value}, work)


def small_both(reference: Reference, value: int, folder: Path, work: Path) -> Path:
    return small_model(reference, {"embedding_dim": value, "width": 8 * value}, work)


def small_model(reference: Reference, config: dict[str, Any], work: Path) -> Path:
    """The export of the same architecture trained from scratch with other sizes; kept, as references are."""
    name = "-" + "-".join(f"{key}-{value}" for key, value in config.items())
    place = prepare(work, reference.source, reference.seed, None, config=config, name=name)
    return place / "baseline" / "model.onnx"


def stock_int8(reference: Reference, value: str, folder: Path, work: Path) -> Path:
    """onnxruntime.quantization on the fp32 file, per channel, pre-processed as its guide advises."""
    kind, _, operators = value.partition(" ")
    whole, prepared, out = folder / "whole.onnx", folder / "prepared.onnx", folder / "stock.onnx"
    onnx.save(onnx.load(reference.baseline), whole)  # the pre-processing loses external data on its way
    try:
        quant_pre_process(whole, prepared)
    except TypeError:  # its symbolic shapes know no Unsqueeze of an unknown rank, as attention has them
        quant_pre_process(whole, prepared, skip_symbolic_shape=True)
    only = {"": None, "tables": ["Gather"], "dense": ["MatMul", "Gemm"]}[operators]
    if kind == "dynamic":
        stock.quantize_dynamic(prepared, out, per_channel=True, weight_type=stock.QuantType.QInt8,
                               op_types_to_quantize=only)
    else:
        stock.quantize_static(prepared, out, Calibration(reference.dataset.splits["train"]), per_channel=True,
                              quant_format=stock.QuantFormat.QDQ, activation_type=stock.QuantType.QUInt8,
                              weight_type=stock.QuantType.QInt8, op_types_to_quantize=only)
    return out


SHARES = (0.7, 0.5, 0.3, 0.1, 0.05)
CONTROLS = {control.key: control for control in (
    Control("one_row", "one row", TABLES, ("floor",), one_row),
    Control("random_rows", "random rows", TABLES, SHARES, random_rows, "keep"),
    Control("largest_rows", "largest rows", TABLES, SHARES, largest_rows, "keep"),
    Control("small_dim", "small model, columns", TABLES, (8, 4, 2, 1), small_dim, "columns", trained=True),
    Control("small_width", "small model, units", DENSE, (64, 32, 16, 8), small_width, "units", trained=True),
    Control("small_both", "small model, both", BOTH, (8, 4, 2, 1), small_both, "columns", trained=True),
    Control("stock_tables", "stock int8, tables", TABLES, ("dynamic tables",), stock_int8),
    Control("stock_dense", "stock int8, dense", DENSE, ("dynamic dense", "static dense"), stock_int8),
    Control("stock", "stock int8", BOTH, ("dynamic", "static"), stock_int8, everywhere=True),
)}
