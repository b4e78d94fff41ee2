"""What an ONNX graph reads: names, types, widths, and the rows of the tables behind them. Loads no torch."""

from __future__ import annotations

import onnx
from onnx import ModelProto, TensorProto

from compression.importers.binding.proposal import ModelInput
from compression.models.onnx.check import graph_inputs
from compression.models.onnx.origin import table_rows

_DTYPES = {TensorProto.INT64: "int64", TensorProto.INT32: "int32", TensorProto.FLOAT: "float32"}


def model_inputs(model: ModelProto) -> list[ModelInput]:
    """The inputs as the file declares them, with the rows of the tables they read."""
    values = graph_inputs(model)
    names = [value.name for value in values]
    rows, shifts = table_rows(model, names)
    flags = {node.input[0] for node in model.graph.node if node.op_type == "Cast"
             and any(item.name == "to" and item.i == TensorProto.BOOL for item in node.attribute)}
    found = []
    for value in values:
        mine: dict[int | None, int] = {}
        for source, count in rows.items():
            stem, _, place = source.rpartition("[")
            if source == value.name:
                mine[None] = count
            elif stem == value.name and source not in names:
                mine[int(place.removesuffix("]"))] = count
        if not mine and value.name in flags:
            mine[None] = 2
        found.append(ModelInput(value.name, _DTYPES[value.type.tensor_type.elem_type], input_width(value), mine,
                                tuple(int(shift) for shift in shifts.get(value.name, ()))))
    return found


def input_width(value: onnx.ValueInfoProto) -> int | None:
    """F of (batch, F), None of (batch,), 0 where the second axis is free."""
    axes = value.type.tensor_type.shape.dim
    if len(axes) == 1:
        return None
    return int(axes[1].dim_value) if axes[1].HasField("dim_value") else 0
