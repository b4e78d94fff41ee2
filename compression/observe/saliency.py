"""What the loss would say to the removal of a weight or a head, from gradients: Taylor scores and SNIP's.

Sources: Molchanov et al. 2019, arXiv:1906.10771, equation 8; Lee et al. 2019, arXiv:1810.02340, equation 5;
Michel et al. 2019, arXiv:1905.10650, equation 2.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from compression.data.batches import DeviceRows


def gradient_scores(model: nn.Module, weights: dict[str, Tensor], rows: DeviceRows, *, criterion: str,
                    loss: Callable[[Tensor, Tensor], Tensor], batch_size: int, n_batches: int,
                    generator: torch.Generator) -> dict[str, Tensor]:
    """Score of every weight over batches drawn from `rows`; nothing is written into the model.

    "taylor": the mean of (gradient · weight)² over the batches, the squared change of the loss to first order;
    "snip": |mean gradient · weight|. The model is judged as it answers, dropout off.
    """
    was_training = model.training
    model.eval()
    total = {path: torch.zeros_like(weight) for path, weight in weights.items()}
    needed = [weight.requires_grad for weight in weights.values()]
    for weight in weights.values():
        weight.requires_grad_(True)
    try:
        for _ in range(n_batches):
            index = torch.randint(len(rows), (min(batch_size, len(rows)),), generator=generator)
            batch, label = rows.take(index.to(rows.label.device))
            found = torch.autograd.grad(loss(model(batch), label), list(weights.values()), allow_unused=True)
            for (path, weight), gradient in zip(weights.items(), found, strict=True):
                if gradient is not None:
                    term = gradient * weight.detach()
                    total[path] += term.square() if criterion == "taylor" else term
    finally:
        for weight, before in zip(weights.values(), needed, strict=True):
            weight.requires_grad_(before)
        model.train(was_training)
    return {path: (values / n_batches).abs() for path, values in total.items()}


def head_scores(model: nn.Module, attentions: dict[str, nn.Module], rows: DeviceRows, *,
                loss: Callable[[Tensor, Tensor], Tensor], batch_size: int, n_batches: int,
                generator: torch.Generator) -> dict[str, Tensor]:
    """Path of each attention → (H,): mean over drawn rows of |change of the row's loss with a gate on the head|.

    The gate multiplies what a head gives to `out` and stands at 1. Source: Michel et al. 2019, equation 2.
    """
    was_training = model.training
    model.eval()
    gates: dict[str, Tensor] = {}
    total = {path: torch.zeros(module.heads) for path, module in attentions.items()}
    handles = [module.out.register_forward_pre_hook(_gate(path, module.heads, gates))
               for path, module in attentions.items()]
    try:
        for _ in range(n_batches):
            index = torch.randint(len(rows), (min(batch_size, len(rows)),), generator=generator)
            batch, label = rows.take(index.to(rows.label.device))
            mean = loss(model(batch), label)
            found = torch.autograd.grad(mean * len(label), list(gates.values()))  # of each row's own loss
            for path, gradient in zip(gates, found, strict=True):
                total[path] += gradient.abs().mean(0).cpu()
    finally:
        for handle in handles:
            handle.remove()
        model.train(was_training)
    return {path: values / n_batches for path, values in total.items()}


def _gate(path: str, heads: int, gates: dict[str, Tensor]) -> Callable[[nn.Module, tuple[Tensor]], tuple[Tensor]]:
    """A hook before `out`: its input (B, L, H·W) times a gate of 1 for each row and head, left behind in `gates`."""

    def multiply(_: nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
        answers = given[0]
        gates[path] = torch.ones(len(answers), heads, device=answers.device, requires_grad=True)
        return (answers * gates[path].repeat_interleave(answers.shape[-1] // heads, 1).unsqueeze(1),)

    return multiply
