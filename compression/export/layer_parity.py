"""Hold each layer that rounds its input against the exported file, alone, on the very input which it had there.

A rounding layer turns a difference of 1e-7 that crosses a boundary into a whole step, and the layers behind it turn a
step into many: through thirty layers torch differs from itself by 0.06 of a score when its inputs move by 1e-7. Scores
alone can't tell that from a fault. So torch walks along the values of the file: what enters a rounding layer is
compared with what entered it there, then replaced by it; what leaves it likewise. Every part of the model is held
against the file in this way, and nothing is carried on from one to the next.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from compression.export.layer_values import Call, find_calls, write_traced
from compression.models.watch import hooked
from compression.spec.errors import ExportError
from compression.spec.records import Target
from compression.spec.runtime import RUNTIMES

FLOAT_SHARE = 1e-4  # of the largest value that enters a layer: what float32 between two rounding layers explains
STEP_SHARE = 5e-3  # of an output's range over the rows: single steps and sums in 16 bits. A scale × 1.02 is 1e-2
TINY = torch.finfo(torch.float32).tiny
LEAST_RANGE = 2e-3  # of the largest value that leaves a layer, for outputs that hardly change over the rows


def rounding_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Path of each layer that rounds what enters it."""
    return {path: module for path, module in model.named_modules() if getattr(module, "rounds_activations", False)}


class Walked(NamedTuple):
    """Scores of torch along the file's values, scores of the file in the same run, the largest error of a layer."""

    expected: np.ndarray
    got: np.ndarray
    layer_error: float


class Walk:
    """torch's hooks on a model that walks along the values of a file. `error`: the largest share of a range so far."""

    def __init__(self, calls: list[Call], values: np.ndarray, path: Path) -> None:
        self.calls, self.values, self.place, self.path, self.error = iter(calls), values, 0, path, 0.0

    def enter(self, path: str, layer: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor]:
        call = next(self.calls, None)
        if call is None or call.path != path:
            raise ExportError(f"torch calls {path} where {self.path.name} calls {call.path if call else 'no layer'}.")
        there = self.take(given[0])
        apart, largest = float((given[0] - there).abs().max()), float(there.abs().max())
        if not apart <= FLOAT_SHARE * largest:
            raise ExportError(f"{self.path.name} disagrees with torch on what enters {path}: by {apart:.2g} of values "
                              f"up to {largest:.2g}; at most {FLOAT_SHARE:g} of them is rounding. "
                              "The file is not used.")
        return (there,)

    def leave(self, path: str, layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        there = self.take(output)
        columns, own = (values.reshape(-1, values.shape[-1]) for values in (there, output))
        ranges = (columns.amax(0) - columns.amin(0)).clamp(min=max(TINY, LEAST_RANGE * float(columns.abs().max())))
        shares = (columns - own).abs().amax(0) / ranges
        if not bool((shares <= STEP_SHARE).all()):
            place = int(shares.nan_to_num(torch.inf).argmax())
            raise ExportError(f"{self.path.name} disagrees with torch in {path}: for the same input, its output "
                              f"{place} differs by {float(shares[place]):.2g} of its range; at most {STEP_SHARE:g} is "
                              "rounding. The file is not used. On a CPU without VNNI set n_bits of int8 dense layers "
                              "to 7.")
        self.error = max(self.error, float(shares.max()))
        return there

    def take(self, like: Tensor) -> Tensor:
        """The next values of the file, in the form of torch's own."""
        part = self.values[self.place:self.place + like.numel()]
        self.place += like.numel()
        if len(part) != like.numel():
            raise ExportError(f"{self.path.name} has other values inside than torch: {len(part)} instead of "
                              f"{like.numel()}.")
        return torch.from_numpy(part).to(like.device, like.dtype).reshape(like.shape)


def walk_along(model: nn.Module, path: Path, batch: dict[str, np.ndarray], answer: Callable[[], np.ndarray], *,
               target: Target) -> Walked:
    """Hold the model against the file at `path` layer by layer; `answer` gives torch's scores of the batch.

    Raises ExportError for the first layer that differs by more than rounding, and where a layer isn't found.
    """
    import onnx

    layers, file = rounding_layers(model), onnx.load(path, load_external_data=False)
    calls, score = find_calls(file.graph, layers), file.graph.output[0].name
    copy = write_traced(path, file, [value for call in calls for value in (call.enters, call.leaves)] + [score])
    try:
        with closing(RUNTIMES[target.runtime].open(copy, **target.session)) as session:
            values = np.asarray(session.answer(batch)).reshape(-1)
    finally:
        copy.unlink()
    walk = Walk(calls, values, path)
    with hooked(layers, walk.enter, before=True), hooked(layers, walk.leave):
        expected = answer()
    return Walked(expected, values[walk.place:], walk.error)
