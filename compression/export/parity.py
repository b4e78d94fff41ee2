"""Hold an exported file against the model it was written from.

A float graph agrees to rounding: 1e-4 in units of the score. A layer that rounds its inputs to 8 bits can meet
an input that lies on a boundary; torch and the runtime, a float32 rounding apart, then take neighbouring
levels, and the score moves by a step of one input. Both run the same integer arithmetic, so such steps are
rare and small: 5e-3 allows for them and still finds a wrong scale, a wrong layout or an overflow.

In a deep model such steps multiply: where a layer's inputs have outliers, a level is wide, and one step in the first
block moves many in the last. torch then disagrees with itself by more than 5e-3 when a layer's inputs move by a float32
rounding. So a larger difference is held against that movement, and the file has to order the rows as torch does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import nn

from compression.data.dataset import Rows
from compression.export.onnx import Scored
from compression.models.example import TORCH_DTYPES
from compression.models.structure import read_signature
from compression.models.watch import evaluating, hooked
from compression.spec.errors import ExportError
from compression.spec.metrics import PARITY_LIMIT
from compression.spec.records import Target
from compression.spec.runtime import RUNTIMES
from compression.spec.signature import Signature

FLOAT_TOLERANCE = 1e-4
ROUNDING_TOLERANCE = PARITY_LIMIT
MAX_ROWS = 100_000
BATCH_ROWS = 1024
BATCH_PLACES = 16_384  # of lists in a batch
ROUNDING = 1e-6  # relative, of a float32 that is a sum of hundreds
N_NUDGES, TIMES_ITSELF = 3, 2.0  # how often torch is compared with itself, and how much further the file may be off
ALIKE = 0.95  # share of pairs of rows that a file has to order as torch does


def tolerance_of(model: nn.Module) -> float:
    """The largest difference of a score that rounding explains."""
    rounds = any(getattr(module, "rounds_activations", False) for module in model.modules())
    return ROUNDING_TOLERANCE if rounds else FLOAT_TOLERANCE


def check_parity(model: nn.Module, signature: Signature, path: Path, rows: Rows, *, target: Target) -> float:
    """max |score of the file − score of torch| over the rows (the first 100,000), in the same batches for both.

    The file runs in the session that is measured later: by the target's runtime, on its device, threads and level of
    rewriting. Raises ExportError above the tolerance, naming the row, and for a score that is not finite; MeasureError
    where the file can't be run on the target.
    """
    signature = read_signature(model, signature)
    lists = [rows.inputs[item.name].shape[1] for item in signature.inputs if item.kind == "multi"]
    step = min(BATCH_ROWS, max(1, BATCH_PLACES // max(lists, default=1)))
    tolerance, worst = tolerance_of(model), 0.0
    with (closing(RUNTIMES[target.runtime].open(path, **target.session)) as session, evaluating(model), torch.no_grad(),
          exact_products()):
        scored = Scored(model, signature)
        for start in range(0, min(len(rows), MAX_ROWS), step):
            part = rows.take(slice(start, min(start + step, MAX_ROWS)))
            batch = {item.name: part.inputs[item.name].astype(item.dtype) for item in signature.inputs}
            expected = _torch_scores(scored, signature, batch)
            got = session.answer(batch).reshape(-1)
            allowed = tolerance
            if tolerance > FLOAT_TOLERANCE and not (np.abs(expected - got) <= tolerance).all():
                allowed = max(tolerance, _amplified(scored, signature, batch, expected, got))
            worst = max(worst, _largest(expected, got, start, allowed, path))
    return worst


@contextmanager
def exact_products() -> Iterator[None]:
    """torch multiplies float32 as float32 on CUDA: TF32 keeps 10 bits, and would hide a wrong scale."""
    kinds = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)
    before = [kind.fp32_precision for kind in kinds]
    try:
        for kind in kinds:
            kind.fp32_precision = "ieee"
        yield
    finally:
        for kind, precision in zip(kinds, before, strict=True):
            kind.fp32_precision = precision


def _amplified(scored: Scored, signature: Signature, batch: dict[str, np.ndarray], expected: np.ndarray,
               got: np.ndarray) -> float:
    """The difference that the model's own rounding explains; 0 where the file is off by more in all, or in the order.

    torch scores the batch again, each rounding layer's inputs moved at random by a float32 rounding.
    """
    generator = torch.Generator().manual_seed(0)

    def nudge(_: str, __: nn.Module, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        noise = torch.randn(given[0].shape, generator=generator).to(given[0].device)
        return (given[0] * (1 + ROUNDING * noise), *given[1:])

    layers = {path: module for path, module in scored.named_modules() if getattr(module, "rounds_activations", False)}
    with hooked(layers, nudge, before=True):
        moved = np.abs([_torch_scores(scored, signature, batch) - expected for _ in range(N_NUDGES)])
    is_explained = got.shape == expected.shape and (
        np.abs(got - expected).mean() <= TIMES_ITSELF * moved.mean() and ordered_alike(expected, got) >= ALIKE)
    return TIMES_ITSELF * float(moved.max(1).mean()) if is_explained else 0.0


def ordered_alike(expected: np.ndarray, got: np.ndarray) -> float:
    """Share of the pairs of rows with different expected scores that `got` orders alike, ties half; (N,) and (N,)."""
    first, second = np.triu_indices(len(expected), 1)
    told = np.sign(expected[first] - expected[second])
    same = told * np.sign(got[first] - got[second])
    return float((same[told != 0].mean() + 1) / 2) if told.any() else 1.0


def _torch_scores(scored: Scored, signature: Signature, batch: dict[str, np.ndarray]) -> np.ndarray:
    device = next((tensor.device for tensor in scored.parameters()), torch.device("cpu"))
    tensors = {item.name: torch.from_numpy(batch[item.name]).to(device, TORCH_DTYPES[item.dtype])
               for item in signature.inputs}
    return scored(tensors).reshape(-1).float().cpu().numpy()


def _largest(expected: np.ndarray, got: np.ndarray, start: int, tolerance: float, path: Path) -> float:
    if got.shape != expected.shape:
        raise ExportError(f"{path.name} gives {got.shape[0]} scores where torch gives {expected.shape[0]}.")
    difference = np.abs(expected.astype(np.float64) - got)
    broken = ~np.isfinite(difference)
    if broken.any():
        row = int(broken.argmax())
        raise ExportError(f"Row {start + row} scores {got[row]} in {path.name} and {expected[row]} in torch; both must "
                          "be finite. Look for NaN or infinite weights, or undo the last step of the recipe.")
    row = int(difference.argmax())
    if difference[row] > tolerance:
        hint = " On a CPU without VNNI set n_bits of int8 dense layers to 7." if tolerance > FLOAT_TOLERANCE else ""
        raise ExportError(f"{path.name} disagrees with torch: row {start + row} scores {got[row]:.6f} instead of "
                          f"{expected[row]:.6f}, a difference of {difference[row]:.2g}; at most {tolerance:.2g} is "
                          f"rounding. The file is not used.{hint}")
    return float(difference[row])
