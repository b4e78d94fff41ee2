"""What the loss would say to a weight's removal, from its gradient: Taylor scores and SNIP's.

Sources: Molchanov et al. 2019, arXiv:1906.10771, equation 8; Lee et al. 2019, arXiv:1810.02340, equation 5.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from compression.train.batches import DeviceRows


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
