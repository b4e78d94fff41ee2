"""Inputs that follow from a list: its mask, its padding and its length are computed inside the graph. Loads no torch.

Lists are padded with 0 and hold no other 0, so a place is filled where its id is not 0.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from compression.models.onnx.names import names_in
from compression.spec.names import free_name

MASK, PADDING, LENGTH = "mask", "padding", "length"


def with_derived_inputs(model: ModelProto, derived: dict[str, tuple[str, str]]) -> ModelProto:
    """The model without these inputs. `derived`: input → (the list it follows from, MASK, PADDING or LENGTH)."""
    if not derived:
        return model
    kept = ModelProto()
    kept.CopyFrom(model)
    graph = kept.graph
    opset = next(item.version for item in model.opset_import if item.domain in ("", "ai.onnx"))
    taken = names_in(graph)
    kinds = {value.name: value.type.tensor_type for value in graph.input}
    nodes = []

    def constant(name: str, numbers: object, kind: int) -> str:
        made = free_name(name, taken)
        taken.add(made)
        graph.initializer.append(numpy_helper.from_array(
            np.array(numbers, helper.tensor_dtype_to_np_dtype(kind)), made))
        return made

    def call(operator: str, read: list[str], name: str, **settings: object) -> str:
        made = free_name(name, taken)
        taken.add(made)
        nodes.append(helper.make_node(operator, read, [made], **settings))
        return made

    for name, (source, what) in derived.items():
        empty = call("Equal", [source, constant(f"{name}_zero", 0, kinds[source].elem_type)], f"{name}_is_empty")
        found = empty if what == PADDING else call("Not", [empty], f"{name}_is_filled")
        if what == LENGTH:
            ones = call("Cast", [found], f"{name}_ones", to=TensorProto.INT64)
            keep = int(len(kinds[name].shape.dim) == 2)
            settings = {"axes": [1]} if opset < 13 else {}
            axes = [] if opset < 13 else [constant(f"{name}_axes", [1], TensorProto.INT64)]
            found = call("ReduceSum", [ones, *axes], f"{name}_count", keepdims=keep, **settings)
        nodes.append(helper.make_node("Cast", [found], [name], to=kinds[name].elem_type))
    inputs = [value for value in graph.input if value.name not in derived]
    del graph.input[:]
    graph.input.extend(inputs)
    nodes += list(graph.node)
    del graph.node[:]
    graph.node.extend(nodes)
    return kept
