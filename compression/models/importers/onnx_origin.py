"""Which input, and which of its columns, a value in a graph comes from; and the rows of the tables that read it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

_SAME = {"Identity", "Cast", "Squeeze", "Unsqueeze", "Flatten", "Reshape"}
_FEW = 4096  # values of a constant that are looked at

Operator = tuple[str, tuple[str, ...], tuple[str, ...], int]  # name, inputs, outputs, axis


def origins(operators: Iterable[Operator], numbers: dict[str, np.ndarray], inputs: list[str]) -> dict[str, str]:
    """Value → "input" or "input[k]", for values that are an input, or column k of a wide one, in another shape."""
    found = {name: name for name in inputs}
    for kind, names, outputs, axis in operators:
        source = found.get(names[0]) if names else None
        if source is None:
            continue
        if kind in _SAME:
            found[outputs[0]] = source
        elif "[" not in source:
            for place, column in enumerate(_columns(kind, names, outputs, axis, numbers)):
                if column is not None and column >= 0:
                    found[outputs[place]] = f"{source}[{column}]"
    return found


def _columns(kind: str, names: tuple[str, ...], outputs: tuple[str, ...], axis: int,
             numbers: dict[str, np.ndarray]) -> list[int | None]:
    """Which column each output holds, where it holds just one."""

    def number(place: int) -> int | None:
        array = numbers.get(names[place]) if place < len(names) else None
        return int(array.flat[0]) if array is not None and array.size == 1 else None

    if kind == "Gather" and axis in (1, -1):
        return [number(1)]
    if kind == "Slice" and number(3) in (1, -1) and number(1) is not None and number(2) == number(1) + 1:
        return [number(1)]
    if kind == "Split" and axis in (1, -1):
        sizes = numbers.get(names[1]) if len(names) > 1 else None
        return list(range(len(outputs))) if sizes is None or (sizes == 1).all() else []
    return []


def table_rows(model: ModelProto, inputs: list[str]) -> dict[str, int]:
    """"input" or "input[k]" → rows of the smallest table whose rows it chooses; a remap counts as a table."""
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
        axis = values.get("axis", 0)
        operators.append((node.op_type, tuple(node.input), tuple(node.output), axis))
    found = origins(operators, numbers, inputs)
    rows: dict[str, int] = {}
    for kind, names, _outputs, axis in operators:
        is_lookup = (kind == "Gather" and axis == 0) or kind == "GatherBlockQuantized"
        if is_lookup and len(names) > 1 and names[0] in lengths and names[1] in found and lengths[names[0]]:
            source = found[names[1]]
            rows[source] = min(rows.get(source, 2**62), int(lengths[names[0]][0]))
    return rows
