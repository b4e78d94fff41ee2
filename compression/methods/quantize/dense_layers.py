"""Which dense layers quantisation replaces: decided by shapes alone, for a model and for its estimate alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from compression.layers.stored_shapes import dense_tensors
from compression.spec.records import Layer, Part, Tensor

PARTS = (Part.DENSE, Part.INTERACTION, Part.OUTPUT)


class Leaf(NamedTuple):
    """What decides: `shape` is (out, in) of a dense layer."""

    name: str
    kind: str
    part: Part
    shape: tuple[int, ...]


def reasons_to_skip(leaves: Iterable[Leaf], *, min_features: int, skip_output: bool) -> dict[str, str | None]:
    """Name of each leaf of PARTS → why it stays in float, or None where it is quantised.

    The output layer is the dense layer whose part says so; where none does, the last one of the model.
    """
    found = [leaf for leaf in leaves if leaf.part in PARTS]
    dense = [leaf for leaf in found if leaf.kind == "Linear"]
    output = {leaf.name for leaf in dense if leaf.part is Part.OUTPUT} or {leaf.name for leaf in dense[-1:]}
    return {leaf.name: _reason(leaf, leaf.name in output and skip_output, min_features) for leaf in found}


def _reason(leaf: Leaf, is_kept_output: bool, min_features: int) -> str | None:
    if leaf.kind != "Linear":
        return f"{leaf.kind} is no dense layer of float weights"
    if is_kept_output:
        return "it is the output layer: its rounding would go straight into the score"
    if min(leaf.shape) < min_features:
        return f"{min(leaf.shape)} features are fewer than min_features ({min_features})"
    return None


def leaf_of(layer: Layer) -> Leaf:
    return Leaf(layer.name, layer.kind, layer.part, layer.shape)


def tensors_of(layer: Layer, *, bias: str) -> tuple[Tensor, ...]:
    """What the quantised layer stores: weights, a scale an output, and its bias as `bias`, where it has one."""
    n_out, n_in = layer.shape
    has_bias = any(tensor.name.split(".")[-1] == "bias" for tensor in layer.tensors)
    return dense_tensors(n_in, n_out, bias=bias if has_bias else None)


def n_kept(n_layers: int, share: float) -> int:
    """How many of the layers stay in float: at least one, where a share is asked for at all."""
    return min(n_layers, max(1, round(n_layers * share))) if share > 0 else 0


def estimated(layers: tuple[Layer, ...], *, kind: str, bias: str, min_features: int, skip_output: bool,
              keep_float: float = 0.0) -> tuple[Layer, ...]:
    """The layers with the chosen dense ones as `kind`.

    Which of them stay in float is known once they are measured: here, those that would save most.
    """
    reasons = reasons_to_skip(map(leaf_of, layers), min_features=min_features, skip_output=skip_output)
    made = {layer.name: layer.model_copy(update={"kind": kind, "tensors": tensors_of(layer, bias=bias)})
            for layer in layers if reasons.get(layer.name, "not dense") is None}
    saved = {layer.name: layer.size_bytes - made[layer.name].size_bytes for layer in layers if layer.name in made}
    for name in sorted(saved, key=lambda name: -saved[name])[:n_kept(len(saved), keep_float)]:
        del made[name]
    return tuple(made.get(layer.name, layer) for layer in layers)
