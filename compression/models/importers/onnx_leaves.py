"""Read an ONNX graph into steps, and find the layers in it: tables, dense layers, normalisations.

A matrix goes into a leaf when every use of it is that leaf. A tied table, or one that is also used as plain numbers,
stays a parameter, so that replacing a leaf never changes a computation elsewhere. Vectors are copied: exporters write
equal ones (zero biases, fresh statistics) once for all layers.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto, NodeProto
from torch import Tensor, nn

from compression.models.importers.onnx_check import read_array
from compression.models.importers.onnx_operators import OPERATORS
from compression.models.importers.onnx_origin import origins
from compression.models.importers.onnx_values import Unsupported

_MADE_BY_EXPORTERS = re.compile(r"(onnx::|val_|_|/|\d|constant)")
_CODES = (np.int8, np.uint8)
_FOLDED = {"Identity", "Transpose", "Cast", "Squeeze", "Unsqueeze"}


@dataclass(frozen=True)
class Constant:
    """A stored tensor; `is_weight` says that training may change it."""

    array: np.ndarray
    is_weight: bool


@dataclass(frozen=True)
class Step:
    """One operator, or one leaf at the dotted path `leaf`."""

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    leaf: str = ""

    def renamed(self, operator: str) -> Step:
        return replace(self, operator=operator)


@dataclass(frozen=True)
class Found:
    """The steps with leaves in them, the leaves by path, and which input each table reads."""

    steps: list[Step]
    leaves: dict[str, nn.Module]
    table_inputs: dict[str, str]


@dataclass(frozen=True)
class _Candidate:
    """A step that could be a leaf: its kind, the constants it would hold, and what else makes two of them one leaf."""

    kind: str
    names: tuple[str, ...]
    options: tuple[Any, ...] = ()


def read_constants(model: ModelProto, data: dict[str, Path]) -> dict[str, Constant]:
    """Initializers and Constant nodes by name."""
    constants = {}
    for stored in model.graph.initializer:
        array = read_array(stored, data)
        array = array if array.flags.writeable else array.copy()  # torch wants memory of its own
        is_float = array.dtype in (np.float32, np.float64, np.float16)
        constants[stored.name] = Constant(
            array, is_float and array.ndim > 0 and not _MADE_BY_EXPORTERS.match(stored.name))
    for node in model.graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = Constant(_constant_array(node), False)
    return constants


def read_steps(model: ModelProto, constants: dict[str, Constant], opset: int) -> list[Step]:
    """The operators as steps; those that only reshape constants are computed into `constants`."""
    steps = []
    uses = Counter(name for node in model.graph.node for name in node.input)
    for node in model.graph.node:
        if node.op_type == "Constant":
            continue
        if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
            raise Unsupported(f"operator {node.op_type} (node {node.name or node.output[0]!r}) is not among the "
                              f"{len(OPERATORS)} that can be read")
        if node.op_type == "Gather" and node.input[0] in constants and constants[node.input[0]].array.dtype in _CODES:
            raise Unsupported(f"{node.input[0]!r} holds integer codes, which were compressed before")
        attributes = {item.name: _attribute(item) for item in node.attribute}
        attributes |= {"opset": opset, "n_outputs": len(node.output)}
        step = Step(node.op_type, node.name or node.output[0], tuple(node.input), tuple(node.output), attributes)
        known = all(not name or name in constants for name in step.inputs)
        tied = known and any(uses[name] > 1 and constants[name].is_weight for name in step.inputs if name)
        if step.operator in _FOLDED and known and not tied:
            constants[step.outputs[0]] = _folded(step, constants)
        else:
            steps.append(step)
    return steps


def with_leaves(steps: list[Step], constants: dict[str, Constant], inputs: list[str]) -> Found:
    """Put leaves in the place of the steps that are layers."""
    steps = _dense_with_bias(steps, constants)
    candidates = [_candidate(step, constants) for step in steps]
    users: dict[str, set[_Candidate | None]] = defaultdict(set)
    for step, candidate in zip(steps, candidates, strict=True):
        for name in step.inputs:
            if name in constants:
                users[name].add(candidate if candidate and name in candidate.names else None)
    paths: dict[_Candidate, str] = {}
    leaves: dict[str, nn.Module] = {}
    made = []
    for step, candidate in zip(steps, candidates, strict=True):
        if candidate is None or any(users[name] != {candidate} for name in candidate.names
                                    if constants[name].array.ndim > 1):
            made.append(step)
            continue
        if candidate not in paths:
            paths[candidate] = _free_path(candidate.names[0], leaves)
            leaves[paths[candidate]] = _leaf(candidate, constants)
        data = step.inputs[1] if candidate.kind == "Embedding" else step.inputs[0]
        made.append(replace(step, inputs=(data,), leaf=paths[candidate]))
    return Found(made, leaves, _table_inputs(made, leaves, constants, inputs))


def _candidate(step: Step, constants: dict[str, Constant]) -> _Candidate | None:
    names, a = step.inputs, step.attributes

    def stored(place: int, n_axes: int) -> bool:
        array = constants[names[place]].array if place < len(names) and names[place] in constants else None
        return array is not None and array.dtype == np.float32 and array.ndim == n_axes

    if step.operator == "Gather" and stored(0, 2) and a.get("axis", 0) == 0 and names[1] not in constants:
        return _Candidate("Embedding", (names[0],))
    if step.operator in {"Gemm", "MatMul"} and stored(1, 2) and names[0] not in constants:
        has_bias = len(names) > 2 and bool(names[2])
        plain = a.get("alpha", 1.0) == 1.0 and (not has_bias or a.get("beta", 1.0) == 1.0) and not a.get("transA", 0)
        if not plain or (has_bias and not stored(2, 1)):
            return None
        n_outputs = constants[names[1]].array.shape[0 if a.get("transB", 0) else 1]
        if has_bias and constants[names[2]].array.shape != (n_outputs,):
            return None
        return _Candidate("Linear", names[1:3] if has_bias else names[1:2], (bool(a.get("transB", 0)),))
    if step.operator == "BatchNormalization" and all(stored(place, 1) for place in range(1, 5)):
        if a.get("training_mode", 0):
            return None
        return _Candidate("BatchNorm1d", names[1:5], (a.get("epsilon", 1e-5), a.get("momentum", 0.9)))
    if step.operator == "LayerNormalization" and stored(1, 1) and (len(names) < 3 or stored(2, 1)):
        if a.get("axis", -1) != -1 or len(step.outputs) > 1:
            return None
        return _Candidate("LayerNorm", names[1:], (a.get("epsilon", 1e-5),))
    return None


def _leaf(candidate: _Candidate, constants: dict[str, Constant]) -> nn.Module:
    arrays = [np.asarray(constants[name].array) for name in candidate.names]
    values = [torch.from_numpy(array if array.ndim > 1 else array.copy()) for array in arrays]
    with torch.device("meta"):
        leaf = _empty_leaf(candidate, values)
    if candidate.kind == "Linear" and not candidate.options[0]:
        values[0] = values[0].t().contiguous()
    names = {"BatchNorm1d": ("weight", "bias", "running_mean", "running_var")}.get(candidate.kind, ("weight", "bias"))
    state = dict(zip(names, values, strict=False))
    if candidate.kind == "BatchNorm1d":
        state["num_batches_tracked"] = torch.zeros((), dtype=torch.int64)
    leaf.load_state_dict(state, assign=True)
    return leaf


def _empty_leaf(candidate: _Candidate, values: list[Tensor]) -> nn.Module:
    first = values[0]
    if candidate.kind == "Embedding":
        return nn.Embedding(*first.shape)
    if candidate.kind == "Linear":
        n_in, n_out = first.shape[::-1] if candidate.options[0] else first.shape
        return nn.Linear(n_in, n_out, bias=len(values) > 1)
    if candidate.kind == "BatchNorm1d":
        return nn.BatchNorm1d(len(first), eps=candidate.options[0], momentum=1 - candidate.options[1])
    return nn.LayerNorm(len(first), eps=candidate.options[0], bias=len(values) > 1)


def _dense_with_bias(steps: list[Step], constants: dict[str, Constant]) -> list[Step]:
    """MatMul by a stored matrix and the Add of a stored vector after it, as one Gemm."""
    uses = Counter(name for step in steps for name in step.inputs)
    adds = {name: place for place, step in enumerate(steps) if step.operator == "Add" for name in step.inputs}
    steps, dropped = list(steps), set()
    for place, step in enumerate(steps):
        if step.operator != "MatMul" or step.inputs[1] not in constants or step.outputs[0] not in adds:
            continue
        later = adds[step.outputs[0]]
        (bias,) = [name for name in steps[later].inputs if name != step.outputs[0]] or [""]
        weight = constants[step.inputs[1]].array
        if uses[step.outputs[0]] == 1 and bias in constants and weight.ndim == 2 \
                and constants[bias].array.shape == weight.shape[1:]:
            steps[later] = replace(steps[later], operator="Gemm", inputs=(*step.inputs, bias), attributes={})
            dropped.add(place)
    return [step for place, step in enumerate(steps) if place not in dropped]


def _table_inputs(steps: list[Step], leaves: dict[str, nn.Module], constants: dict[str, Constant],
                  inputs: list[str]) -> dict[str, str]:
    """Path of each table → the input it reads, "input[k]" for column k of a wide one; left out where it reads two."""
    numbers = {name: constant.array for name, constant in constants.items() if constant.array.size <= 64}
    operators = [(step.operator, step.inputs, step.outputs, step.attributes.get("axis", 0)) for step in steps
                 if not step.leaf]
    origin = origins(operators, numbers, inputs)
    read: dict[str, set[str | None]] = defaultdict(set)
    for step in steps:
        if step.leaf and isinstance(leaves[step.leaf], nn.Embedding):
            read[step.leaf].add(origin.get(step.inputs[0]))
    return {path: name for path, names in read.items() if len(names) == 1 for name in names if name is not None}


def _free_path(name: str, leaves: dict[str, nn.Module]) -> str:
    path = name.removesuffix(".weight") or name
    while path in leaves:
        path += "_"
    return path


def _folded(step: Step, constants: dict[str, Constant]) -> Constant:
    from compression.models.importers.onnx_values import constant_value, tensor

    values = [constant_value(constants[name].array) if name else None for name in step.inputs]
    result = OPERATORS[step.operator](values, step.attributes)
    return Constant(tensor(result).contiguous().numpy(), constants[step.inputs[0]].is_weight)


def _constant_array(node: NodeProto) -> np.ndarray:
    attribute = node.attribute[0]
    value = onnx.helper.get_attribute_value(attribute)
    if attribute.name == "value":
        return onnx.numpy_helper.to_array(value)
    return np.asarray(value, np.int64 if "int" in attribute.name else np.float32)


def _attribute(item: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(item)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value
