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


def gradient_scores(model: nn.Module, weights: dict[str, Tensor], rows: DeviceRows, *, criterion: str,
                    loss: Callable[[Tensor, Tensor], Tensor], batch_size: int, n_batches: int,
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
            for batch, label in _drawn(rows, batch_size, n_batches, generator):
                found = torch.autograd.grad(loss(model(batch), label), list(weights.values()), allow_unused=True)
                for (path, weight), gradient in zip(weights.items(), found, strict=True):
                    if gradient is not None:
                        term = gradient * weight.detach()
                        total[path] += term.square() if criterion == "taylor" else term
    finally:
        for weight, before in zip(weights.values(), needed, strict=True):
            weight.requires_grad_(before)
    return {path: (values / n_batches).abs() for path, values in total.items()}


def head_scores(model: nn.Module, attentions: dict[str, nn.Module], rows: DeviceRows, *,
                loss: Callable[[Tensor, Tensor], Tensor], batch_size: int, n_batches: int,
                generator: torch.Generator) -> dict[str, Tensor]:
    """Path of each attention → (H,): mean over drawn rows of |change of the row's loss with a gate on the head|.

    The gate multiplies what a head gives to `out` and stands at 1. Source: Michel et al. 2019, equation 2.
    """
    gates: dict[str, Tensor] = {}
    total = {path: torch.zeros(module.heads) for path, module in attentions.items()}

    def gate(path: str, _: nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
        """The input of `out` (B, L, H·W) times a gate of 1 for each row and head, left behind in `gates`."""
        answers, heads = given[0], attentions[path].heads
        gates[path] = torch.ones(len(answers), heads, device=answers.device, requires_grad=True)
        return (answers * gates[path].repeat_interleave(answers.shape[-1] // heads, 1).unsqueeze(1),)

    outs = {path: module.out for path, module in attentions.items()}
    with evaluating(model), hooked(outs, gate, before=True):
        for batch, label in _drawn(rows, batch_size, n_batches, generator):
            mean = loss(model(batch), label)
            found = torch.autograd.grad(mean * len(label), list(gates.values()))  # of each row's own loss
            for path, gradient in zip(gates, found, strict=True):
                total[path] += gradient.abs().mean(0).cpu()
    return {path: values / n_batches for path, values in total.items()}


def _drawn(rows: DeviceRows, batch_size: int, n_batches: int, generator: torch.Generator
           ) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """Batches of rows drawn with putting back, and their labels."""
    for _ in range(n_batches):
        index = torch.randint(len(rows), (min(batch_size, len(rows)),), generator=generator)
        yield rows.take(index.to(rows.label.device))
