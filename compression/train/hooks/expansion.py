"""Dense and convolution layers that train as several matrices and end as the one they stand for.

Sources: Arora, Cohen & Hazan 2018, arXiv:1802.06509 (a product of matrices trains as if its gradient were
preconditioned); Guo et al. 2020, arXiv:1811.10495 (ExpandNets); Ding et al. 2021, arXiv:2101.03697 (RepVGG: parallel
branches, merged). Here: starting from a trained weight. Factors share its singular values evenly; added branches start
silent, with a learned scale an output in place of each branch's BatchNorm, so that the merged layer is always exact.
Legend: O outputs, I inputs (times the kernel in a convolution), N parts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, linear, pad

from compression.models.structure import replace
from compression.spec.hook import Hook


class ProductWeight(nn.Module):
    """weight = A₁ · A₂ · … · A_N, balanced: A_jᵀ A_j = A_{j+1} A_{j+1}ᵀ, the singular values shared evenly."""

    def __init__(self, weight: Tensor, n_parts: int, generator: torch.Generator) -> None:
        super().__init__()
        self.shape = weight.shape
        u, values, v = torch.linalg.svd(weight.detach().flatten(1).double(), full_matrices=False)
        share = torch.diag(values.pow(1 / n_parts))
        factors = [u @ share, *[share] * (n_parts - 2), share @ v]
        self.factors = nn.ParameterList(nn.Parameter(factor.to(weight)) for factor in factors)

    def forward(self) -> Tensor:
        merged = self.factors[0]
        for factor in self.factors[1:]:
            merged = merged @ factor
        return merged.reshape(self.shape)


class BranchWeight(nn.Module):
    """weight = W + Σ_k s_k ⊙ W_k + s ⊙ identity: N − 1 branches of random W_k and, in square layers, the identity.

    The scales (O,) start at zero. In a convolution the branches are of length one, at the middle of the kernel.
    """

    def __init__(self, weight: Tensor, n_parts: int, generator: torch.Generator) -> None:
        super().__init__()
        self.main = nn.Parameter(weight.detach().clone())
        n_out, n_in = weight.shape[:2]
        drawn = [torch.randn(n_out, n_in, generator=generator).to(weight) / n_in**0.5 for _ in range(n_parts - 1)]
        self.branches = nn.ParameterList(nn.Parameter(branch) for branch in drawn)
        self.scales = nn.ParameterList(nn.Parameter(torch.zeros_like(weight[:, 0].reshape(n_out, -1)[:, 0]))
                                       for _ in range(n_parts - 1 + (n_out == n_in)))

    def forward(self) -> Tensor:
        added = sum(scale.unsqueeze(1) * branch for scale, branch in zip(self.scales, self.branches, strict=False))
        if len(self.scales) > len(self.branches):
            added = added + torch.diag(self.scales[-1])
        if self.main.ndim == 2:
            return self.main + added
        before = (self.main.shape[2] - 1) // 2
        return self.main + pad(added.unsqueeze(2), (before, self.main.shape[2] - 1 - before))


WEIGHTS = {"product": ProductWeight, "branches": BranchWeight}


class ExpandedLayer(nn.Module):
    """A dense or convolution layer whose weight is made of parts in every pass; `merged` gives it back as it was."""

    def __init__(self, layer: nn.Linear | nn.Conv1d, form: str, n_parts: int, generator: torch.Generator) -> None:
        super().__init__()
        self.plain = (layer,)  # in a tuple: its weight does not train
        self.bias = layer.bias
        self.parts = WEIGHTS[form](layer.weight, n_parts, generator)

    @property
    def out_features(self) -> int:
        return self.plain[0].weight.shape[0]

    def forward(self, x: Tensor) -> Tensor:
        layer = self.plain[0]
        if isinstance(layer, nn.Linear):
            return linear(x, self.parts(), self.bias)
        return conv1d(x, self.parts(), self.bias, layer.stride, layer.padding, layer.dilation)

    def merged(self) -> nn.Linear | nn.Conv1d:
        layer = self.plain[0]
        layer.weight = nn.Parameter(self.parts().detach().clone())
        layer.bias = self.bias
        return layer.train(self.training)


def expandable(layer: nn.Module) -> bool:
    """Plain dense layers and one-dimensional convolutions without groups, padded with zeros."""
    return type(layer) is nn.Linear or (type(layer) is nn.Conv1d and layer.groups == 1
                                        and layer.padding_mode == "zeros")


class ExpansionHook(Hook):
    """Expands the layers at `paths` when a training starts and merges them when it ends.

    A layer that a later step replaced by something else stays as it is.
    """

    def __init__(self, paths: tuple[str, ...], *, form: str, n_parts: int, seed: int) -> None:
        self.paths = paths
        self.form, self.n_parts, self.seed = form, n_parts, seed

    def on_start(self, model: nn.Module, total_steps: int) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        present = dict(model.named_modules())
        for path in self.paths:
            if expandable(present.get(path)):
                expanded = ExpandedLayer(present[path], self.form, self.n_parts, generator)
                replace(model, path, expanded.train(present[path].training))

    def on_end(self, model: nn.Module) -> None:
        for path, module in list(model.named_modules()):
            if path in self.paths and isinstance(module, ExpandedLayer):
                replace(model, path, module.merged())
