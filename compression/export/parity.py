"""Hold an exported file against the model it was written from.

A float graph agrees to rounding: 1e-4 in units of the score. A layer that rounds its inputs to 8 bits can meet
an input that lies on a boundary; torch and the runtime, a float32 rounding apart, then take neighbouring
levels, and the score moves by a step of one input. Both run the same integer arithmetic, so such steps are
rare and small: 5e-3 allows for them and still finds a wrong scale, a wrong layout or an overflow. Where many rounding
layers stand behind one another a step grows beyond that; then each is held against the file alone (`layer_parity`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from compression.data.dataset import Rows
from compression.data.rows_that_fit import FEW_ROWS, row_bytes
from compression.export.layer_parity import rounding_layers, walk_along
from compression.export.onnx import Scored
from compression.models.example import TORCH_DTYPES
from compression.models.structure import read_signature
from compression.models.watch import evaluating
from compression.spec.errors import ExportError
from compression.spec.metrics import PARITY_LIMIT
from compression.spec.records import Target
from compression.spec.runtime import RUNTIMES
from compression.spec.signature import Signature

FLOAT_TOLERANCE = 1e-4
ROUNDING_TOLERANCE = PARITY_LIMIT
MAX_ROWS = 100_000
MAX_BYTES = 16 << 30  # of what these rows make of themselves on their way to a score: of pairs of texts, some hundreds
BATCH_ROWS = 1024
COPIES = 3  # of the values of layers that are compared alone: in the runtime, in its answer, in torch


class Parity(NamedTuple):
    """How far an exported file is from its model.

    `error`: the largest difference of a score. `layer_error`: where that is more than rounding explains at once, and
    each layer that rounds its input was compared alone, the largest difference of an output of one of them, as a share
    of that output's range; None where scores agreed as they are.
    """

    error: float
    layer_error: float | None
    n_rows: int


def tolerance_of(model: nn.Module) -> float:
    """The largest difference of a score that rounding explains."""
    return ROUNDING_TOLERANCE if rounding_layers(model) else FLOAT_TOLERANCE


def check_parity(model: nn.Module, signature: Signature, path: Path, rows: Rows, *, target: Target) -> Parity:
    """|score of the file − score of torch| over the first rows, in the same batches for both.

    The file runs in the session that is measured later: by the target's runtime, on its device, threads and level of
    rewriting. Raises ExportError above the tolerance, naming the row or the layer, and for a score that is not finite;
    MeasureError where the file can't be run on the target.
    """
    signature = read_signature(model, signature)
    rounds, tolerance = bool(rounding_layers(model)), tolerance_of(model)
    worst, layer_error = 0.0, None
    with (closing(RUNTIMES[target.runtime].open(path, **target.session)) as session, evaluating(model), torch.no_grad(),
          exact_products()):
        scored = Scored(model, signature)
        width = row_bytes(scored, _tensors(scored, signature, _batch(signature, rows.take(slice(0, FEW_ROWS)))))
        n_rows = width.within(MAX_BYTES, most=min(len(rows), MAX_ROWS))
        batch_rows = (max(1, width.fitting(COPIES * BATCH_ROWS, gradient=True) // COPIES) if rounds
                      else width.fitting(BATCH_ROWS))
        for start in range(0, n_rows, batch_rows):
            batch = _batch(signature, rows.take(slice(start, min(start + batch_rows, n_rows))))
            expected = _torch_scores(scored, signature, batch)
            got = session.answer(batch).reshape(-1)
            apart = _largest(expected, got, start, np.inf if rounds else FLOAT_TOLERANCE, path)
            worst = max(worst, apart)
            if apart > tolerance:
                walked = walk_along(model, path, batch, partial(_torch_scores, scored, signature, batch), target=target)
                _largest(walked.expected, walked.got, start, FLOAT_TOLERANCE, path)
                _largest(walked.got, got, start, tolerance, path, than="torch and, with its layers watched, itself")
                layer_error = max(layer_error or 0.0, walked.layer_error)
    return Parity(worst, layer_error, n_rows)


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


def _batch(signature: Signature, rows: Rows) -> dict[str, np.ndarray]:
    return {item.name: rows.inputs[item.name].astype(item.dtype) for item in signature.inputs}


def _tensors(scored: Scored, signature: Signature, batch: dict[str, np.ndarray]) -> dict[str, Tensor]:
    device = next((tensor.device for tensor in scored.parameters()), torch.device("cpu"))
    return {item.name: torch.from_numpy(batch[item.name]).to(device, TORCH_DTYPES[item.dtype])
            for item in signature.inputs}


def _torch_scores(scored: Scored, signature: Signature, batch: dict[str, np.ndarray]) -> np.ndarray:
    return scored(_tensors(scored, signature, batch)).reshape(-1).float().cpu().numpy()


def _largest(expected: np.ndarray, got: np.ndarray, start: int, tolerance: float, path: Path,
             than: str = "torch") -> float:
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
        raise ExportError(f"{path.name} disagrees with {than}: row {start + row} scores {got[row]:.6f} instead of "
                          f"{expected[row]:.6f}, a difference of {difference[row]:.2g}; at most {tolerance:g} is "
                          "rounding. The file is not used.")
    return float(difference[row])
