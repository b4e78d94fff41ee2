"""Watch layers while batches pass through a model, which is left as it was.

    watch_inputs(model, {"mlp.0": linear}, batches, lambda path, layer, rows: print(path, rows.shape))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Dropout off and statistics fixed while the block runs; each module's mode is put back."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def hooked(layers: Mapping[str, nn.Module], hook: Callable[..., Any], *, before: bool = False) -> Iterator[None]:
    """hook(path, layer, inputs, output) after each layer while the block runs, or hook(path, layer, inputs) before it.

    What the hook returns takes the place of the output or the inputs, as with torch's own hooks.
    """
    def bound(path: str) -> Callable[..., Any]:
        return lambda *given: hook(path, *given)

    handles = [layer.register_forward_pre_hook(bound(path)) if before else layer.register_forward_hook(bound(path))
               for path, layer in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def watch_inputs(model: nn.Module, layers: Mapping[str, nn.Module], batches: Iterable[dict[str, Tensor]],
                 see: Callable[[str, nn.Module, Tensor], None]) -> None:
    """Run the batches as the model answers, dropout off; see(path, layer, rows) for what enters each layer.

    A layer that no row of a batch reaches is not seen.
    """
    def look(path: str, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0].numel():
            see(path, layer, inputs[0])

    with evaluating(model), hooked(layers, look, before=True):
        for batch in batches:
            model(batch)
