"""Hold an exported file against the model it was written from.

A float graph agrees to rounding: 1e-4 in units of the score. A layer that rounds its inputs to 8 bits can meet
an input that lies on a boundary; torch and the runtime, a float32 rounding apart, then take neighbouring
levels, and the score moves by a step of one input. Both run the same integer arithmetic, so such steps are
rare and small: 5e-3 allows for them and still finds a wrong scale, a wrong layout or an overflow.
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
from compression.models.watch import evaluating
from compression.spec.errors import ExportError
from compression.spec.metrics import PARITY_LIMIT
from compression.spec.records import Target
from compression.spec.runtime import RUNTIMES
from compression.spec.signature import Signature

FLOAT_TOLERANCE = 1e-4
ROUNDING_TOLERANCE = PARITY_LIMIT
MAX_ROWS = 100_000
BATCH_ROWS = 1024


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
    tolerance, worst = tolerance_of(model), 0.0
    with (closing(RUNTIMES[target.runtime].open(path, **target.session)) as session, evaluating(model), torch.no_grad(),
          exact_products()):
        scored = Scored(model, signature)
        for start in range(0, min(len(rows), MAX_ROWS), BATCH_ROWS):
            part = rows.take(slice(start, start + BATCH_ROWS))
            batch = {item.name: part.inputs[item.name].astype(item.dtype) for item in signature.inputs}
            expected = _torch_scores(scored, signature, batch)
            got = session.answer(batch).reshape(-1)
            worst = max(worst, _largest(expected, got, start, tolerance, path))
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
                          f"{expected[row]:.6f}, a difference of {difference[row]:.2g}; at most {tolerance:g} is "
                          f"rounding. The file is not used.{hint}")
    return float(difference[row])
