"""GRU and LSTM operators as torch's layers: gates in another order, weights that an exporter arranges in the graph.

ONNX stacks the gates of a GRU as update, reset, hidden and those of an LSTM as input, output, forget, cell; torch as
reset, update, new and as input, forget, cell, output. Legend: D directions, G gates, H width of the state, L length.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compression.models.onnx.operators import OPERATORS
from compression.models.onnx.steps import Constant, Step
from compression.models.onnx.values import Ints, Value, constant_value, tensor

RECURRENT = {"GRU": nn.GRU, "LSTM": nn.LSTM}
_GATES = {"GRU": (1, 0, 2), "LSTM": (0, 2, 3, 1)}  # place in ONNX of each gate in torch's order
_ACTIVATIONS = {"GRU": ["sigmoid", "tanh"], "LSTM": ["sigmoid", "tanh", "tanh"]}
_CUT_OR_JOINED = {"Slice", "Concat", "Unsqueeze", "Squeeze", "Reshape", "Transpose", "Identity"}
_ZERO_STAYS = {"Expand", "Slice", "Transpose", "Unsqueeze", "Squeeze", "Reshape", "Identity", "Concat"}
_DEPTH = 12  # operators between a stored weight and the layer


def with_stored_weights(steps: list[Step], constants: dict[str, Constant]) -> list[Step]:
    """The steps with each recurrent layer's weights in `constants` and its states left out where they are zeros."""
    if not any(step.operator in RECURRENT for step in steps):
        return steps
    graph, kept = _Arranged(steps, constants), []
    for step in steps:
        if step.operator in RECURRENT:
            names = [*step.inputs, *[""] * 8][:8]
            base = graph.stored_behind(names[1])
            for place in (1, 2, 3):
                names[place] = graph.constant(names[place])
            for place in (5, 6):
                names[place] = "" if graph.is_zero(names[place]) else names[place]
            step = replace(step, inputs=tuple(names), attributes=step.attributes | {"stored_as": base})
        kept.append(step)
    return kept


def why_not_recurrent(step: Step, constants: dict[str, Constant]) -> str:
    """Why a GRU or LSTM is none of torch's; empty where it is."""
    a, names = step.attributes, step.inputs
    plain = _ACTIVATIONS[step.operator] * (2 if a.get("direction") == "bidirectional" else 1)
    if [_text(one).lower() for one in a.get("activations", plain)] != plain:
        return "its gates have other activations than torch's"
    if a.get("direction", "forward") not in ("forward", "bidirectional"):
        return "it reads backwards only"
    if step.operator == "GRU" and a.get("linear_before_reset", 0) != 1:
        return "its reset gate comes before the product (linear_before_reset=0), which torch's GRU doesn't have"
    if a.get("layout", 0) or a.get("input_forget", 0) or "clip" in a:
        return "it has layout, clip or input_forget set"
    if names[4] or names[7]:
        return "it has lengths for each row, or peepholes"
    found = [constants[name].array if name in constants else None for name in names[1:4]]
    if found[0] is None or found[1] is None or (names[3] and found[2] is None):
        return "its weights are computed from the data"
    rows = len(_GATES[step.operator]) * int(a.get("hidden_size", 0))
    n_directions = 2 if a.get("direction") == "bidirectional" else 1
    expected = [(n_directions, rows), (n_directions, rows, a.get("hidden_size")), (n_directions, 2 * rows)]
    shapes = [found[0].shape[:2], found[1].shape, expected[2] if found[2] is None else found[2].shape]
    if found[0].ndim != 3 or shapes != expected or any(one is not None and one.dtype != np.float32 for one in found):
        return "its weights don't have the shapes of its hidden_size"
    return ""


def recurrent_layer(kind: str, values: list[Tensor]) -> nn.Module:
    """torch's layer of weights (D, G·H, I), recurrent weights (D, G·H, H) and biases (D, 2·G·H)."""
    n_directions, _, n_in = values[0].shape
    with torch.device("meta"):
        layer = RECURRENT[kind](n_in, values[1].shape[2], bias=len(values) > 2, bidirectional=n_directions == 2)
    state = {}
    for direction, ending in zip(range(n_directions), ("", "_reverse"), strict=False):
        state[f"weight_ih_l0{ending}"] = _in_torch_order(kind, values[0][direction])
        state[f"weight_hh_l0{ending}"] = _in_torch_order(kind, values[1][direction])
        if len(values) > 2:
            for name, half in zip(("ih", "hh"), values[2][direction].chunk(2), strict=True):
                state[f"bias_{name}_l0{ending}"] = _in_torch_order(kind, half)
    layer.load_state_dict(state, assign=True)
    return layer


def recurrent_state(step: Step) -> tuple[str, ...]:
    """The names of the states a layer starts from; none where they are zeros."""
    states = step.inputs[5:6 if step.operator == "GRU" else 7]
    return states if any(states) else ()


def run_recurrent(layer: nn.Module, given: list[Value]) -> tuple[Tensor, ...]:
    """(L, B, I) and the first states → every state (L, D, B, H), and the last ones (D, B, H)."""
    x, *states = [None if value is None else tensor(value) for value in given]
    if len(states) == 2:
        zeros = torch.zeros_like(next(state for state in states if state is not None))
        hx: Any = tuple(zeros if state is None else state for state in states)
    else:
        hx = states[0] if states else None
    out, last = layer(x) if hx is None else layer(x, hx)
    length, rows, width = out.shape
    n_directions = 2 if layer.bidirectional else 1
    every = out.reshape(length, rows, n_directions, width // n_directions).transpose(1, 2)
    return (every, *last) if isinstance(last, tuple) else (every, last)


def layer_path(step: Step) -> str:
    """Where the layer stood in the model that was exported, by its weight's or its node's name."""
    stored = re.fullmatch(r"(.+)\.weight_ih_l(\d+)(_reverse)?", step.attributes.get("stored_as", ""))
    scope = re.fullmatch(rf"/(?:.+/)?([^/]+)/{step.operator}(?:_(\d+))?", step.name)  # as the TorchScript exporter does
    found = stored or scope
    if not found:
        return step.operator.lower()
    return found[1] + (f"_l{found[2]}" if found[2] and int(found[2]) else "")


def _in_torch_order(kind: str, stacked: Tensor) -> Tensor:
    gates = stacked.chunk(len(_GATES[kind]))
    return torch.cat([gates[place] for place in _GATES[kind]]).contiguous()


class _Arranged:
    """What a graph cuts and joins from stored tensors; each value is looked at once, in bounded bytes."""

    def __init__(self, steps: list[Step], constants: dict[str, Constant]) -> None:
        self.constants = constants
        self.made_by = {name: step for step in steps for name in step.outputs}
        self.room = 4 * sum(constant.array.nbytes for constant in constants.values())
        self.values: dict[str, Value] = {}
        self.zeros: dict[str, bool] = {}

    def stored_behind(self, name: str) -> str:
        """The first stored tensor that a weight is arranged from, or the last name on the way to it."""
        for _ in range(_DEPTH):
            if name in self.constants or name not in self.made_by or not self.made_by[name].inputs:
                return name
            name = self.made_by[name].inputs[0]
        return name

    def constant(self, name: str) -> str:
        """The name of a constant that holds a value, made where the graph arranges it; `name` itself elsewhere."""
        if not name or name in self.constants:
            return name
        value = self._value(name, _DEPTH)
        if not isinstance(value, Tensor):
            return name
        array = value.contiguous().numpy()
        known = f"arranged:{array.shape}:{hashlib.sha256(array).hexdigest()}"  # equal ones are one layer's
        self.constants.setdefault(known, Constant(array, True))
        return known

    def _value(self, name: str, depth: int) -> Value:
        if name in self.constants:
            return constant_value(self.constants[name].array)
        if name not in self.values:
            self.values[name] = self._made(name, depth) if depth else None
        return self.values[name]

    def _made(self, name: str, depth: int) -> Value:
        step = self.made_by.get(name)
        if step is None or step.operator not in _CUT_OR_JOINED:
            return None
        given = [self._value(one, depth - 1) if one else None for one in step.inputs]
        if any(value is None for value, one in zip(given, step.inputs, strict=True) if one):
            return None
        if step.operator == "Concat":  # the others are views
            self.room -= sum(value.numel() * value.element_size() for value in given if isinstance(value, Tensor))
        if self.room < 0 or all(isinstance(value, Ints) for value in given):
            return None
        return OPERATORS[step.operator](given, step.attributes)

    def is_zero(self, name: str, depth: int = _DEPTH) -> bool:
        """Whether every number of a value is zero, whatever its shape."""
        if name in self.constants:
            return not self.constants[name].array.any()
        if name not in self.zeros:
            step = self.made_by.get(name)
            self.zeros[name] = step is not None and depth > 0 and self._makes_zeros(step, depth)
        return self.zeros[name]

    def _makes_zeros(self, step: Step, depth: int) -> bool:
        if step.operator == "ConstantOfShape":
            return not np.asarray(step.attributes.get("value", 0)).any()
        read = step.inputs if step.operator == "Concat" else step.inputs[:1]
        return step.operator in _ZERO_STAYS and all(self.is_zero(one, depth - 1) for one in read)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
