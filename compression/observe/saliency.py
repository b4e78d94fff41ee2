"""What the loss would say to the removal of a weight or a head, from gradients: Taylor scores and SNIP's.

Sources: Molchanov et al. 2019, arXiv:1906.10771, equation 8; Lee et al. 2019, arXiv:1810.02340, equation 5;
Michel et al. 2019, arXiv:1905.10650, equation 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from compression.data.batches import DeviceRows
from compression.models.watch import evaluating, hooked

Weighted = tuple[dict[str, Tensor], Tensor, Tensor | None]  # batch, label, and how much each row counts
GRADIENT_BYTES = 512 << 20  # of activations that a batch may keep until its gradient is known
KEPT_STATES = 20  # vectors of a place that a block keeps: projections, norms, sums, and a network four times as wide


def gradient_scores(model: nn.Module, weights: dict[str, Tensor], rows: DeviceRows, *, criterion: str,
                    loss: Callable[..., Tensor], batch_size: int, n_batches: int,
                    generator: torch.Generator) -> dict[str, Tensor]:
    """Score of every weight over batches drawn from `rows`; nothing is written into the model.

    "taylor": the mean of (gradient · weight)² over the batches, the squared change of the loss to first order;
    "snip": |mean gradient · weight|. The model is judged as it answers, dropout off.
    """
    total = {path: torch.zeros_like(weight) for path, weight in weights.items()}
    needed = [weight.requires_grad for weight in weights.values()]
    for weight in weights.values():
        weight.requires_grad_(True)
    try:
        with evaluating(model):
            for batch, label, counts in _drawn(rows, batch_size, n_batches, generator):
                mean = loss(model(batch), label, counts)
                found = torch.autograd.grad(mean, list(weights.values()), allow_unused=True)
                for (path, weight), gradient in zip(weights.items(), found, strict=True):
                    if gradient is not None:
                        term = gradient * weight.detach()
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
            for batch, label, counts in _by_length(rows, attentions, batch_size * n_batches, generator):
                mean = loss(model(batch), label, counts)
                found = torch.autograd.grad(mean * len(label), list(gates.values()))  # of each row's own loss
                for path, gradient in zip(gates, found, strict=True):
                    total[path] += gradient.abs().sum(0).cpu()
                n_rows += len(label)
        finally:
            for weight, before in needed.items():
                weight.requires_grad_(before)
    return {path: values / n_rows for path, values in total.items()}


def _by_length(rows: DeviceRows, attentions: dict[str, nn.Module], n_rows: int, generator: torch.Generator
               ) -> Iterator[Weighted]:
    """At most `n_rows` rows, none twice, in batches whose activations fit into GRADIENT_BYTES; long lists together."""
    index = torch.randperm(len(rows), generator=generator)[:n_rows].to(rows.label.device)
    lists = [values for values in rows.inputs.values() if values.ndim == 2]
    places = max((values.shape[1] for values in lists), default=1)
    if lists:
        filled = sum((values[index] != 0).sum(1) for values in lists)
        index = index[filled.argsort(stable=True)]
    width = max(module.query.in_features for module in attentions.values())
    heads = max(module.heads for module in attentions.values())
    # what a layer keeps of a row for its gradient: a dozen states of each place, some wider, and its attention weights
    row_bytes = 4 * len(attentions) * max(1, len(lists)) * (KEPT_STATES * places * width + 3 * heads * places * places)
    for part in index.split(max(1, GRADIENT_BYTES // row_bytes)):
        yield *rows.take(part), rows.weight_of(part)


def _drawn(rows: DeviceRows, batch_size: int, n_batches: int, generator: torch.Generator
           ) -> Iterator[Weighted]:
    """Batches of rows drawn with putting back, their labels and weights."""
    for _ in range(n_batches):
        index = torch.randint(len(rows), (min(batch_size, len(rows)),), generator=generator)
        index = index.to(rows.label.device)
        yield *rows.take(index), rows.weight_of(index)
