"""Layers that join tensors or pool one: Concatenate, Add and its like, Dot, and the pools over a list."""

from __future__ import annotations

from collections.abc import Callable

from compression.importers.keras.emit import Emitter, Layer, Value, single


def concatenate(emitter: Emitter, layer: Layer, values: list[Value]) -> Value:
    axis, shape = layer.config.get("axis", -1), list(values[0].shape) if values else []
    axis = axis + len(shape) if type(axis) is int and axis < 0 else axis
    if type(axis) is not int or not 0 < axis < len(shape) or any(
            len(one.shape) != len(shape) or one.shape[axis] is None for one in values):
        raise layer.refuse("joins tensors along an axis they don't share")
    shape[axis] = sum(one.shape[axis] or 0 for one in values)
    return Value(emitter.add("Concat", *(one.name for one in values), axis=axis), tuple(shape))


def merged(operator: str) -> Callable[[Emitter, Layer, list[Value]], Value]:
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


def dot(emitter: Emitter, layer: Layer, values: list[Value]) -> Value:
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


def pooled(operator: str) -> Callable[[Emitter, Layer, list[Value]], Value]:
    def emit(emitter: Emitter, layer: Layer, values: list[Value]) -> Value:
        x, axis = single(layer, values), emitter.whole(1)
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
