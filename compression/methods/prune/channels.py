"""Channel pruning: hidden units of MLPs are really removed, with all that belongs to them.

A unit goes with its row in the layer, its entry in the BatchNorm behind it and its column in the next layer.
Sources: Li et al. 2017, arXiv:1608.08710 (norm of a filter); Liu et al. 2017, arXiv:1708.06519 (BatchNorm's scale).
Molchanov et al. 2019, arXiv:1906.10771 (Taylor scores, summed over a unit's weights).
Here: importance is the norm of the unit's incoming weights times |scale| of its BatchNorm. A layer whose output
feeds something else than the next layer of its MLP keeps its width.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from compression.observe.gradients import training_scores
from compression.spec.effects import Effect, Effects
from compression.spec.method import Applied, Context, ExportForm, Gain, Params, Stage, method
from compression.spec.records import Layer, Part, Tensor

if TYPE_CHECKING:
    import torch
    from torch import nn


class ChannelsParams(Params):
    """How many hidden units go, and how they are chosen."""

    ratio: float = Field(0.5, ge=0, le=0.95, multiple_of=0.01,
                         description="Share of hidden units removed in each layer.")
    criterion: Literal["l1", "l2", "taylor"] = Field(
        "l2", description="What a unit is worth: the norm of its incoming weights times its BatchNorm scale, or what "
                          "the loss on training rows says (gradient × weight).")
    round_to: int = Field(4, ge=1, le=64, description="Widths are rounded up to a multiple of this; 8 or 16 suit "
                                                      "vector instructions.")


PARTS = frozenset({Part.DENSE, Part.OUTPUT})  # an output layer closes an MLP: its inputs may go


@dataclass(frozen=True)
class Link:
    """Two dense layers in a row, so that the first one's units can go. Names are dotted paths."""

    first: str
    between: tuple[str, ...]  # norms between them
    second: str


def kept_width(width: int, params: ChannelsParams) -> int:
    """Units left of `width`: at least one, rounded up to a multiple of `round_to`, never more than there are."""
    kept = max(1, round(width * (1 - params.ratio)))
    return min(width, -(-kept // params.round_to) * params.round_to)


def links(layers: "list[tuple[str, str, Part, tuple[int, ...]]]") -> list[Link]:
    """Pairs of neighbouring dense layers by (path, kind, part, shape): the same numbered chain, only norms between.

    The two factors of a low-rank layer, numbered one level deeper, are no pair: their units are ranks. Of named layers
    two are a pair where they widen and narrow again, as the feed-forward part of a transformer does.
    """
    found: list[Link] = []
    first: str | None = None
    between: list[str] = []
    wide: tuple[int, ...] = ()
    for path, kind, part, shape in layers:
        if part not in PARTS or kind not in ("Linear", "BatchNorm1d"):
            first, between = None, []
        elif kind == "BatchNorm1d":
            between.append(path)
        else:
            numbered = first and _chain(first) == _chain(path) is not None and not _factors(first, path)
            if numbered or (first and _feed_forward(first, wide, path, shape)):
                found.append(Link(first, tuple(between), path))
            first, between, wide = path, [], shape
    return found


def _feed_forward(first: str, wide: tuple[int, ...], second: str, shape: tuple[int, ...]) -> bool:
    named = _chain(first) is None and _chain(second) is None and first.rpartition(".")[0] == second.rpartition(".")[0]
    return named and wide == shape[::-1] and wide[0] > wide[1]


def _chain(path: str) -> str | None:
    """The MLP a numbered layer stands in: `mlp.3` and `mlp.3.1` are in `mlp`; None for a layer without a number."""
    match = re.fullmatch(r"(.*?)((?:\.\d+)+)", "." + path)
    return match.group(1).removeprefix(".") if match else None


def _factors(first: str, second: str) -> bool:
    parent = first.rpartition(".")[0]
    return parent == second.rpartition(".")[0] and parent.rpartition(".")[2].isdigit()


@method("prune.channels", ChannelsParams, title="Channel pruning",
        summary="Removes hidden units of the MLPs, so that files and products really get smaller.",
        stage=Stage.AFTER_TRAINING, parts=set(PARTS), needs=set(), export=ExportForm.PLAIN,
        gains={Gain.SMALLER, Gain.FASTER},
        source="Li et al. 2017, arXiv:1608.08710; Liu et al. 2017, arXiv:1708.06519; "
               "Molchanov et al. 2019, arXiv:1906.10771",
        tiny={"round_to": 1}, no_op={"ratio": 0.0},
        effects=Effects(makes={Effect.SMALLER: PARTS}, needs_float=PARTS))
def prune_channels(model: "nn.Module", params: ChannelsParams, ctx: Context) -> Applied:
    """Remove the least important hidden units of every MLP in the model."""
    from compression.models.structure import leaves, part_of

    found = {path: (leaf, part_of(model, path)) for path, leaf in leaves(model)}
    dense = {path: leaf for path, (leaf, part) in found.items() if part in PARTS}
    before = {path: _bytes(leaf) for path, leaf in dense.items()}
    details: dict[str, str] = {}
    reasons: dict[str, str] = {}
    linked = links([(path, type(leaf).__name__, part, _shape(leaf))
                    for path, (leaf, part) in found.items()])
    asked: dict[str, torch.Tensor] = {}  # Taylor scores of all weights, taken before the first unit goes
    for link in linked:
        width = dense[link.first].out_features
        kept = kept_width(width, params)
        reasons[link.first] = _why_not(model, link) or (f"all {width} units are kept" if kept == width else "")
        if reasons[link.first]:
            continue
        norms = [dense[path] for path in link.between]
        if params.criterion == "taylor":
            asked = asked or training_scores(model, {one.first: dense[one.first] for one in linked}, ctx,
                                             title="Channel pruning by Taylor scores")
            keep = highest(asked[link.first].double().sum(1), kept)
        else:
            keep = most_important(dense[link.first].weight, norms, kept, params.criterion)
        _narrow(model, link, keep)
        dense = {path: model.get_submodule(path) for path in dense}
        details[link.first] = f"{kept} of {width} hidden units kept"

    applied = Applied(model)
    for path, leaf in dense.items():
        if _bytes(leaf) < before[path]:
            detail = details.get(path, "follows the layer before it")
            applied.changes.append(ctx.change(path, before[path], _bytes(leaf), detail))
        else:
            applied.skipped.append(ctx.skip(path, reasons.get(path) or _kept_because(leaf)))
    return applied


def most_important(weight: "torch.Tensor", norms: "list[nn.Module]", kept: int, criterion: str) -> "torch.Tensor":
    """Indices, ascending, of the `kept` units with the largest norm of incoming weights × |BatchNorm scale|.

    weight (H, in) → (kept,) int64; ties go to the earlier unit.
    """
    score = weight.detach().double().norm(p=1 if criterion == "l1" else 2, dim=1)  # (H,)
    for norm in norms:
        score = score * norm.weight.detach().double().abs()
    return highest(score, kept)


def highest(scores: "torch.Tensor", kept: int) -> "torch.Tensor":
    """(H,) → (kept,) int64: the places of the highest scores, ascending; ties go to the earlier."""
    return scores.argsort(descending=True, stable=True)[:kept].sort().values


def _narrow(model: "nn.Module", link: Link, keep: "torch.Tensor") -> None:
    """Put narrower layers in place: rows of the first, entries of the norms, columns of the second."""
    from torch import nn

    from compression.models.structure import replace

    first, second = model.get_submodule(link.first), model.get_submodule(link.second)
    replace(model, link.first, linear(first.weight[keep], None if first.bias is None else first.bias[keep]))
    for path in link.between:
        old = model.get_submodule(path)
        new = nn.BatchNorm1d(len(keep), eps=old.eps, momentum=old.momentum).train(old.training)
        state = old.state_dict()
        new.load_state_dict({name: tensor[keep] if tensor.ndim else tensor for name, tensor in state.items()})
        replace(model, path, new.to(old.weight.device))
    replace(model, link.second, linear(second.weight[:, keep], second.bias))


def linear(weight: "torch.Tensor", bias: "torch.Tensor | None") -> "nn.Linear":
    """A dense layer of weight (out, in) that holds copies."""
    from torch import nn

    new = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    new.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        new.bias = nn.Parameter(bias.detach().clone())
    return new


def _why_not(model: "nn.Module", link: Link) -> str:
    """What stands between the layers must work on each unit alone; "" where it does."""
    from torch import nn

    if hasattr(model, "steps"):  # a graph that was read: what lies between is there to be looked at
        from compression.models.onnx.paths import why_not_alone

        return why_not_alone(model, model.steps, model.result, link.first, link.second, link.between)
    parent, names = model.get_submodule(link.first.rpartition(".")[0]), (link.first, link.second)
    if tuple(name.rpartition(".")[2] for name in names) in getattr(parent, "unit_pairs", ()):
        return ""
    each_alone = (nn.ReLU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.GELU, nn.SiLU, nn.ELU, nn.Dropout, nn.Identity)
    chain_path = _chain(link.first) or ""
    chain = model.get_submodule(chain_path)
    if not isinstance(chain, nn.Sequential):
        return "its MLP is no plain sequence of layers, so its output may feed something else"
    modules = _in_order(chain, chain_path)
    paths = [path for path, _ in modules]
    for path, module in modules[paths.index(link.first) + 1:paths.index(link.second)]:
        if path not in link.between and not isinstance(module, each_alone):
            return f"{type(module).__name__} stands between it and the next layer and mixes or weighs units"
        if path in link.between and not (module.affine and module.track_running_stats):
            return "its BatchNorm has no scale or no statistics"
    return ""


def _in_order(chain: "nn.Sequential", path: str) -> "list[tuple[str, nn.Module]]":
    from torch import nn

    found: list[tuple[str, nn.Module]] = []
    for name, module in chain.named_children():
        inner = f"{path}.{name}" if path else name
        found += _in_order(module, inner) if isinstance(module, nn.Sequential) else [(inner, module)]
    return found


def _kept_because(leaf: "nn.Module") -> str:
    from torch import nn

    if isinstance(leaf, nn.Linear):
        return "its output feeds something else than a next dense layer, so its width stays"
    return f"{type(leaf).__name__} has no hidden units of its own"


def _shape(leaf: "nn.Module") -> tuple[int, int]:
    return getattr(leaf, "out_features", 0), getattr(leaf, "in_features", 0)


def _bytes(leaf: "nn.Module") -> int:
    return 4 * sum(tensor.numel() for tensor in leaf.state_dict().values() if tensor.is_floating_point())


@prune_channels.named
def _named(params: ChannelsParams) -> str:
    return f"{params.ratio * 100:g} % fewer units"



@prune_channels.estimate
def _estimate(layers: tuple[Layer, ...], params: ChannelsParams) -> tuple[Layer, ...]:
    by_name = {layer.name: layer for layer in layers}
    for link in links([(layer.name, layer.kind, layer.part, layer.shape) for layer in layers]):
        first, second = by_name[link.first], by_name[link.second]
        kept = kept_width(first.shape[0], params)
        by_name[link.first] = reshaped(first, (kept, first.shape[1]))
        for name in link.between:
            old = by_name[name]
            tensors = tuple(Tensor(name=item.name, dtype=item.dtype, shape=(kept,)) for item in old.tensors)
            by_name[name] = old.model_copy(update={"shape": (kept,), "tensors": tensors})
        by_name[link.second] = reshaped(second, (second.shape[0], kept))
    return tuple(by_name[layer.name] for layer in layers)


def reshaped(layer: Layer, shape: tuple[int, int]) -> Layer:
    """A dense layer of another (out, in)."""
    tensors = tuple(item.model_copy(update={"shape": shape if len(item.shape) == 2 else shape[:1]})
                    for item in layer.tensors)
    return layer.model_copy(update={"shape": shape, "tensors": tensors})
