"""Cross layers of low rank, as one product or as a mixture of gated experts.

Source: Wang et al. 2021, arXiv:2008.13535, DCN-Mix: W ≈ Σ_k g_k(x) U_k V_kᵀ. Here: the experts share out the
singular directions of the trained W, the strongest first, one to each in turn, and a gate of zeros starts them at
weight 1, so that the layer begins as the best matrix of its rank; fine-tuning then learns the gates. No nonlinearity
inside the experts.
Legend: N width of a cross layer, r rank over all experts, K experts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from compression.methods.factorize.svd import basis_of, factors, gram_matrix, low_rank_linear, rank_of
from compression.spec.effects import Effect, Effects
from compression.spec.method import Applied, Context, ExportForm, Gain, Params, Stage, method
from compression.spec.records import Layer, ModelDescription, Part, Tensor

if TYPE_CHECKING:
    from torch import nn


class CrossParams(Params):
    """How much of each cross layer is kept, and how many experts share it."""

    rank_ratio: float = Field(0.25, ge=0.02, le=1, multiple_of=0.01,
                              description="Rank over all experts as a share of the full rank, rounded to a multiple of "
                                          "their number.")
    n_experts: int = Field(4, ge=1, le=8, description="Experts that share the rank; 1 has no gate.")


def shared_rank(width: int, params: CrossParams) -> int:
    """The rank over all experts: a multiple of their number, at least 1 for each."""
    return params.n_experts * max(1, round(rank_of(width, width, params.rank_ratio) / params.n_experts))


def stored_numbers(width: int, rank: int, n_experts: int) -> int:
    """Both factors and, for several experts, the gate."""
    return 2 * width * rank + (n_experts * width if n_experts > 1 else 0)


def saves(width: int, params: CrossParams) -> bool:
    rank = shared_rank(width, params)
    return rank <= width and stored_numbers(width, rank, params.n_experts) < width * width


CROSSES = frozenset({Part.INTERACTION})


def _effects(params: CrossParams) -> Effects:
    gates = ("Gates start alike and learn in a fine-tuning, and none follows: a single expert is then the same "
             "function in fewer bytes")
    return Effects(makes={Effect.LOW_RANK: CROSSES}, undoes={Effect.ZEROS: CROSSES}, needs_float=CROSSES,
                   wants_training=gates if params.n_experts > 1 else "")


@method("factorize.cross", CrossParams, title="Low-rank cross layers",
        summary="Splits the cross layers of DCN v2 into thin factors, on request shared by gated experts.",
        stage=Stage.AFTER_TRAINING, parts={Part.INTERACTION}, needs=set(), export=ExportForm.PLAIN,
        gains={Gain.SMALLER, Gain.FASTER}, source="Wang et al. 2021, arXiv:2008.13535", no_op={"rank_ratio": 1.0},
        tiny={"rank_ratio": 0.25, "n_experts": 2},
        effects=_effects)
def factorize_cross(model: "nn.Module", params: CrossParams, ctx: Context) -> Applied:
    """Replace square layers that cross the inputs with themselves; every other leaf of the interaction stays."""
    from torch import nn

    from compression.models.structure import leaves, part_of, replace

    applied = Applied(model)
    for path, leaf in list(leaves(model)):
        if part_of(model, path) is not Part.INTERACTION:
            continue
        if type(leaf) is not nn.Linear or leaf.in_features != leaf.out_features:
            applied.skipped.append(ctx.skip(path, f"{type(leaf).__name__} is no square cross layer of float weights"))
            continue
        width, before = leaf.in_features, 4 * sum(tensor.numel() for tensor in leaf.parameters())
        rank = shared_rank(width, params)
        numbers = stored_numbers(width, rank, params.n_experts)
        if not saves(width, params):
            applied.skipped.append(ctx.skip(path, f"would not save bytes: {params.n_experts} experts of rank {rank} in "
                                                  f"all need {numbers:,} numbers, the matrix has {width * width:,}"))
            continue
        new, kept = split_cross(leaf, rank, params.n_experts)
        replace(model, path, new.train(leaf.training))
        experts = f" over {params.n_experts} experts" if params.n_experts > 1 else ""
        applied.changes.append(ctx.change(path, before, before - 4 * (width * width - numbers),
                                          f"rank {rank} of {width}{experts}, {kept:.1%} of the energy kept"))
    return applied


def split_cross(layer: "nn.Linear", rank: int, n_experts: int) -> "tuple[nn.Module, float]":
    """The factors of a cross layer, and how much of the squared weights they keep."""
    import torch
    from torch import nn

    from compression.layers.dense.low_rank import MixtureLinear

    weight = layer.weight.detach()
    values, basis = basis_of(gram_matrix(weight))
    # direction i goes to expert i mod K: each starts with its share of the strong ones
    order = torch.arange(rank).view(-1, n_experts).T.flatten()
    top = basis[:, :rank][:, order].to(weight)
    split = low_rank_linear(weight @ top, top.T, layer.bias)
    kept = float(values[:rank].square().sum() / values.square().sum().clamp(min=1e-300))
    if n_experts == 1:
        return split, kept
    gate = nn.Linear(layer.in_features, n_experts, bias=False, device=weight.device)
    nn.init.zeros_(gate.weight)
    return MixtureLinear(split[0], split[1], gate), kept


@factorize_cross.fits
def _fits(description: ModelDescription) -> str:
    crossed = any(_is_cross(layer) for layer in description.layers)
    return "" if crossed else "This model has no cross layers: square layers between the vectors and themselves."


def _is_cross(layer: Layer) -> bool:
    return layer.part is Part.INTERACTION and layer.kind == "Linear" and layer.shape[0] == layer.shape[1]



@factorize_cross.estimate
def _estimate(layers: tuple[Layer, ...], params: CrossParams) -> tuple[Layer, ...]:
    out: list[Layer] = []
    for layer in layers:
        out += _split(layer, params) if _is_cross(layer) and saves(layer.shape[0], params) else [layer]
    return tuple(out)


def _split(layer: Layer, params: CrossParams) -> list[Layer]:
    width = layer.shape[0]
    first, second = factors(layer, shared_rank(width, params))
    if params.n_experts == 1:
        return [first, second]
    gate = Tensor(name=f"{layer.name}.gate.weight", dtype="float32", shape=(params.n_experts, width))
    return [_renamed(first, layer, "0", "reduce"), _renamed(second, layer, "1", "expand"),
            layer.model_copy(update={"name": f"{layer.name}.gate", "shape": gate.shape, "tensors": (gate,)})]


def _renamed(factor: Layer, layer: Layer, old: str, new: str) -> Layer:
    tensors = tuple(item.model_copy(update={"name": item.name.replace(f"{layer.name}.{old}", f"{layer.name}.{new}", 1)})
                    for item in factor.tensors)
    return factor.model_copy(update={"name": f"{layer.name}.{new}", "tensors": tensors})


@factorize_cross.named
def _named(params: CrossParams) -> str:
    return f"cross rank {params.rank_ratio:.0%}"
