"""Each layer of Keras that is read, as ONNX operators. Arrays are checked against the layer's own settings first.

Source: Keras 3.15, keras/src/layers. Shapes here are (None, …): the first axis is the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from compression.errors import ModelError

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


def _one(layer: Layer, values: list[Value]) -> Value:
    if len(values) != 1:
        raise layer.refuse(f"reads {len(values)} tensors instead of one")
    return values[0]


def _known(layer: Layer, shape: Shape) -> tuple[int, ...]:
    """The axes behind the batch, all of them known."""
    if any(length is None for length in shape[1:]):
        raise layer.refuse("needs the length of a list, which is free")
    return tuple(length for length in shape[1:] if length is not None)


def _same(emitter: Emitter, layer: Layer, values: list[Value]) -> Value:
    """A layer that does nothing once training is over."""
    return _one(layer, values)


def _embedding(emitter: Emitter, layer: Layer, values: list[Value]) -> Value:
    ids = _one(layer, values)
    rows, dim = layer.whole("input_dim"), layer.whole("output_dim")
    (table,) = layer.arrays((rows, dim))
    if ids.name not in emitter.ids:
        raise layer.refuse("looks up what other layers computed; ids come from an input")
    name = emitter.add("Gather", emitter.weight(layer, "embeddings", table), ids.name, axis=0)
    return Value(name, (*ids.shape, dim), ids.name if layer.config.get("mask_zero") else "")


def _dense(emitter: Emitter, layer: Layer, values: list[Value]) -> Value:
    x, units = _one(layer, values), layer.whole("units")
    width = x.shape[-1]
    if width is None or len(x.shape) < 2:
        raise layer.refuse("reads a tensor whose last axis is free")
    biased = layer.config.get("use_bias") is not False
    arrays = layer.arrays((width, units), *([(units,)] if biased else []))
    name = emitter.add("MatMul", x.name, emitter.weight(layer, "kernel", arrays[0]))
    if biased:
        name = emitter.add("Add", name, emitter.weight(layer, "bias", arrays[1]))
    name = _activated(emitter, layer, name, layer.config.get("activation"))
    return Value(name, (*x.shape[:-1], units), x.mask)


def _activated(emitter: Emitter, layer: Layer, name: str, activation: Any) -> str:
    simple = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "selu": "Selu", "softplus": "Softplus",
              "softsign": "Softsign", "gelu": "Gelu", "elu": "Elu", "mish": "Mish"}
    if activation in (None, "linear"):
        return name
    if activation in ("silu", "swish"):
        return emitter.add("Mul", name, emitter.add("Sigmoid", name))
    if activation == "leaky_relu":
        return emitter.add("LeakyRelu", name, alpha=0.2)
    if not isinstance(activation, str) or activation not in simple:
        raise layer.refuse(f"has the activation {str(activation)[:60]!r}, which is not read")
    return emitter.add(simple[activation], name)


def _activation(emitter: Emitter, layer: Layer, values: list[Value]) -> Value:
    x = _one(layer, values)
    return Value(_activated(emitter, layer, x.name, layer.config.get("activation")), x.shape, x.mask)


def _relu(emitter: Emitter, layer: Layer, values: list[Value]) -> Value:
    x = _one(layer, values)
    if layer.config.get("max_value") is not None or layer.number("threshold", 0.0) != 0:
        raise layer.refuse("has a largest value or a threshold")
    slope = layer.number("negative_slope", 0.0)
    name = emitter.add("LeakyRelu", x.name, alpha=slope) if slope else emitter.add("Relu", x.name)
    return Value(name, x.shape, x.mask)


def _leaky(emitter: Emitter, layer: Layer, values: list[Value]) -> Value:
    x = _one(layer, values)
    return Value(emitter.add("LeakyRelu", x.name, alpha=layer.number("negative_slope", 0.3)), x.shape, x.mask)


def _elu(emitter: Emitter, layer: Layer, values: list[Value]) -> Value:
    x = _one(layer, values)
    return Value(emitter.add("Elu", x.name, alpha=layer.number("alpha", 1.0)), x.shape, x.mask)


def _batch_norm(emitter: Emitter, layer: Layer, values: list[Value]) -> Value:
    x = _one(layer, values)
    if len(x.shape) != 2 or x.shape[1] is None or layer.config.get("axis") not in (-1, 1, [-1], [1]):
        raise layer.refuse("normalises another axis than the last of a matrix")
    width = x.shape[1]
    scaled, centred = layer.config.get("scale") is not False, layer.config.get("center") is not False
    arrays = list(layer.arrays(*([(width,)] * (2 + scaled + centred))))
    gamma = arrays.pop(0) if scaled else np.ones(width)
    beta = arrays.pop(0) if centred else np.zeros(width)
    names = [emitter.weight(layer, what, array) for what, array in zip(
        ("gamma", "beta", "mean", "variance"), (gamma, beta, *arrays), strict=True)]
    name = emitter.add("BatchNormalization", x.name, *names, epsilon=layer.number("epsilon", 1e-3))
    return Value(name, x.shape, x.mask)


def _layer_norm(emitter: Emitter, layer: Layer, values: list[Value]) -> Value:
    x = _one(layer, values)
    last = len(x.shape) - 1
    other = layer.config.get("axis") not in (-1, last, [-1], [last]) or layer.config.get("rms_scaling")
    if x.shape[-1] is None or other:
        raise layer.refuse("normalises another axis than the last, or by the root of the squares")
    scaled, centred = layer.config.get("scale") is not False, layer.config.get("center") is not False
    arrays = list(layer.arrays(*([(x.shape[-1],)] * (scaled + centred))))
    gamma = arrays.pop(0) if scaled else np.ones(x.shape[-1])
    beta = arrays.pop(0) if centred else np.zeros(x.shape[-1])
    name = emitter.add("LayerNormalization", x.name, emitter.weight(layer, "gamma", gamma),
                       emitter.weight(layer, "beta", beta), axis=-1, epsilon=layer.number("epsilon", 1e-3))
    return Value(name, x.shape, x.mask)


def _rescaling(emitter: Emitter, layer: Layer, values: list[Value]) -> Value:
    x = _one(layer, values)
    scaled = emitter.add("Mul", x.name, emitter.number(layer.number("scale", 1.0)))
    return Value(emitter.add("Add", scaled, emitter.number(layer.number("offset", 0.0))), x.shape, x.mask)


def _flatten(emitter: Emitter, layer: Layer, values: list[Value]) -> Value:
    x = _one(layer, values)
    width = math.prod(_known(layer, x.shape))
    return Value(emitter.add("Reshape", x.name, emitter.whole(-1, width)), (None, width))


def _reshape(emitter: Emitter, layer: Layer, values: list[Value]) -> Value:
    x, target = _one(layer, values), layer.config.get("target_shape")
    size = math.prod(_known(layer, x.shape))
    if not isinstance(target, list) or len(target) >= MAX_RANK or not all(
            type(one) is int and (one > 0 or one == -1) for one in target) or target.count(-1) > 1:
        raise layer.refuse(f"has the target {str(target)[:60]}")
    rest = math.prod(one for one in target if one != -1)
    shape = [size // rest if one == -1 else one for one in target]
    if math.prod(shape) != size:
        raise layer.refuse(f"makes {target} of {size} numbers")
    return Value(emitter.add("Reshape", x.name, emitter.whole(-1, *shape)), (None, *shape))


def _concatenate(emitter: Emitter, layer: Layer, values: list[Value]) -> Value:
    axis, shape = layer.config.get("axis", -1), list(values[0].shape) if values else []
    axis = axis + len(shape) if type(axis) is int and axis < 0 else axis
    if type(axis) is not int or not 0 < axis < len(shape) or any(
            len(one.shape) != len(shape) or one.shape[axis] is None for one in values):
        raise layer.refuse("joins tensors along an axis they don't share")
    shape[axis] = sum(one.shape[axis] or 0 for one in values)
    return Value(emitter.add("Concat", *(one.name for one in values), axis=axis), tuple(shape))


def _merged(operator: str) -> Callable[[Emitter, Layer, list[Value]], Value]:
    def emit(emitter: Emitter, layer: Layer, values: list[Value]) -> Value:
        if len(values) < 2 or len({len(one.shape) for one in values}) != 1:
            raise layer.refuse("merges tensors of different ranks")
        shape = values[0].shape
        for one in values[1:]:
            if any(a != b and 1 not in (a, b) for a, b in zip(shape, one.shape, strict=True)):
                raise layer.refuse(f"merges {shape} and {one.shape}")
            shape = tuple(b if a == 1 else a for a, b in zip(shape, one.shape, strict=True))
        name = values[0].name
        for one in values[1:]:
            name = emitter.add(operator, name, one.name)
        if layer.kind == "Average":
            name = emitter.add("Div", name, emitter.number(len(values)))
        return Value(name, shape)
    return emit


def _dot(emitter: Emitter, layer: Layer, values: list[Value]) -> Value:
    """Rows by rows: (B, D) and (B, D) → (B, 1); (B, M, D) and (B, N, D) → (B, M, N)."""
    axes = layer.config.get("axes")
    axes = [axes, axes] if type(axes) is int else axes
    if len(values) != 2 or not isinstance(axes, list) or len(axes) != 2 or len({len(one.shape) for one in values}) != 1:
        raise layer.refuse("multiplies tensors of different ranks")
    rank = len(values[0].shape)
    places = [one + rank if type(one) is int and one < 0 else one for one in axes]
    if rank not in (2, 3) or places != [rank - 1] * 2 or values[0].shape[-1] != values[1].shape[-1]:
        raise layer.refuse(f"sums over the axes {str(axes)[:40]}; the last axis of both is read")
    left, right = (emitter.add("LpNormalization", one.name, axis=-1, p=2) if layer.config.get("normalize") else one.name
                   for one in values)
    if rank == 2:
        name = emitter.add("ReduceSum", emitter.add("Mul", left, right), emitter.whole(1), keepdims=1)
        return Value(name, (None, 1))
    turned = emitter.add("Transpose", right, perm=[0, 2, 1])
    return Value(emitter.add("MatMul", left, turned), (None, values[0].shape[1], values[1].shape[1]))


def _pooled(operator: str) -> Callable[[Emitter, Layer, list[Value]], Value]:
    def emit(emitter: Emitter, layer: Layer, values: list[Value]) -> Value:
        x, axis = _one(layer, values), emitter.whole(1)
        if len(x.shape) != 3 or layer.config.get("data_format", "channels_last") != "channels_last":
            raise layer.refuse("pools another axis than the second of three")
        keep = int(layer.config.get("keepdims") is True)
        shape = (None, 1, x.shape[2]) if keep else (None, x.shape[2])
        if operator == "ReduceMean" and x.mask:
            there = emitter.add("Cast", emitter.add("Not", emitter.add("Equal", x.mask, emitter.whole(0))), to=1)
            weights = emitter.add("Unsqueeze", there, emitter.whole(2))
            total = emitter.add("ReduceSum", emitter.add("Mul", x.name, weights), axis, keepdims=keep)
            return Value(emitter.add("Div", total, emitter.add("ReduceSum", weights, axis, keepdims=keep)), shape)
        return Value(emitter.add(operator, x.name, axis, keepdims=keep), shape)
    return emit


LAYERS: dict[str, Callable[[Emitter, Layer, list[Value]], Value]] = {
    "Embedding": _embedding, "Dense": _dense, "BatchNormalization": _batch_norm, "LayerNormalization": _layer_norm,
    "Dropout": _same, "SpatialDropout1D": _same, "GaussianNoise": _same, "GaussianDropout": _same,
    "AlphaDropout": _same, "ActivityRegularization": _same, "Activation": _activation, "ReLU": _relu,
    "LeakyReLU": _leaky, "ELU": _elu, "Rescaling": _rescaling, "Concatenate": _concatenate, "Flatten": _flatten,
    "Reshape": _reshape, "Dot": _dot, "Add": _merged("Add"), "Subtract": _merged("Sub"), "Multiply": _merged("Mul"),
    "Average": _merged("Add"), "Maximum": _merged("Max"), "Minimum": _merged("Min"),
    "GlobalAveragePooling1D": _pooled("ReduceMean"), "GlobalMaxPooling1D": _pooled("ReduceMax"),
}
