"""An ONNX graph that grows layer by layer: the layer as Keras saved it, the tensors, and the graph."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from compression.spec.errors import ModelError

OPSET, IR_VERSION = 21, 10
MAX_RANK = 4
MAX_LENGTH = 65_536
Shape = tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer as it was saved: its settings and its arrays, in Keras's order."""

    name: str
    kind: str
    config: dict[str, Any]
    weights: list[np.ndarray]
    file: str

    def refuse(self, what: str) -> ModelError:
        return ModelError(f"The layer {self.name[:60]!r} ({self.kind}) of {self.file} {what}. Export the model to "
                          "ONNX.")

    def whole(self, key: str, *, low: int = 1, high: int = 1 << 31) -> int:
        value = self.config.get(key)
        if type(value) is not int or not low <= value <= high:
            raise self.refuse(f"has {key}={str(value)[:40]!r}, which is no whole number that fits")
        return value

    def number(self, key: str, default: float) -> float:
        value = self.config.get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise self.refuse(f"has {key}={str(value)[:40]!r}, which is no number")
        return float(value)

    def arrays(self, *shapes: tuple[int, ...]) -> list[np.ndarray]:
        """The arrays, which have these shapes."""
        if [array.shape for array in self.weights] != list(shapes):
            held = ", ".join(str(array.shape) for array in self.weights) or "none"
            raise self.refuse(f"should have arrays of {', '.join(map(str, shapes)) or 'none'}, and has {held}")
        return self.weights


@dataclass(frozen=True)
class Value:
    """A tensor of the graph. `mask`: the ids whose zeros a pooling leaves out."""

    name: str
    shape: Shape
    mask: str = ""


@dataclass
class Emitter:
    """Grows an ONNX graph node by node."""

    file: str
    nodes: list[Any] = field(default_factory=list)
    tensors: dict[str, Any] = field(default_factory=dict)
    inputs: list[Any] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)  # tensors of ids, as they came in

    def add_input(self, layer: Layer, *, reads_ids: bool) -> Value:
        """An input (B, L); of L = 1 it is (B,) in the file, and gets its axis back in the graph."""
        shape = layer.config.get("batch_shape")
        if not isinstance(shape, list) or not 1 <= len(shape) <= 2 or shape[0] is not None or any(
                one is not None and (type(one) is not int or not 1 <= one <= MAX_LENGTH) for one in shape):
            raise layer.refuse(f"has the shape {str(shape)[:60]}; inputs of (batch,) and (batch, length) are read")
        if "string" in str(layer.config.get("dtype")):
            raise layer.refuse("reads texts; ids and numbers are read")
        kind = TensorProto.INT64 if reads_ids else TensorProto.FLOAT
        single = len(shape) == 1 or shape[1] == 1
        axes = ["batch"] if single else ["batch", shape[1] or "length"]
        self.inputs.append(helper.make_tensor_value_info(layer.name, kind, axes))
        name = self.add("Unsqueeze", layer.name, self.whole(1)) if len(shape) == 2 and single else layer.name
        self.ids |= {name} if reads_ids else set()
        return Value(name, tuple(shape))

    def add(self, operator: str, *reads: str, **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(reads), [name], **attributes))
        return name

    def whole(self, *values: int) -> str:
        """A constant of whole numbers."""
        return self._store(f"val_{'_'.join(map(str, values))}", np.array(values, np.int64))

    def number(self, value: float) -> str:
        return self._store(f"val_{value!r}", np.array(value, np.float32))

    def weight(self, layer: Layer, what: str, array: np.ndarray) -> str:
        """An array of a layer, which a second call of the layer finds again."""
        return self._store(f"{layer.name}.{what}", array.astype(np.float32))

    def _store(self, name: str, array: np.ndarray) -> str:
        if name not in self.tensors:
            self.tensors[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def finish(self, output: Value) -> ModelProto:
        """The graph, with one score a row at its end."""
        if any(length != 1 for length in output.shape[1:]):
            raise ModelError(f"{self.file} gives {output.shape[1:]} numbers a row; a model of one score is read.")
        if self.nodes and self.nodes[-1].op_type == "Sigmoid" and self.nodes[-1].output[0] == output.name:
            last = self.nodes.pop()  # the reader looks for it at the very end
            flat = self.add("Reshape", last.input[0], self.whole(-1))
            score = self.add("Sigmoid", flat)
        else:
            score = self.add("Reshape", output.name, self.whole(-1))
        made = helper.make_tensor_value_info(score, TensorProto.FLOAT, ["batch"])
        graph = helper.make_graph(self.nodes, "keras", self.inputs, [made], list(self.tensors.values()))
        return helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)])


def single(layer: Layer, values: list[Value]) -> Value:
    """The one tensor that a layer reads. Raises ModelError."""
    if len(values) != 1:
        raise layer.refuse(f"reads {len(values)} tensors instead of one")
    return values[0]
