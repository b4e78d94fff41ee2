"""What trains dense layers through the rounding they are stored with."""

from __future__ import annotations

from torch import nn

from compression.layers.dense.learned_linear import FORMS, LearnedLinear
from compression.models.structure import replace
from compression.spec.hook import Hook


class DenseRoundingHook(Hook):
    """At the start layers of codes become trainable ones with their float weights back, at the end codes again.

    `linears`: path → the float layer as it was before it was quantised. One that a later step replaced is left alone.
    Every epoch is scored on rounded weights and inputs, so that the best one is the best as it is stored.
    """

    def __init__(self, linears: dict[str, nn.Linear]) -> None:
        self.linears = linears

    def on_start(self, model: nn.Module, total_steps: int) -> None:
        present = dict(model.named_modules())
        for path, linear in self.linears.items():
            stored = present.get(path)
            form = FORMS.get(type(stored))
            if form is None or (stored.out_features, stored.in_features) != tuple(linear.weight.shape):
                continue
            learned = form(linear, stored).to(stored.scale.device)
            replace(model, path, learned.train(stored.training))

    def on_end(self, model: nn.Module) -> None:
        for path, module in list(model.named_modules()):
            if path in self.linears and isinstance(module, LearnedLinear):
                replace(model, path, module.as_stored().train(module.training))
