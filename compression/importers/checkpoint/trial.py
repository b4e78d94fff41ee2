"""How well scores fit validation rows of the bound data: what choices that weights leave open are compared by.

A choice is compared by its log loss after the best positive scale and shift of its scores (Platt 1999): losses such as
BPR leave the scale of scores open, and which choice ranks the rows right doesn't depend on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from compression.spec.errors import RecPressError
from compression.spec.signature import Signature

ROWS, ROWS_OF_LONG_LISTS, LONG = 4096, 1024, 50
N_STEPS, MOST_SCALE = 25, 50.0  # of Newton's method; a scale at which separable rows stop
NOISE = 2.0  # standard errors below which a difference is called noise


@dataclass(frozen=True)
class TrialRows:
    """`batch`: rows as the model reads them. `label` of 0 and 1; `target`: the label column's own numbers.

    `users` and `items`: ids of the first two inputs in train rows of label 1, the edges of an interaction graph.
    """

    batch: dict[str, Tensor]
    label: Tensor
    target: Tensor
    users: Tensor
    items: Tensor

    def __len__(self) -> int:
        return len(self.label)


def trial_rows(signature: Signature, vocabularies: dict[str, list[str]], data_folder: Path | None) -> TrialRows | None:
    """Rows to try on; None without data, or where it can't be read with these columns."""
    if data_folder is None:
        return None
    from compression.data.encode import load_dataset

    try:
        dataset = load_dataset(data_folder, signature=signature, vocabularies=vocabularies)
        targets = _targets(data_folder, dataset.description.label.column)
    except RecPressError:
        return None
    valid = dataset.splits["valid"]
    if not len(valid):
        return None
    is_long = any((one.max_length or 0) > LONG for one in signature.inputs)
    chosen = np.random.default_rng(0).permutation(len(valid))[:ROWS_OF_LONG_LISTS if is_long else ROWS]
    rows = valid.take(chosen)
    label = torch.from_numpy(rows.label)
    target = torch.from_numpy(targets[chosen]) if targets is not None and len(targets) == len(valid) else label
    return TrialRows({name: torch.from_numpy(values) for name, values in rows.inputs.items()}, label, target,
                     *_edges(signature, dataset.splits["train"]))


def _targets(data_folder: Path, column: str) -> np.ndarray | None:
    """The label column of the validation rows as numbers, such as ratings; None where it holds something else."""
    import polars as pl

    from compression.data.description import load_description
    from compression.data.ingest import read_splits

    frame = read_splits(data_folder, load_description(data_folder))["valid"]
    if column not in frame.columns:
        return None
    numbers = frame[column].cast(pl.Float64, strict=False)
    return None if numbers.null_count() else numbers.to_numpy()


def _edges(signature: Signature, train: Any) -> tuple[Tensor, Tensor]:
    names = [one.name for one in signature.inputs]
    if len(names) != 2 or any(one.kind != "category" for one in signature.inputs):
        return torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
    positive = train.label > 0
    users, items = (torch.from_numpy(train.inputs[name][positive]).long() for name in names)
    return users, items


def calibrated_losses(scores: Tensor, label: Tensor) -> Tensor:
    """(N,) log losses after the best scale ≥ 0 and shift of `scores`; infinite where a score is not finite."""
    if not bool(torch.isfinite(scores).all()):
        return torch.full((len(label),), torch.inf, dtype=torch.float64)
    z, y = scores.double(), label.double()
    z = (z - z.mean()) / z.std().clamp_min(1e-12) if len(z) > 1 and float(z.std()) > 1e-12 else torch.zeros_like(z)
    base = ((y.sum() + 0.5) / (len(y) + 1)).logit()
    a, b = 0.0, float(base)
    for _ in range(N_STEPS):
        p = torch.sigmoid(a * z + b)
        w = (p * (1 - p)).clamp_min(1e-9)
        slope = torch.stack([((p - y) * z).sum(), (p - y).sum()])
        curve = torch.stack([torch.stack([(w * z * z).sum(), (w * z).sum()]), torch.stack([(w * z).sum(), w.sum()])])
        step = torch.linalg.solve(curve + 1e-6 * torch.eye(2, dtype=torch.float64), slope)
        a, b = a - float(step[0].clamp(-2, 2)), b - float(step[1].clamp(-2, 2))
        a = min(a, MOST_SCALE)
    if a <= 0:
        a, b = 0.0, float(base)
    return F.binary_cross_entropy_with_logits(a * z + b, y, reduction="none")


def form_losses(form: str, scores: Tensor, rows: TrialRows) -> Tensor:
    """(N,) losses of scores read as `form` ("logit", "probability" or "rating"), in the unit of log loss.

    A rating's squared error counts relative to the variance of the label column: a constant has the same loss in both.
    """
    if form != "rating":
        return F.binary_cross_entropy_with_logits(scores.double(), rows.label.double(), reduction="none")
    mean = rows.label.double().mean().clamp(1e-6, 1 - 1e-6)
    entropy = -(mean * mean.log() + (1 - mean) * (1 - mean).log())
    target = rows.target.double()
    return entropy * (scores.double() - target).square() / target.var(unbiased=False).clamp_min(1e-12)
