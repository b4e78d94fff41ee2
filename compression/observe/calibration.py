"""The range of a layer's inputs, observed while calibration rows pass through the model.

Observed (B, in) float32 → scale and zero point of 8-bit levels 0 … 255.
Source: Krishnamoorthi 2018, arXiv:1806.08342 (ranges by extremes or percentiles); Migacz 2017 (by entropy); the
squared-error search tries shares of the range.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from compression.data.batches import to_device
from compression.data.rows_that_fit import rows_that_fit
from compression.models.watch import evaluating, watch_inputs
from compression.observe.entropy_range import least_divergence
from compression.spec.errors import RecipeError
from compression.spec.method import Context

BATCH_ROWS = 512  # at most; n_batches of methods count in these
Calibrator = Literal["minmax", "percentile", "mse", "entropy"]
SAMPLE_VALUES = 8192  # kept of each batch and layer
SHARES = torch.linspace(0.2, 1.0, 41)  # of the observed range, tried by "mse"


def calibration_batches(model: nn.Module, n_batches: int, ctx: Context, *, title: str,
                        instead: str) -> list[dict[str, Tensor]]:
    """n_batches · BATCH_ROWS random training rows, none twice, on the model's device, in batches that fit.

    Raises RecipeError where there are none, naming what to choose instead.
    """
    known = ctx.dataset.splits.get("train") if ctx.dataset is not None else None
    if known is None or len(known) == 0:
        raise RecipeError(f"{title} calibrates on training rows, and the dataset has none. "
                          f"Choose a dataset with a training split, or {instead}, which needs no rows.")
    device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
    order = torch.randperm(len(known), generator=ctx.generator)[:n_batches * BATCH_ROWS]
    rows = to_device(known.take(order.numpy()), device)
    with evaluating(model):
        fitting = rows_that_fit(model, rows.inputs, BATCH_ROWS)
    return [rows.take(slice(start, start + fitting))[0] for start in range(0, len(rows), fitting)]


@dataclass
class Observed:
    """Extremes of all values, and a sample of them."""

    low: float = 0.0
    high: float = 0.0
    sample: list[Tensor] = field(default_factory=list)

    def add(self, values: Tensor, generator: torch.Generator) -> None:
        values = values.detach().flatten().float().cpu()
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        if len(values) > SAMPLE_VALUES:
            values = values[torch.randint(len(values), (SAMPLE_VALUES,), generator=generator)]
        self.sample.append(values)


def observe(model: nn.Module, layers: dict[str, nn.Module], batches: list[dict[str, Tensor]],
            generator: torch.Generator) -> dict[str, Observed]:
    """Run the batches and note what enters each layer. A layer that no row reaches is absent."""
    found: dict[str, Observed] = {}
    watch_inputs(model, layers, batches,
                 lambda path, layer, rows: found.setdefault(path, Observed()).add(rows, generator))
    return found


def levels_of(observed: Observed, calibrator: Calibrator, *, percentile: float = 99.99) -> tuple[float, int]:
    """Scale and zero point. The range always holds 0, so that 0 is met exactly."""
    low, high = observed.low, observed.high
    if calibrator != "minmax":
        sample = torch.cat(observed.sample).sort().values
        if calibrator == "percentile":
            cut = round((1 - percentile / 100) * (len(sample) - 1))
            low, high = min(0.0, float(sample[cut])), max(0.0, float(sample[len(sample) - 1 - cut]))
        elif calibrator == "entropy":
            low, high = least_divergence(sample.numpy(), low, high)
        else:
            low, high = _least_error(sample, low, high)
    return _scale_and_zero_point(low, high)


def _scale_and_zero_point(low: float, high: float) -> tuple[float, int]:
    scale = (high - low) / 255 or 1.0
    return scale, max(0, min(255, round(-low / scale)))


def _least_error(sample: Tensor, low: float, high: float) -> tuple[float, float]:
    """The share of the range whose 8-bit levels are nearest to the sample, by squared error."""
    def error(share: float) -> float:
        scale, zero_point = _scale_and_zero_point(low * share, high * share)
        kept = ((sample / scale).round() + zero_point).clamp(0, 255).sub(zero_point).mul(scale)
        return float((sample - kept).square().sum())

    best = min(SHARES.flip(0).tolist(), key=error)
    return low * best, high * best
