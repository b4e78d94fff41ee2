"""Each layer of Keras that is read, as ONNX operators. Arrays are checked against the layer's own settings first.

Source: Keras 3.15, keras/src/layers. Shapes here are (None, …): the first axis is the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from compression.importers.keras.emit import MAX_RANK, Emitter, Layer, Shape, Value, single
from compression.importers.keras.merges import concatenate, dot, merged, pooled


def _known(layer: Layer, shape: Shape) -> tuple[int, ...]:
    """The axes behind the batch, all of them known."""
    if any(length is None for length in shape[1:]):
        raise layer.refuse("needs the length of a list, which is free")
    return tuple(length for length in shape[1:] if length is not None)


def _same(emitter: Emitter, layer: Layer, values: list[Value]) -> Value:
    """A layer that does nothing once training is over."""
    return single(layer, values)


def _embedding(emitter: Emitter, layer: Layer, values: list[Value]) -> Value:
    ids = single(layer, values)
    rows, dim = layer.whole("input_dim"), layer.whole("output_dim")
    (table,) = layer.arrays((rows, dim))
    if ids.name not in emitter.ids:
        raise layer.refuse("looks up what other layers computed; ids come from an input")
    name = emitter.add("Gather", emitter.weight(layer, "embeddings", table), ids.name, axis=0)
    return Value(name, (*ids.shape, dim), ids.name if layer.config.get("mask_zero") else "")


def _dense(emitter: Emitter, layer: Layer, values: list[Value]) -> Value:
    x, units = single(layer, values), layer.whole("units")
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
    x = single(layer, values)
    return Value(_activated(emitter, layer, x.name, layer.config.get("activation")), x.shape, x.mask)


def _relu(emitter: Emitter, layer: Layer, values: list[Value]) -> Value:
    x = single(layer, values)
    if layer.config.get("max_value") is not None or layer.number("threshold", 0.0) != 0:
        raise layer.refuse("has a largest value or a threshold")
    slope = layer.number("negative_slope", 0.0)
    name = emitter.add("LeakyRelu", x.name, alpha=slope) if slope else emitter.add("Relu", x.name)
    return Value(name, x.shape, x.mask)


def _leaky(emitter: Emitter, layer: Layer, values: list[Value]) -> Value:
    x = single(layer, values)
    return Value(emitter.add("LeakyRelu", x.name, alpha=layer.number("negative_slope", 0.3)), x.shape, x.mask)


def _elu(emitter: Emitter, layer: Layer, values: list[Value]) -> Value:
    x = single(layer, values)
    return Value(emitter.add("Elu", x.name, alpha=layer.number("alpha", 1.0)), x.shape, x.mask)


def _batch_norm(emitter: Emitter, layer: Layer, values: list[Value]) -> Value:
    x = single(layer, values)
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
    x = single(layer, values)
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
    x = single(layer, values)
    scaled = emitter.add("Mul", x.name, emitter.number(layer.number("scale", 1.0)))
    return Value(emitter.add("Add", scaled, emitter.number(layer.number("offset", 0.0))), x.shape, x.mask)


def _flatten(emitter: Emitter, layer: Layer, values: list[Value]) -> Value:
    x = single(layer, values)
    width = math.prod(_known(layer, x.shape))
    return Value(emitter.add("Reshape", x.name, emitter.whole(-1, width)), (None, width))


def _reshape(emitter: Emitter, layer: Layer, values: list[Value]) -> Value:
    x, target = single(layer, values), layer.config.get("target_shape")
    size = math.prod(_known(layer, x.shape))
    if not isinstance(target, list) or len(target) >= MAX_RANK or not all(
            type(one) is int and (one > 0 or one == -1) for one in target) or target.count(-1) > 1:
        raise layer.refuse(f"has the target {str(target)[:60]}")
    rest = math.prod(one for one in target if one != -1)
    shape = [size // rest if one == -1 else one for one in target]
    if math.prod(shape) != size:
        raise layer.refuse(f"makes {target} of {size} numbers")
    return Value(emitter.add("Reshape", x.name, emitter.whole(-1, *shape)), (None, *shape))


LAYERS: dict[str, Callable[[Emitter, Layer, list[Value]], Value]] = {
    "Embedding": _embedding, "Dense": _dense, "BatchNormalization": _batch_norm, "LayerNormalization": _layer_norm,
    "Dropout": _same, "SpatialDropout1D": _same, "GaussianNoise": _same, "GaussianDropout": _same,
    "AlphaDropout": _same, "ActivityRegularization": _same, "Activation": _activation, "ReLU": _relu,
    "LeakyReLU": _leaky, "ELU": _elu, "Rescaling": _rescaling, "Concatenate": concatenate, "Flatten": _flatten,
    "Reshape": _reshape, "Dot": dot, "Add": merged("Add"), "Subtract": merged("Sub"), "Multiply": merged("Mul"),
    "Average": merged("Add"), "Maximum": merged("Max"), "Minimum": merged("Min"),
    "GlobalAveragePooling1D": pooled("ReduceMean"), "GlobalMaxPooling1D": pooled("ReduceMax"),
}
