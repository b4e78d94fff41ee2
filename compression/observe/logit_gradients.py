"""How much a table's rows move the score: the mean squared gradient of the logit by what is looked up."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from compression.data.batches import to_device
from compression.data.dataset import Rows
from compression.data.rows_that_fit import FEW_ROWS, rows_that_fit
from compression.models.watch import evaluating, hooked

N_BATCHES = 4
BATCH_ROWS = 1024


def logit_gradients(model: nn.Module, rows: Rows, paths: Iterable[str],
                    random: np.random.Generator) -> dict[str, float]:
    """Path of a table → mean over looked-up values of (∂ logit / ∂ value)², over some rows drawn at random.

    An error of e² in each value of a row moves the squared logit by about that times e², times the columns.
    The model is left as it was. A table that is not reached has 0.
    """
    seen: dict[str, list[Tensor]] = {path: [] for path in paths}

    def keep(path: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        output = output.detach().requires_grad_()
        seen[path].append(output)
        return output

    layers = {path: model.get_submodule(path) for path in seen}
    sums, counts = dict.fromkeys(seen, 0.0), dict.fromkeys(seen, 0)
    with evaluating(model):
        fitting = rows_that_fit(model, to_device(rows.take(slice(0, FEW_ROWS))).inputs, BATCH_ROWS, gradient=True)
    with evaluating(model), hooked(layers, keep), torch.enable_grad():
        for _ in range(N_BATCHES):
            chosen = to_device(rows.take(random.integers(0, len(rows), min(BATCH_ROWS, len(rows)))))
            for start in range(0, len(chosen), fitting):
                batch, _ = chosen.take(slice(start, start + fitting))
                logit = model(batch)
                read = [(path, output) for path, outputs in seen.items() for output in outputs]
                found = torch.autograd.grad(logit.sum(), [output for _, output in read], allow_unused=True)
                for (path, _), gradient in zip(read, found, strict=True):
                    if gradient is not None:
                        sums[path] += float(gradient.double().square().sum())
                        counts[path] += gradient.numel()
                for outputs in seen.values():
                    outputs.clear()
    return {path: sums[path] / counts[path] if counts[path] else 0.0 for path in seen}
