"""Activation-aware low rank: a dense layer loses the directions of its outputs that the data uses least.

Sources: Yuan et al. 2023, arXiv:2312.05821 (ASVD: scale the inputs by how large they are); Wang et al. 2024,
arXiv:2403.07378 (SVD-LLM: whiten them by their covariance, so that what is cut is the loss). Here: the best factors are
U Uᵀ W with U the main directions of the outputs W S, S the square root of the covariance or the scales, so that nothing
has to be inverted; and the bias takes over what the mean input loses, which both papers leave.
For tables the data's weights are the frequencies of their rows: factorize.svd with by_frequency.
Legend: O outputs, I inputs, r rank.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from compression.methods.factorize.svd import basis_of, factors, low_rank_linear, no_saving, rank_of, saves
from compression.spec.effects import DENSE, Effect, Effects
from compression.spec.method import Applied, Context, ExportForm, Gain, Need, Params, Stage, method
from compression.spec.records import Layer, Part

if TYPE_CHECKING:
    import torch
    from torch import nn

    from compression.observe.input_moments import Moments

PARTS = (Part.DENSE, Part.INTERACTION, Part.OUTPUT)


class ActivationSvdParams(Params):
    """The rank, and how the data decides what is cut."""

    rank_ratio: float = Field(0.5, ge=0.02, le=1, multiple_of=0.01, description="Rank as a share of the full rank.")
    weighting: Literal["covariance", "magnitude"] = Field(
        "covariance", description="Keep what matters most to the layer's outputs on training rows, or scale each input "
                                  "by its mean size first.")
    magnitude_power: float = Field(0.5, ge=0.1, le=1, multiple_of=0.1,
                                   description="Power of the mean size; used by magnitude.")
    n_batches: int = Field(16, ge=1, le=256, description="Batches of 512 training rows to look at.")


@method("factorize.activation_svd", ActivationSvdParams, title="Low rank by activations",
        summary="Splits dense layers into thin ones, keeping the directions that training rows use most.",
        stage=Stage.AFTER_TRAINING, parts=set(PARTS), needs={Need.CALIBRATION}, export=ExportForm.PLAIN,
        gains={Gain.SMALLER, Gain.FASTER},
        source="Yuan et al. 2023, arXiv:2312.05821; Wang et al. 2024, arXiv:2403.07378",
        tiny={"rank_ratio": 0.25, "n_batches": 2}, no_op={"rank_ratio": 1.0, "n_batches": 1},
        effects=Effects(makes={Effect.LOW_RANK: DENSE}, undoes={Effect.ZEROS: DENSE}, needs_float=DENSE))
def factorize_activation_svd(model: "nn.Module", params: ActivationSvdParams, ctx: Context) -> Applied:
    """Replace dense layers by two factors where that saves bytes. Raises RecipeError without rows to look at."""
    from torch import nn

    from compression.models.structure import leaves, part_of, replace
    from compression.observe.calibration import calibration_batches
    from compression.observe.input_moments import input_moments

    applied, chosen = Applied(model), {}
    for path, leaf in leaves(model):
        if part_of(model, path) not in PARTS:
            continue
        reason = _reason(leaf, params.rank_ratio, is_linear=type(leaf) is nn.Linear)
        if reason is None:
            chosen[path] = leaf
        else:
            applied.skipped.append(ctx.skip(path, reason))
    batches = calibration_batches(model, params.n_batches, ctx, title="Low rank by activations",
                                  instead="low rank (SVD)") if chosen else []
    found = input_moments(model, chosen, batches)
    for path, leaf in chosen.items():
        if path not in found:
            applied.skipped.append(ctx.skip(path, "no calibration row reached it"))
            continue
        rank = rank_of(*leaf.weight.shape, params.rank_ratio)
        left, right, bias, kept = split_by_data(leaf, found[path], params, rank)
        replace(model, path, low_rank_linear(left, right, bias).train(leaf.training))
        small, whole = rank * sum(leaf.weight.shape), leaf.weight.numel()
        n_bias = 0 if leaf.bias is None else len(leaf.bias)
        applied.changes.append(ctx.change(
            path, 4 * (whole + n_bias), 4 * (small + n_bias),
            f"rank {rank} of {min(leaf.weight.shape)}, {kept:.1%} of the outputs' variance kept"
            if params.weighting == "covariance" else f"rank {rank} of {min(leaf.weight.shape)}"))
    return applied


def _reason(leaf: "nn.Module", ratio: float, *, is_linear: bool) -> str | None:
    if not is_linear:
        return f"{type(leaf).__name__} holds no float matrix"
    rank = rank_of(*leaf.weight.shape, ratio)
    return None if saves(*leaf.weight.shape, rank) else no_saving(*leaf.weight.shape, rank)


def split_by_data(layer: "nn.Linear", moments: "Moments", params: ActivationSvdParams,
                  rank: int) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, float]":
    """left (O, r), right (r, I), the bias, and the share of the weighted outputs that is kept.

    With the covariance no factors of that rank, with any bias, have a smaller mean squared error of the outputs.
    """
    import torch

    weight = layer.weight.detach().cpu().double()
    centred = params.weighting == "covariance" and layer.bias is not None
    if params.weighting == "covariance":
        metric = moments.covariance if centred else moments.products / moments.n_rows
    else:
        scale = (moments.magnitudes / moments.n_rows).pow(params.magnitude_power)
        metric = torch.diag(scale.clamp(min=1e-3 * float(scale.max())).square())
    values, basis = basis_of(weight @ metric @ weight.T)  # of the outputs
    left = basis[:, :rank]
    right = left.T @ weight
    bias = None if layer.bias is None else layer.bias.detach().clone()
    if centred:
        bias = bias + ((weight - left @ right) @ moments.mean).to(bias)
    kept = float(values[:rank].square().sum() / values.square().sum().clamp(min=1e-300))
    return left.to(layer.weight), right.to(layer.weight), bias, kept


@factorize_activation_svd.estimate
def _estimate(layers: tuple[Layer, ...], params: ActivationSvdParams) -> tuple[Layer, ...]:
    out: list[Layer] = []
    for layer in layers:
        split = layer.kind == "Linear" and layer.part in PARTS
        rank = rank_of(*layer.shape, params.rank_ratio) if split else 0
        out += factors(layer, rank) if split and saves(*layer.shape, rank) else [layer]
    return tuple(out)


@factorize_activation_svd.named
def _named(params: ActivationSvdParams) -> str:
    return f"data rank {params.rank_ratio:.0%}"
