"""Another way to write a lookup in a table: OneHot times a matrix."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from compression.models.onnx.steps import Constant, Step


def with_lookups(steps: list[Step], constants: dict[str, Constant]) -> list[Step]:
    """The steps with OneHot(ids) times a stored (V, D) as a Gather of its rows, where each id has one."""
    ids: dict[str, tuple[str, int]] = {}  # value → the ids it is the one-hot form of, and how long it is
    found = []
    for step in steps:
        if step.operator == "OneHot" and (depth := _plain_depth(step, constants)):
            ids[step.outputs[0]] = step.inputs[0], depth
        elif step.operator in ("Cast", "Identity") and step.inputs[0] in ids:
            ids[step.outputs[0]] = ids[step.inputs[0]]
        elif step.operator in ("MatMul", "Gemm") and step.inputs[0] in ids:
            step = _as_gather(step, *ids[step.inputs[0]], constants)
        found.append(step)
    return found


def _as_gather(step: Step, ids: str, depth: int, constants: dict[str, Constant]) -> Step:
    weight = constants.get(step.inputs[1])
    is_plain = len([name for name in step.inputs if name]) == 2 and not step.attributes.get("transB", 0) \
        and step.attributes.get("alpha", 1.0) == 1.0
    if weight is None or not is_plain or weight.array.ndim != 2 or len(weight.array) != depth:
        return step
    return replace(step, operator="Gather", inputs=(step.inputs[1], ids),
                   attributes={"opset": step.attributes["opset"], "axis": 0})


def _plain_depth(step: Step, constants: dict[str, Constant]) -> int:
    """V where ones stand among zeros on the last axis; 0 for any other OneHot."""
    depth, values = (constants.get(name) for name in step.inputs[1:3])
    if depth is None or values is None or step.attributes.get("axis", -1) != -1:
        return 0
    return int(depth.array.flat[0]) if depth.array.size == 1 and np.array_equal(values.array, [0, 1]) else 0
