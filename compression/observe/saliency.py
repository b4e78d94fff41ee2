"""What the loss would say to the removal of a weight or a head, from gradients: Taylor scores and SNIP's.

Sources: Molchanov et al. 2019, arXiv:1906.10771, equation 8; Lee et al. 2019, arXiv:1810.02340, equation 5;
Michel et al. 2019, arXiv:1905.10650, equation 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from compression.data.batches import DeviceRows
from compression.data.rows_that_fit import rows_that_fit
from compression.models.watch import evaluating, hooked


def gradient_scores(model: nn.Module, weights: dict[str, Tensor], rows: DeviceRows, *, criterion: str,
                    loss: Callable[..., Tensor], batch_size: int, n_batches: int,
                    generator: torch.Generator) -> dict[str, Tensor]:
    """Score of every weight over batches drawn from `rows`; nothing is written into the model.

    "taylor": the mean of (gradient · weight)² over the batches, the squared change of the loss to first order;
    "snip": |mean gradient · weight|. The model is judged as it answers, dropout off. A batch whose rows don't fit at
    once is asked in parts, whose gradients add up to its own.
    """
    total = {path: torch.zeros_like(weight) for path, weight in weights.items()}
    needed = [weight.requires_grad for weight in weights.values()]
    for weight in weights.values():
        weight.requires_grad_(True)
    try:
        with evaluating(model):
            fitting = rows_that_fit(model, rows.inputs, batch_size, gradient=True)
            for index in _drawn(rows, batch_size, n_batches, generator):
                for path, gradient in _gradients(model, weights, rows, index.split(fitting), loss).items():
                    term = gradient * weights[path].detach()
                    total[path] += term.square() if criterion == "taylor" else term
    finally:
        for weight, before in zip(weights.values(), needed, strict=True):
            weight.requires_grad_(before)
    return {path: (values / n_batches).abs() for path, values in total.items()}


def head_scores(model: nn.Module, attentions: dict[str, nn.Module], rows: DeviceRows, *,
                loss: Callable[..., Tensor], batch_size: int, n_batches: int,
                generator: torch.Generator) -> dict[str, Tensor]:
    """Path of each attention → (H,): mean over drawn rows of |change of the row's loss with a gate on the head|.

    At most batch_size · n_batches rows are drawn, none twice. The gate multiplies what a head gives to `out` and stands
    at 1. Source: Michel et al. 2019, equation 2.
    """
    gates: dict[str, Tensor] = {}
    total = {path: torch.zeros(module.heads) for path, module in attentions.items()}

    def gate(path: str, _: nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
        """The input of `out` (B, L, H·W) times a gate of 1 for each row and head, left behind in `gates`."""
        answers, heads = given[0], attentions[path].heads
        gates[path] = torch.ones(len(answers), heads, device=answers.device, requires_grad=True)
        return (answers * gates[path].repeat_interleave(answers.shape[-1] // heads, 1).unsqueeze(1),)

    outs = {path: module.out for path, module in attentions.items()}
    needed = {weight: weight.requires_grad for weight in model.parameters()}
    n_rows = 0
    with evaluating(model), hooked(outs, gate, before=True):
        try:
            for weight in needed:  # the gates alone are asked: no gradient of a weight is computed or kept for
                weight.requires_grad_(False)
            fitting = rows_that_fit(model, rows.inputs, batch_size * n_batches, gradient=True)
            for part in _by_length(rows, batch_size * n_batches, generator).split(fitting):
                batch, label = rows.take(part)
                mean = loss(model(batch), label, rows.weight_of(part))
                found = torch.autograd.grad(mean * len(label), list(gates.values()))  # of each row's own loss
                for path, gradient in zip(gates, found, strict=True):
                    total[path] += gradient.abs().sum(0).cpu()
                n_rows += len(label)
        finally:
            for weight, before in needed.items():
                weight.requires_grad_(before)
    return {path: values / n_rows for path, values in total.items()}


def _gradients(model: nn.Module, weights: dict[str, Tensor], rows: DeviceRows, parts: tuple[Tensor, ...],
               loss: Callable[..., Tensor]) -> dict[str, Tensor]:
    """The gradient of the mean loss of all parts, for each weight that it reaches."""
    total: dict[str, Tensor] = {}
    n_rows = sum(map(len, parts))
    for part in parts:
        batch, label = rows.take(part)
        mean = loss(model(batch), label, rows.weight_of(part)) * (len(part) / n_rows)
        found = torch.autograd.grad(mean, list(weights.values()), allow_unused=True)
        for path, gradient in zip(weights, found, strict=True):
            if gradient is not None:
                total[path] = total[path] + gradient if path in total else gradient
    return total


def _by_length(rows: DeviceRows, n_rows: int, generator: torch.Generator) -> Tensor:
    """At most `n_rows` rows, none twice, long lists together."""
    index = torch.randperm(len(rows), generator=generator)[:n_rows].to(rows.label.device)
    lists = [values for values in rows.inputs.values() if values.ndim == 2]
    if not lists:
        return index
    filled = sum((values[index] != 0).sum(1) for values in lists)
    return index[filled.argsort(stable=True)]


def _drawn(rows: DeviceRows, batch_size: int, n_batches: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Batches of rows drawn with putting back."""
    for _ in range(n_batches):
        index = torch.randint(len(rows), (min(batch_size, len(rows)),), generator=generator)
        yield index.to(rows.label.device)
