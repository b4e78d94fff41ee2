"""Head pruning: whole heads of attention go, with their rows of query, key and value and columns of the output.

Source: Michel et al. 2019, arXiv:1905.10650 (a head is worth how much the loss moves with a gate on it, equation 2).
Here: the heads of each layer are ranked among themselves, so that what is left is known by shapes alone; at least one
head stays in each layer. Without data, heads are ranked by the norms of their weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from compression.spec.effects import Effect, Effects
from compression.spec.errors import RecipeError
from compression.spec.method import Applied, Context, ExportForm, Gain, Need, Params, Stage, method
from compression.spec.records import Layer, ModelDescription, Part

if TYPE_CHECKING:
    import torch
    from torch import nn

    from compression.models.uploaded.blocks import Attention

ROWS, COLUMNS = ("query", "key", "value"), "out"
ALL_KEPT = "all {} heads are kept"


class HeadsParams(Params):
    """How many heads go, and how they are chosen."""

    ratio: float = Field(0.5, ge=0, le=0.95, multiple_of=0.01,
                         description="Share of heads removed in each layer of attention; one always stays.")
    criterion: Literal["taylor", "norm"] = Field(
        "taylor", description="What a head is worth: how much the loss on training rows moves with a gate on it, or "
                              "the norms of its value and output weights, as a control.")
    n_batches: int = Field(20, ge=1, le=500, description="Training rows that taylor asks, in units of 512; none twice.")


def kept_heads(heads: int, params: HeadsParams) -> int:
    """Heads left of `heads`: at least one."""
    return max(1, round(heads * (1 - params.ratio)))


HEADS = frozenset({Part.DENSE})  # attention stands among the dense layers


@method("prune.heads", HeadsParams, title="Head pruning",
        summary="Removes whole heads of attention layers, those the loss needs least.",
        stage=Stage.AFTER_TRAINING, parts={Part.DENSE}, needs={Need.LABELS}, export=ExportForm.PLAIN,
        gains={Gain.SMALLER, Gain.FASTER},
        source="Michel et al. 2019, arXiv:1905.10650",
        tiny={"n_batches": 2}, no_op={"ratio": 0.0},
        effects=Effects(makes={Effect.SMALLER: HEADS}, needs_float=HEADS))
def prune_heads(model: "nn.Module", params: HeadsParams, ctx: Context) -> Applied:
    """Cut the projections of every attention to its best heads. Raises RecipeError where taylor has no dataset."""
    from compression.models.structure import attentions, leaves, part_of

    applied = Applied(model)
    found = dict(attentions(model))
    chosen = {path: attention for path, attention in found.items()
              if kept_heads(attention.heads, params) < attention.heads}
    scores = _scores(model, chosen, params, ctx)
    told: dict[str, str] = {}
    before = {path: _bytes(leaf) for path, leaf in leaves(model)}
    for path, attention in chosen.items():
        heads, kept = attention.heads, kept_heads(attention.heads, params)
        keep = scores[path].argsort(descending=True, stable=True)[:kept].sort().values
        cut(model, path, keep)
        told |= {f"{path}.{name}": f"{kept} of {heads} heads kept" for name in (*ROWS, COLUMNS)}
    for path, leaf in leaves(model):
        if path in told:
            applied.changes.append(ctx.change(path, before[path], _bytes(leaf), told[path]))
        elif part_of(model, path) is Part.DENSE:
            owner = found.get(path.rpartition(".")[0])
            applied.skipped.append(ctx.skip(path, ALL_KEPT.format(owner.heads) if owner else
                                            "no projection of an attention whose heads can be told apart"))
    return applied


def cut(model: "nn.Module", path: str, keep: "torch.Tensor") -> None:
    """Put narrower projections in place: rows of query, key and value, columns of the output; keep (heads left,)."""
    import torch

    from compression.methods.prune.channels import linear
    from compression.models.structure import replace

    attention: Attention = model.get_submodule(path)
    rows = (keep.unsqueeze(1) * attention.width + torch.arange(attention.width, device=keep.device)).flatten()
    for name in ROWS:
        old = attention.get_submodule(name)
        place = rows.to(old.weight.device)
        replace(model, f"{path}.{name}", linear(old.weight[place], None if old.bias is None else old.bias[place]))
    out = attention.get_submodule(COLUMNS)
    replace(model, f"{path}.{COLUMNS}", linear(out.weight[:, rows.to(out.weight.device)], out.bias))
    attention.heads = len(keep)


def _scores(model: "nn.Module", chosen: "dict[str, Attention]", params: HeadsParams,
            ctx: Context) -> "dict[str, torch.Tensor]":
    """Path of each attention → what each of its heads is worth, (heads,)."""
    from compression.data.batches import to_device
    from compression.observe.saliency import head_scores
    from compression.train.losses import task_loss

    if params.criterion == "norm" or not chosen:
        return {path: norms(attention) for path, attention in chosen.items()}
    if ctx.dataset is None:
        raise RecipeError("Head pruning asks the loss on training rows; run the recipe with a dataset, or set "
                          "criterion to norm.")
    return head_scores(model, chosen, to_device(ctx.dataset.splits["train"], ctx.device),
                       loss=task_loss(ctx.dataset.description.task), batch_size=512,
                       n_batches=params.n_batches, generator=ctx.generator)


def norms(attention: "Attention") -> "torch.Tensor":
    """(heads,): the norm of each head's value weights times that of its output weights."""
    value, out = attention.value.weight.detach().double(), attention.out.weight.detach().double()
    each = (attention.heads, attention.width, -1)
    return value.reshape(each).flatten(1).norm(dim=1) * out.T.reshape(each).flatten(1).norm(dim=1)


def _bytes(leaf: "nn.Module") -> int:
    if hasattr(leaf, "stored_tensors"):
        return sum(tensor.size_bytes for tensor in leaf.stored_tensors())
    return 4 * sum(tensor.numel() for tensor in leaf.state_dict().values() if tensor.is_floating_point())


@prune_heads.named
def _named(params: HeadsParams) -> str:
    return f"{params.ratio * 100:g} % fewer heads"


@prune_heads.fits
def _fits(description: ModelDescription) -> str:
    if any(layer.heads > 1 for layer in description.layers):
        return ""
    return "This model has no attention with several heads; in an uploaded graph heads can't be told apart."



@prune_heads.estimate
def _estimate(layers: tuple[Layer, ...], params: HeadsParams) -> tuple[Layer, ...]:
    from compression.methods.prune.channels import reshaped

    by_name = {layer.name: layer for layer in layers}
    for path in {layer.name.rpartition(".")[0] for layer in layers if layer.heads}:
        names = [f"{path}.{name}" for name in (*ROWS, COLUMNS)]
        if any(name not in by_name or by_name[name].kind != "Linear" for name in names):
            continue
        heads, inner = by_name[names[0]].heads, by_name[names[0]].shape[0]
        kept = kept_heads(heads, params)
        for name in names:
            out, wide = by_name[name].shape
            shape = (out, inner // heads * kept) if name == names[-1] else (inner // heads * kept, wide)
            by_name[name] = reshaped(by_name[name], shape).model_copy(update={"heads": kept})
    return tuple(by_name[layer.name] for layer in layers)
