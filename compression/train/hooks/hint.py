"""Hidden layers of the student that learn to say what the teacher's say, through projections that training drops.

Source: Romero et al. 2015, arXiv:1412.6550 (FitNets): ½ ‖teacher's hint − r(student's layer)‖², learned
in a stage of its own. Here: every chosen layer at once and beside the other losses; outputs before the activation;
the error is a share of the variance of the teacher's outputs, so that a weight means the same at every layer.
Legend: B batch, S units of a student's layer, T units of a teacher's.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from compression.models.structure import part_of
from compression.spec.hook import Hook
from compression.spec.records import Part


def hidden_layers(model: nn.Module) -> list[str]:
    """Paths of the dense layers between the vectors and the output, in order; a layer that was split counts once."""
    found: list[str] = []

    def walk(module: nn.Module, path: str) -> None:
        if getattr(module, "out_features", 1) > 1:
            if part_of(model, path) is Part.DENSE:
                found.append(path)
            return
        for name, child in module.named_children():
            walk(child, f"{path}.{name}" if path else name)

    walk(model, "")
    return found


def pairs_of(student: list[str], teacher: list[str], layers: str) -> tuple[tuple[str, str], ...]:
    """(student's layer, teacher's layer): of the same name where all agree, else at the same share of the depth."""
    if not student or not teacher:
        return ()
    if layers == "last":
        return ((student[-1], teacher[-1]),)
    if student == teacher:
        return tuple(zip(student, teacher, strict=True))
    last = len(teacher) - 1
    return tuple((path, teacher[round((place + 1) / len(student) * last)]) for place, path in enumerate(student))


def hint_loss(projected: Tensor, hint: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean squared error (B, T), (B, T) → scalar, as a share of the hint's variance over the batch.

    The errors of rows count by `weight`; the variance is a scale, in which all rows count alike.
    """
    variance = (hint - hint.mean(0)).square().mean()
    errors = (projected - hint).square().flatten(1).mean(1)
    return (errors if weight is None else errors * weight).mean() / (variance + 1e-6)


class HintHook(Hook):
    """loss → loss + weight · mean hint_loss over the pairs. The projections train with the model and leave it after.

    `pairs` name layers of the student and of the teacher; a pair whose student's layer is gone is left out.
    """

    spans_rows = True

    def __init__(self, teacher: nn.Module, pairs: tuple[tuple[str, str], ...], *, weight: float, seed: int) -> None:
        self.teacher = teacher
        self.pairs = pairs
        self.weight = weight
        self.seed = seed
        self.projections = nn.ModuleList()
        self.live: list[tuple[str, str]] = []
        self.said: dict[str, Tensor] = {}  # by the student's layers in the step that is being made
        self.handles: list[torch.utils.hooks.RemovableHandle] = []
        self.name = f"hint_projections_{seed}"  # where the model holds them while it trains

    def on_start(self, model: nn.Module, total_steps: int) -> None:
        device = next(model.parameters()).device
        self.teacher = copy.deepcopy(self.teacher).to(device).eval().requires_grad_(False)
        present = dict(model.named_modules())
        self.live = [pair for pair in self.pairs if getattr(present.get(pair[0]), "out_features", 0)]
        generator = torch.Generator().manual_seed(self.seed)
        self.projections = nn.ModuleList(
            _projection(present[path].out_features, self.teacher.get_submodule(hint).out_features, generator)
            for path, hint in self.live).to(device)
        model.add_module(self.name, self.projections)
        self.handles = [model.register_forward_pre_hook(self._listen)]

    def _listen(self, model: nn.Module, inputs: tuple) -> None:
        """Before the first pass, when every hook has made of the layers what trains."""
        self.handles.pop().remove()
        self.handles = [model.get_submodule(path).register_forward_hook(self._noting(path)) for path, _ in self.live]

    def loss(self, batch: dict[str, Tensor], logits: Tensor, label: Tensor, loss: Tensor,
             weight: Tensor | None = None) -> Tensor:
        if not self.live:
            return loss
        hints = self._hints(batch)
        errors = [hint_loss(projection(self.said[path].float()), hints[hint], weight)
                  for projection, (path, hint) in zip(self.projections, self.live, strict=True)]
        self.said.clear()
        return loss + self.weight * torch.stack(errors).mean()

    def on_end(self, model: nn.Module) -> None:
        for handle in self.handles:
            handle.remove()
        self.said.clear()
        delattr(model, self.name)

    def _noting(self, path: str):
        def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if module.training:
                self.said[path] = output
        return note

    @torch.no_grad()
    def _hints(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The teacher's layer → its outputs (B, T)."""
        found: dict[str, Tensor] = {}
        handles = [self.teacher.get_submodule(path).register_forward_hook(
            lambda module, inputs, output, path=path: found.update({path: output.float()}))
            for path in {hint for _, hint in self.live}]
        try:
            self.teacher(batch)
        finally:
            for handle in handles:
                handle.remove()
        return found


def _projection(n_in: int, n_out: int, generator: torch.Generator) -> nn.Linear:
    """A linear regressor from the student's units to the teacher's: the identity between layers of the same width."""
    layer = nn.Linear(n_in, n_out, device="meta")
    start = torch.eye(n_in) if n_in == n_out else torch.randn(n_out, n_in, generator=generator) / n_in**0.5
    layer.weight, layer.bias = nn.Parameter(start), nn.Parameter(torch.zeros(n_out))
    return layer
