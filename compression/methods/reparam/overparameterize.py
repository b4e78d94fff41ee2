"""Over-parameterised layers: one matrix trains as several, and is one matrix again when the training ends.

Sources: Arora, Cohen & Hazan 2018, arXiv:1802.06509; Guo et al. 2020, arXiv:1811.10495; Ding et al. 2021,
arXiv:2101.03697. Here: from a trained weight, within the next fine-tuning alone. The file weighs what it weighed: what
this can give is quality at the same size, never bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from compression.spec.effects import DENSE, NO_PARTS, Effect, Effects
from compression.spec.method import Applied, Context, ExportForm, Gain, Need, Params, Stage, method
from compression.spec.records import Part

if TYPE_CHECKING:
    from torch import nn

PARTS = (Part.DENSE, Part.INTERACTION, Part.OUTPUT)


class OverparameterizeParams(Params):
    """Of what kind and how many the parts are."""

    form: Literal["product", "branches"] = Field(
        "product", description="A product of matrices, or a sum of branches with a learned scale for each output.")
    n_parts: int = Field(2, ge=1, le=4, description="Matrices that a layer trains as; 1 leaves it as it is.")


def _effects(params: OverparameterizeParams) -> Effects:
    return Effects(makes={Effect.BRANCHES: DENSE if params.n_parts > 1 else NO_PARTS}, needs_float=DENSE)


@method("reparam.overparameterize", OverparameterizeParams, title="Over-parameterised training",
        summary="Trains each dense layer as several matrices and merges them into one at the end.",
        stage=Stage.DURING_TRAINING, parts=set(PARTS), needs={Need.LABELS, Need.FINE_TUNE}, export=ExportForm.PLAIN,
        gains={Gain.QUALITY},
        source="Arora et al. 2018, arXiv:1802.06509; Guo et al. 2020, arXiv:1811.10495; Ding et al. 2021, "
               "arXiv:2101.03697",
        no_op={"n_parts": 1},
        effects=_effects)
def overparameterize(model: "nn.Module", params: OverparameterizeParams, ctx: Context) -> Applied:
    """Leave the model as it is and give the next fine-tuning the hook that expands and merges its layers."""
    from compression.models.structure import leaves, part_of
    from compression.train.hooks.expansion import ExpansionHook, expandable

    applied, paths = Applied(model), []
    what = "a product" if params.form == "product" else "a sum of branches"
    for path, leaf in leaves(model):
        if part_of(model, path) not in PARTS:
            continue
        if not expandable(leaf):
            applied.skipped.append(ctx.skip(path, f"{type(leaf).__name__} is no plain dense or convolution layer"))
        elif params.n_parts == 1:
            applied.skipped.append(ctx.skip(path, "n_parts is 1: a layer of one part is the layer itself"))
        else:
            size = 4 * sum(tensor.numel() for tensor in leaf.parameters())
            paths.append(path)
            applied.changes.append(ctx.change(
                path, size, size,
                f"trains as {what} of {params.n_parts} matrices, merged into one at the end; saves no bytes"))
    if paths:
        applied.hooks.append(ExpansionHook(tuple(paths), form=params.form, n_parts=params.n_parts,
                                           seed=ctx.seed * 1000 + ctx.step))
    return applied



@overparameterize.named
def _named(params: OverparameterizeParams) -> str:
    return f"{params.n_parts}-part training"
