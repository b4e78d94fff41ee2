"""An ONNX graph as a torch module whose leaves are ordinary layers, so that every method works on it.

A Gather from a table becomes nn.Embedding, Gemm and MatMul with a stored matrix nn.Linear, Conv, GRU, LSTM,
BatchNormalization and LayerNormalization their modules; everything else is interpreted from the table of operators.
forward({input: tensor}) → (B,) logits: a Sigmoid at the end of the graph is left out, any other probability is turned
back into a logit.
"""

from __future__ import annotations

import operator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from onnx import ModelProto
from torch import Tensor, nn

from compression.models.onnx.check import graph_inputs
from compression.models.onnx.leaves import with_leaves
from compression.models.onnx.operators import OPERATORS
from compression.models.onnx.recurrent import RECURRENT, run_recurrent
from compression.models.onnx.steps import Step, read_constants, read_steps
from compression.models.onnx.values import SHAPE_ARITHMETIC, Ints, Unsupported, Value, constant_value, tensor
from compression.spec.names import attribute_name
from compression.spec.records import Part

_PROBABILITY_MARGIN = 1e-7
_AFTER_SIGMOID = {"Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Cast"}


class Tensors(nn.Module):
    """A branch in the tree of names; holds the parameters and leaves below it."""


class OnnxModel(nn.Module):
    """The interpreter. Raises Unsupported, naming operator and node, for a graph it can't run."""

    def __init__(self, model: ModelProto, data: dict[str, Path]) -> None:
        super().__init__()
        self.opset = next(item.version for item in model.opset_import if item.domain in ("", "ai.onnx"))
        self.input_names = [value.name for value in graph_inputs(model)]
        self.result = model.graph.output[0].name
        constants = read_constants(model, data)
        steps = read_steps(model, constants, self.opset)
        found = with_leaves(steps, constants, self.input_names, self.result)
        paths = {path: self._put(path, leaf) for path, leaf in found.leaves.items()}  # a name may have to change
        steps = [replace(step, leaf=paths[step.leaf]) if step.leaf else step for step in found.steps]
        self.steps = _without_sigmoid(steps, self.result)
        self.ends_in_sigmoid = len(self.steps) and self.steps is not steps
        self.table_inputs = {paths[path]: name for path, name in found.table_inputs.items()}
        self.shared_inputs = {paths[path]: names for path, names in found.shared_inputs.items()}
        self.parts: dict[str, Part] = {}
        self.loose: tuple[str, ...] = ()  # paths of stored matrices that are in no leaf
        self.constants: dict[str, Ints | str] = {}  # name → whole numbers, or the path of a tensor in this module
        for path, leaf in found.leaves.items():
            if isinstance(leaf, nn.Linear) and leaf.out_features == 1:
                self.parts[paths[path]] = Part.OUTPUT
        for name in sorted({name for step in self.steps for name in step.inputs} & set(constants)):
            self._keep(name, constants[name].array, trainable=constants[name].is_weight)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        values: dict[str, Value] = {name: batch[name] for name in self.input_names}
        for step in self.steps:
            given = [self._value(name, values) for name in step.inputs]
            try:
                made = self._run(step, given)
            except Unsupported as error:
                raise Unsupported(f"operator {step.operator} (node {step.name!r}) can't be read: {error}") from None
            outputs = made if isinstance(made, tuple) else (made,)
            values.update(zip(step.outputs, outputs, strict=False))
        score = tensor(values[self.result])
        if score.dim() == 2:
            score = score.squeeze(-1)
        return score if self.ends_in_sigmoid else torch.logit(score, _PROBABILITY_MARGIN)

    def _run(self, step: Step, given: list[Value]) -> Value | tuple[Value, ...]:
        if step.leaf and step.operator in RECURRENT:
            return run_recurrent(self.get_submodule(step.leaf), given)
        if step.leaf:
            return self.get_submodule(step.leaf)(tensor(given[0]))
        if given and all(isinstance(value, Ints) for value in given) and step.operator in SHAPE_ARITHMETIC:
            result = SHAPE_ARITHMETIC[step.operator](given, step.attributes)
            if result is not None:
                return result
        return OPERATORS[step.operator](given, step.attributes)

    def _value(self, name: str, values: dict[str, Value]) -> Value:
        if not name:
            return None
        if name in values:
            return values[name]
        kept = self.constants[name]
        return kept if isinstance(kept, Ints) else operator.attrgetter(kept)(self)

    def _keep(self, name: str, array: Any, *, trainable: bool) -> None:
        """A constant that no leaf holds: a parameter where it is a weight, else a buffer outside the state."""
        value = constant_value(array)
        if isinstance(value, Ints):
            self.constants[name] = value
        elif trainable:
            self.constants[name] = self._put(name, nn.Parameter(value))
            self.loose += (self.constants[name],) if value.dim() > 1 else ()
        else:
            path = f"constant_{len(self.constants)}"
            self.register_buffer(path, value, persistent=False)
            self.constants[name] = path

    def _put(self, path: str, value: nn.Module | nn.Parameter) -> str:
        """Place a leaf or parameter under its dotted path; gives the path, changed where the name was taken."""
        *branches, last = _python_names(path)
        owner: nn.Module = self
        for branch in branches:
            if not isinstance(getattr(owner, branch, None), Tensors):
                if hasattr(owner, branch):
                    branch += "_"
                if branch not in owner._modules:
                    owner.add_module(branch, Tensors())
            owner = owner._modules[branch]
        while hasattr(owner, last):
            last += "_"
        (owner.add_module if isinstance(value, nn.Module) else owner.register_parameter)(last, value)
        return next(found for found, item in (*self.named_modules(), *self.named_parameters()) if item is value)


def _python_names(path: str) -> list[str]:
    """A tensor's name in the file as attribute names: "onnx::Gemm_12" → ["onnx_Gemm_12"]."""
    parts = [attribute_name(part) for part in path.split(".") if part]
    parts = parts or ["weight"]
    if parts[0].startswith("val_") or parts[0].startswith("_"):  # the exporter names its own values val_N
        parts[0] = "tensor_" + parts[0].lstrip("_")
    return parts


def _without_sigmoid(steps: list[Step], result: str) -> list[Step]:
    """The steps with the last Sigmoid as an Identity; the very same list where the graph doesn't end in one."""
    name = result
    for place in range(len(steps) - 1, -1, -1):
        step = steps[place]
        if name not in step.outputs:
            continue
        if step.operator == "Sigmoid" and sum(name in other.inputs for other in steps) <= 1:
            return [*steps[:place], step.renamed("Identity"), *steps[place + 1:]]
        if step.operator not in _AFTER_SIGMOID:
            return steps
        name = step.inputs[0]
    return steps
