"""Which steps of an ONNX graph are layers, and the layer of torch that each is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compression.models.onnx.recurrent import (
    RECURRENT,
    layer_path,
    recurrent_layer,
    recurrent_state,
    why_not_recurrent,
)
from compression.models.onnx.steps import Constant, Step
from compression.models.onnx.values import Unsupported
from compression.models.onnx.windows import window

_SAME_AXES = {"Relu", "LeakyRelu", "Elu", "Sigmoid", "Tanh", "Gelu", "Clip", "Dropout", "Identity", "Add", "Mul",
              "BatchNormalization", "MaxPool", "AveragePool", "HardSwish"}


@dataclass(frozen=True)
class Candidate:
    """A step that could be a leaf: its kind, the constants it would hold, and what else makes two of them one leaf."""

    kind: str
    names: tuple[str, ...]
    options: tuple[Any, ...] = ()
    path: str = field(default="", compare=False)  # where the leaf goes; else by the name of its first constant


def candidate_of(step: Step, constants: dict[str, Constant], n_axes: dict[str, int]) -> Candidate | None:
    """The leaf a step could be, or None. `n_axes`: of the values behind convolutions. Raises Unsupported."""
    names, a = step.inputs, step.attributes

    def stored(place: int, *ranks: int) -> bool:
        array = constants[names[place]].array if place < len(names) and names[place] in constants else None
        return array is not None and array.dtype == np.float32 and array.ndim in ranks

    def weight_and_bias(n_outputs: int) -> tuple[str, ...]:
        """The names of a weight and its bias, or of the weight alone; none where the bias is no vector of them."""
        if len(names) < 3 or not names[2]:
            return names[1:2]
        return names[1:3] if stored(2, 1) and constants[names[2]].array.shape == (n_outputs,) else ()

    if step.operator in RECURRENT:
        reason = why_not_recurrent(step, constants)
        if reason:
            raise Unsupported(f"operator {step.operator} (node {step.name!r}) can't be read: {reason}")
        held = tuple(name for name in names[1:4] if name)
        return Candidate(step.operator, held, (a["hidden_size"],), layer_path(step))
    if step.operator == "Gather" and stored(0, 2) and a.get("axis", 0) == 0 and names[1] not in constants:
        return Candidate("Embedding", (names[0],))
    if step.operator in {"Gemm", "MatMul"} and stored(1, 2) and names[0] not in constants:
        has_bias = len(names) > 2 and bool(names[2])
        plain = a.get("alpha", 1.0) == 1.0 and (not has_bias or a.get("beta", 1.0) == 1.0) and not a.get("transA", 0)
        held = weight_and_bias(constants[names[1]].array.shape[0 if a.get("transB", 0) else 1])
        return Candidate("Linear", held, (bool(a.get("transB", 0)),)) if plain and held else None
    if step.operator == "Conv" and stored(1, 3, 4) and names[0] not in constants:
        shape = constants[names[1]].array.shape
        held, options = weight_and_bias(shape[0]), _conv_options(a, shape[2:])
        return Candidate("Conv", held, options) if held and options else None
    if step.operator == "BatchNormalization" and all(stored(place, 1) for place in range(1, 5)):
        if a.get("training_mode", 0):
            return None
        kind = "BatchNorm2d" if n_axes.get(names[0]) == 4 else "BatchNorm1d"
        return Candidate(kind, names[1:5], (a.get("epsilon", 1e-5), a.get("momentum", 0.9)))
    if step.operator == "LayerNormalization" and stored(1, 1) and (len(names) < 3 or stored(2, 1)):
        if a.get("axis", -1) != -1 or len(step.outputs) > 1:
            return None
        return Candidate("LayerNorm", names[1:], (a.get("epsilon", 1e-5),))
    return None


def _conv_options(a: dict[str, Any], widths: tuple[int, ...]) -> tuple[Any, ...] | None:
    """Strides, padding, dilations and groups; None where the padding differs between the sides, or isn't read."""
    try:
        strides, dilations, pads = window(a, list(widths))
    except Unsupported:  # said with operator and node when it is run
        return None
    starts, ends = tuple(pads[:len(strides)]), tuple(pads[len(strides):])
    return (tuple(strides), starts, tuple(dilations), a.get("group", 1)) if starts == ends else None


def axes_behind_windows(steps: list[Step], constants: dict[str, Constant]) -> dict[str, int]:
    """How many axes the values have that come out of convolutions, up to operators that may change it."""
    found: dict[str, int] = {}
    for step in steps:
        if step.operator == "Conv" and step.inputs[1] in constants:
            found[step.outputs[0]] = constants[step.inputs[1]].array.ndim
        elif step.operator in _SAME_AXES and step.inputs[0] in found:
            found[step.outputs[0]] = found[step.inputs[0]]
    return found


def inputs_of_leaf(step: Step, candidate: Candidate) -> tuple[str, ...]:
    """What the leaf reads besides what it holds: one value, and the states a recurrent layer starts from."""
    if candidate.kind in RECURRENT:
        return (step.inputs[0], *recurrent_state(step))
    return (step.inputs[1] if candidate.kind == "Embedding" else step.inputs[0],)


def leaf_of(candidate: Candidate, constants: dict[str, Constant]) -> nn.Module:
    """The layer with the stored values in it."""
    arrays = [np.asarray(constants[name].array) for name in candidate.names]
    values = [torch.from_numpy(array if array.ndim > 1 else array.copy()) for array in arrays]
    if candidate.kind in RECURRENT:
        return recurrent_layer(candidate.kind, values)
    with torch.device("meta"):
        leaf = _empty_leaf(candidate, values)
    if candidate.kind == "Linear" and not candidate.options[0]:
        values[0] = values[0].t().contiguous()
    names = ("weight", "bias")
    if candidate.kind.startswith("BatchNorm"):
        names = ("weight", "bias", "running_mean", "running_var")
    state = dict(zip(names, values, strict=False))
    if candidate.kind.startswith("BatchNorm"):
        state["num_batches_tracked"] = torch.zeros((), dtype=torch.int64)
    leaf.load_state_dict(state, assign=True)
    return leaf


def _empty_leaf(candidate: Candidate, values: list[Tensor]) -> nn.Module:
    first, has_bias = values[0], len(values) > 1
    if candidate.kind == "Embedding":
        return nn.Embedding(*first.shape)
    if candidate.kind == "Linear":
        n_in, n_out = first.shape[::-1] if candidate.options[0] else first.shape
        return nn.Linear(n_in, n_out, bias=has_bias)
    if candidate.kind == "Conv":
        layer_class = nn.Conv1d if first.dim() == 3 else nn.Conv2d
        strides, padding, dilations, groups = candidate.options
        return layer_class(first.shape[1] * groups, first.shape[0], tuple(first.shape[2:]), strides, padding,
                           dilations, groups, bias=has_bias)
    if candidate.kind.startswith("BatchNorm"):
        layer_class = nn.BatchNorm2d if candidate.kind == "BatchNorm2d" else nn.BatchNorm1d
        return layer_class(len(first), eps=candidate.options[0], momentum=1 - candidate.options[1])
    return nn.LayerNorm(len(first), eps=candidate.options[0], bias=has_bias)
