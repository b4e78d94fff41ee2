"""Which input, and which of its columns, a value in a graph comes from; and the rows of the tables that read it.

"ids" is an input, "ids[2]" column 2 of a wide one, "ids+" a wide one to which the graph has added an offset for each
column, so that all of them share one table.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

_SAME = {"Identity", "Cast", "Squeeze", "Unsqueeze", "Flatten", "Reshape"}
_SAME_ROWS = {"Identity", "Cast", "DequantizeLinear"}  # a table through these has as many rows
_FEW = 4096  # values of a constant that are looked at

Operator = tuple[str, tuple[str, ...], tuple[str, ...], int]  # name, inputs, outputs, axis


def origins(operators: Iterable[Operator], numbers: dict[str, np.ndarray], inputs: list[str]) -> dict[str, str]:
    """Value → "input" or "input[k]", for values that are an input, or column k of a wide one, in another shape."""
    found = {name: name for name in inputs}
    turned = dict.fromkeys(inputs, False)  # whole inputs: whether columns are their first axis
    wraps = Wraps(found)
    for kind, names, outputs, axis in operators:
        if kind == "Add" and names[0] not in found:
            names = names[::-1]
        if wraps.follow(kind, names, outputs):
            continue
        source = found.get(names[0]) if names else None
        if source is None:
            continue
        if kind == "Less" and names[1] in numbers and not numbers[names[1]].any():
            wraps.below_zero[outputs[0]] = source
        elif names[0] in turned and kind in ("Identity", "Cast", "Transpose"):
            found[outputs[0]] = source
            turned[outputs[0]] = turned[names[0]] != (kind == "Transpose")
        elif turned.get(names[0]):
            _take(found, source, outputs, _columns(kind, names, outputs, axis, numbers, axes=(0, -2)))
        elif kind in _SAME or (kind == "Add" and names[1] in numbers and not numbers[names[1]].any()):
            found[outputs[0]] = source
        elif kind == "Add" and source in inputs and _offsets(names[1], numbers) is not None:
            found[outputs[0]] = f"{source}+"
        elif kind == "Add" and names[1] not in found:
            wraps.moved[outputs[0]] = source
        elif source in inputs:
            _take(found, source, outputs, _columns(kind, names, outputs, axis, numbers))
    return found


def _take(found: dict[str, str], source: str, outputs: tuple[str, ...], columns: list[int | None]) -> None:
    """Note which outputs are columns of a wide input."""
    for output, column in zip(outputs, columns, strict=False):
        if column is not None and column >= 0:
            found[output] = f"{source}[{column}]"


class Wraps:
    """Places counted from the end: Where(ids < 0, ids + rows, ids), or a sum of both, each times where it holds."""

    def __init__(self, found: dict[str, str]) -> None:
        self.found = found
        self.below_zero: dict[str, str] = {}  # ids < 0, or its opposite → the origin of the ids
        self.moved: dict[str, str] = {}  # ids + one number → the origin of the ids
        self.halves: dict[str, str] = {}  # either of them times where it holds

    def follow(self, kind: str, names: tuple[str, ...], outputs: tuple[str, ...]) -> bool:
        """Whether the operator is part of such a wrap; its result is then known as the ids themselves."""
        origin = {**self.moved, **{name: self.found[name] for name in names if name in self.found}}
        if kind in ("Not", "Cast") and names[0] in self.below_zero:
            self.below_zero[outputs[0]] = self.below_zero[names[0]]
        elif kind == "Where" and names[0] in self.below_zero and self._same(
                self.below_zero[names[0]], origin.get(names[1]), origin.get(names[2])):
            self.found[outputs[0]] = self.below_zero[names[0]]
        elif kind == "Mul" and (mask := next((name for name in names if name in self.below_zero), "")) and self._same(
                self.below_zero[mask], *(origin.get(name) for name in names if name != mask)):
            self.halves[outputs[0]] = self.below_zero[mask]
        elif kind == "Add" and names[0] in self.halves and self._same(*map(self.halves.get, names)):
            self.found[outputs[0]] = self.halves[names[0]]
        else:
            return False
        return True

    @staticmethod
    def _same(first: str | None, *others: str | None) -> bool:
        return first is not None and bool(others) and all(other == first for other in others)


def _columns(kind: str, names: tuple[str, ...], outputs: tuple[str, ...], axis: int,
             numbers: dict[str, np.ndarray], axes: tuple[int, int] = (1, -1)) -> list[int | None]:
    """Which column each output holds, where it holds just one; `axes`: how the axis of columns may be called."""

    def number(place: int) -> int | None:
        array = numbers.get(names[place]) if place < len(names) else None
        return int(array.flat[0]) if array is not None and array.size == 1 else None

    if kind == "Gather" and axis in axes:
        return [number(1)]
    if kind == "Slice" and number(3) in axes and number(1) is not None and number(2) == number(1) + 1:
        return [number(1)]
    if kind == "Split" and axis in axes:
        sizes = numbers.get(names[1]) if len(names) > 1 else None
        return list(range(len(outputs))) if sizes is None or (sizes == 1).all() else []
    return []


def _offsets(name: str, numbers: dict[str, np.ndarray]) -> np.ndarray | None:
    """A stored vector of whole numbers (F,) that grow from column to column, F > 1."""
    array = numbers.get(name)
    if array is None or array.dtype.kind not in "iu" or array.size < 2 or array.size != array.shape[-1]:
        return None
    flat = array.reshape(-1)
    return flat if flat[0] >= 0 and (np.diff(flat) > 0).all() else None


def table_rows(model: ModelProto, inputs: list[str]) -> tuple[dict[str, int], dict[str, np.ndarray]]:
    """Rows of the smallest table that "input" or "input[k]" chooses from, and the offsets added to each wide input.

    A remap counts as a table. Where offsets are added, column k has the rows up to the next offset.
    """
    numbers, lengths = {}, {}
    for tensor in model.graph.initializer:
        lengths[tensor.name] = list(tensor.dims)
        if tensor.data_location != TensorProto.EXTERNAL and np.prod(tensor.dims, dtype=float) <= _FEW:
            numbers[tensor.name] = numpy_helper.to_array(tensor)
    operators = []
    for node in model.graph.node:
        values = {item.name: helper.get_attribute_value(item) for item in node.attribute
                  if item.name in ("axis", "value")}
        if node.op_type == "Constant":
            if "value" in values:
                numbers[node.output[0]] = numpy_helper.to_array(values["value"])
            continue
        if node.op_type == "Cast" and node.input[0] in numbers:  # before opset 9 whole numbers came as float64
            numbers[node.output[0]] = numbers[node.input[0]].astype(np.int64)
            continue
        axis = values.get("axis", 0)
        operators.append((node.op_type, tuple(node.input), tuple(node.output), axis))
    found = origins(operators, numbers, inputs)
    rows: dict[str, int] = {}
    shifts: dict[str, np.ndarray] = {}
    for kind, names, outputs, _axis in operators:
        source = found.get(outputs[0], "")
        if kind == "Add" and source.endswith("+") and source not in inputs:
            offsets = next(array for array in (_offsets(name, numbers) for name in names) if array is not None)
            shifts[source.removesuffix("+")] = offsets
    for kind, names, outputs, axis in operators:
        if kind in _SAME_ROWS and names[0] in lengths:
            lengths[outputs[0]] = lengths[names[0]]
        if kind == "OneHot" and names[0] in found and numbers.get(names[1], np.zeros(0)).size == 1:
            depth = int(numbers[names[1]].flat[0])
            rows[found[names[0]]] = min(rows.get(found[names[0]], 2**62), depth)
        is_lookup = (kind == "Gather" and axis == 0) or kind == "GatherBlockQuantized"
        if is_lookup and len(names) > 1 and names[0] in lengths and names[1] in found and lengths[names[0]]:
            source, count = found[names[1]], int(lengths[names[0]][0])
            counts = {source: count}
            if source.endswith("+") and source not in inputs:
                source = source.removesuffix("+")
                ends = [*shifts[source][1:], count]
                counts = {f"{source}[{k}]": int(end - start)
                          for k, (start, end) in enumerate(zip(shifts[source], ends, strict=True))}
            for column, number in counts.items():
                rows[column] = min(rows.get(column, 2**62), number)
    return rows, shifts
