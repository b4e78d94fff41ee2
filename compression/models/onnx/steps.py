"""An ONNX graph as steps and stored tensors, with what only rearranges stored tensors computed beforehand."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto

from compression.models.onnx.check import read_array
from compression.models.onnx.operators import OPERATORS
from compression.models.onnx.values import Unsupported, constant_value, tensor

_MADE_BY_EXPORTERS = re.compile(r"(onnx::|val_|_|/|\d+(_|$)|constant)")
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


def read_constants(model: ModelProto, data: dict[str, Path]) -> dict[str, Constant]:
    """Initializers and Constant nodes by name."""
    constants = {}
    for stored in model.graph.initializer:
        array = _as_float32(read_array(stored, data))
        array = array if array.flags.writeable else array.copy()  # torch wants memory of its own
        is_float = array.dtype == np.float32
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


def _as_float32(array: np.ndarray) -> np.ndarray:
    """Floats of other widths as float32, so that they become layers; other numbers as they are."""
    is_float = array.dtype in (np.float64, np.float16) or array.dtype.name == "bfloat16"
    return array.astype(np.float32) if is_float else array


def _folded(step: Step, constants: dict[str, Constant]) -> Constant:
    values = [constant_value(constants[name].array) if name else None for name in step.inputs]
    result = OPERATORS[step.operator](values, step.attributes)
    return Constant(tensor(result).contiguous().numpy(), constants[step.inputs[0]].is_weight)


def _constant_array(node: NodeProto) -> np.ndarray:
    attribute = node.attribute[0]
    value = onnx.helper.get_attribute_value(attribute)
    if attribute.name == "value":
        return _as_float32(onnx.numpy_helper.to_array(value))
    return np.asarray(value, np.int64 if "int" in attribute.name else np.float32)


def _attribute(item: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(item)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return _as_float32(onnx.numpy_helper.to_array(value)) if isinstance(value, onnx.TensorProto) else value
