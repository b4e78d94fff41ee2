"""Folded BatchNorm: with fixed statistics it is a scale and a shift, and the dense layer beside it takes both in.

Sources: Ioffe & Szegedy 2015, arXiv:1502.03167 (a BatchNorm at inference is affine); Jacob et al. 2018,
arXiv:1712.05877 (folded into the weights, so that what is quantised is what is multiplied). Here: into the layer
before it, or into the one behind it where nothing else lies between. Neither the export nor ONNX Runtime does this
for a dense layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from compression.spec.effects import DENSE, Effect, Effects
from compression.spec.method import Applied, Context, ExportForm, Gain, Params, Stage, method
from compression.spec.records import Layer, ModelDescription, Part, Tensor

if TYPE_CHECKING:
    from torch import nn

PARTS = frozenset({Part.DENSE, Part.INTERACTION, Part.OUTPUT})
HOSTS = ("Linear", "Conv1d")


class FoldParams(Params):
    """Nothing to choose: the scores stay what they are."""


class Fold(NamedTuple):
    """A BatchNorm and the layer that takes it in, by path."""

    norm: str
    host: str
    is_behind: bool  # the norm stands behind its host


@method("reparam.fold", FoldParams, title="Folded BatchNorm",
        summary="Puts each BatchNorm into the dense layer beside it: fewer operators and bytes, the same scores.",
        stage=Stage.AFTER_TRAINING, parts=set(PARTS), needs=set(), export=ExportForm.PLAIN,
        gains={Gain.SMALLER, Gain.FASTER},
        source="Jacob et al. 2018, arXiv:1712.05877; Ioffe & Szegedy 2015, arXiv:1502.03167",
        no_op="it has no settings; a model without BatchNorm stays as it is",
        effects=Effects(makes={Effect.NO_NORMS: DENSE}, needs_float=DENSE))
def reparam_fold(model: "nn.Module", params: FoldParams, ctx: Context) -> Applied:
    """Take every BatchNorm out whose neighbour can hold it; those that stay say why."""
    from torch import nn

    from compression.layers.dense.batch_norm import with_norm_before, with_norm_behind
    from compression.models.structure import leaves, part_of, replace

    applied = Applied(model)
    before = {path: _bytes(leaf) for path, leaf in leaves(model) if part_of(model, path) in PARTS}
    kinds = {path: type(leaf).__name__ for path, leaf in leaves(model)}
    folds, reasons = _folds(model, ctx)
    told = {}
    for fold in folds:
        norm, host = model.get_submodule(fold.norm), model.get_submodule(fold.host)
        replace(model, fold.host, with_norm_behind(host, norm) if fold.is_behind else with_norm_before(norm, host))
        replace(model, fold.norm, nn.Identity())
        told |= {fold.norm: f"folded into {fold.host}", fold.host: f"holds {fold.norm}; its scores stay what they are"}
    for path, size in before.items():
        if path in told:
            after = 0 if kinds[path] == "BatchNorm1d" else _bytes(model.get_submodule(path))
            applied.changes.append(ctx.change(path, size, after, told[path]))
        else:
            default = "no BatchNorm stands beside it" if kinds[path] in HOSTS else f"{kinds[path]} is no BatchNorm"
            applied.skipped.append(ctx.skip(path, reasons.get(path, default)))
    return applied


def _folds(model: "nn.Module", ctx: Context) -> tuple[list[Fold], dict[str, str]]:
    """What can be folded in a model, and why the other BatchNorms stay."""
    folds, reasons = [], {}
    for path, (norm, behind, ahead) in _neighbours(model, ctx).items():
        hosts = [(name, name == behind) for name in (behind, ahead) if name]
        whys = [_why_not(model, norm, name, is_behind) for name, is_behind in hosts]
        chosen = next((host for host, why in zip(hosts, whys, strict=True) if not why), None)
        if norm.running_mean is None:
            reasons[path] = "it keeps no statistics, so that it is no fixed scale"
        elif chosen is None:
            reasons[path] = "; ".join(whys) or "no dense layer stands directly before or behind it"
        else:
            folds.append(Fold(path, *chosen))
    return folds, reasons


def _why_not(model: "nn.Module", norm: "nn.Module", host: str, is_behind: bool) -> str:
    layer = model.get_submodule(host)
    name = type(layer).__name__
    if name not in HOSTS:
        return f"{name} holds no float weights that could take it in"
    if name == "Conv1d" and not is_behind and (layer.padding != (0,) or layer.groups > 1):
        return f"{host} pads with zeros or works in groups, which a BatchNorm before it doesn't see"
    width = layer.weight.shape[0 if is_behind else 1]
    return "" if width == norm.num_features else f"{host} has {width} units, the BatchNorm {norm.num_features}"


def _neighbours(model: "nn.Module", ctx: Context) -> "dict[str, tuple[nn.Module, str, str]]":
    """Path of each BatchNorm → (itself, the layer that alone feeds it, the layer that alone reads it)."""
    from torch import nn

    if hasattr(model, "steps"):  # a graph that was read: what lies beside a layer is there to be looked at
        from compression.models.onnx.paths import neighbours

        beside = neighbours(model, ctx.signature)
    else:
        beside = {}
        for chain in _chains(model):
            paths = ["", *(path for path, _ in chain), ""]
            beside |= {path: (paths[place], paths[place + 2]) for place, (path, _) in enumerate(chain)}
    found = {path: module for path, module in model.named_modules() if isinstance(module, nn.BatchNorm1d)}
    return {path: (norm, *beside.get(path, ("", ""))) for path, norm in found.items()}


def _chains(model: "nn.Module") -> "Iterator[list[tuple[str, nn.Module]]]":
    """(path, module) of every plain sequence, with those inside of it unrolled, without what does nothing any more."""
    from torch import nn

    inside: set[str] = set()

    def unrolled(path: str, chain: nn.Sequential) -> Iterator[tuple[str, nn.Module]]:
        inside.add(path)
        for name, module in chain.named_children():
            inner = f"{path}.{name}" if path else name
            if isinstance(module, nn.Sequential):
                yield from unrolled(inner, module)
            elif not isinstance(module, nn.Dropout | nn.Identity):
                yield inner, module

    for path, module in model.named_modules():
        if isinstance(module, nn.Sequential) and path not in inside:
            yield list(unrolled(path, module))


def _bytes(leaf: "nn.Module") -> int:
    return 4 * sum(tensor.numel() for tensor in leaf.state_dict().values() if tensor.is_floating_point())


@reparam_fold.fits
def _fits(description: ModelDescription) -> str:
    return "" if any(layer.kind == "BatchNorm1d" for layer in description.layers) else "This model has no BatchNorm."


@reparam_fold.named
def _named(params: FoldParams) -> str:
    return "BatchNorm folded"



@reparam_fold.estimate
def _estimate(layers: tuple[Layer, ...], params: FoldParams) -> tuple[Layer, ...]:
    """By names and widths: the numbers of a sequence tell neighbours; elsewhere the layer before it in the model."""
    hosts = {}
    for place, layer in enumerate(layers):
        if layer.kind == "BatchNorm1d" and len(layer.tensors) == 4:
            behind, ahead = layers[max(0, place - 1)], layers[min(len(layers) - 1, place + 1)]
            hosts[layer.name] = next((host.name for host, axis, step in ((behind, 0, 1), (ahead, 1, -1))
                                      if _could_hold(host, layer, axis, step)), None)
    with_bias = {host for host in hosts.values() if host}
    return tuple(_biased(layer) if layer.name in with_bias else layer
                 for layer in layers if not hosts.get(layer.name))


def _could_hold(host: Layer, norm: Layer, axis: int, step: int) -> bool:
    chain, _, here = norm.name.rpartition(".")
    beside = f"{chain}.{int(here) - step}".removeprefix(".") if here.isdigit() else ""
    near = f"{host.name}.".startswith(f"{beside}.") if beside else host.name.rpartition(".")[0] == chain
    return near and host.kind in HOSTS and host.shape[axis] == norm.shape[0]


def _biased(layer: Layer) -> Layer:
    if any(len(tensor.shape) == 1 for tensor in layer.tensors):
        return layer
    bias = Tensor(name=f"{layer.name}.bias", dtype="float32", shape=layer.shape[:1])
    return layer.model_copy(update={"tensors": (*layer.tensors, bias)})
