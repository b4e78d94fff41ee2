"""The If that the TorchScript exporter writes for `squeeze(k)` of an axis whose length it doesn't know. Loads no torch.

`If(shape(x)[k] == 1) then Squeeze(x, k) else x` becomes the one or the other as soon as the length is inferred from the
rest of the graph. Any other branch stays, and is refused.
"""

from __future__ import annotations

from onnx import AttributeProto, ModelProto, NodeProto, shape_inference

from compression.models.onnx.bags import small_values

MAX_INFERRED_BYTES = 1 << 30  # the whole graph is copied to infer its shapes


def is_squeeze(node: NodeProto) -> bool:
    """Whether a node is such an If: one Squeeze and one Identity of the same value, and numbers beside them."""
    return node.op_type == "If" and node.domain in ("", "ai.onnx") and _branches(node) is not None


def without_squeezes(model: ModelProto) -> ModelProto:
    """The model with each such If as what it comes to; those whose axis stays unknown are left."""
    if not any(is_squeeze(node) for node in model.graph.node) or model.ByteSize() > MAX_INFERRED_BYTES:
        return model
    try:
        shaped = shape_inference.infer_shapes(model).graph
    except Exception:  # a graph that can't be inferred is left to be refused
        return model
    axes = {value.name: list(value.type.tensor_type.shape.dim) for value in (*shaped.value_info, *shaped.input)}
    made_by = {name: node for node in model.graph.node for name in node.output}
    kept = ModelProto()
    kept.CopyFrom(model)
    nodes = [_chosen(node, axes, made_by) for node in model.graph.node]
    del kept.graph.node[:]
    for made in nodes:
        kept.graph.node.extend(made)
    return kept


def _chosen(node: NodeProto, axes: dict[str, list], made_by: dict[str, NodeProto]) -> list[NodeProto]:
    branches = _branches(node) if is_squeeze(node) else None
    if branches is None:
        return [node]
    then, otherwise = branches
    source = then[-1].input[0]
    length = _length(node.input[0], source, axes.get(source, []), made_by)
    if length is None:
        return [node]
    chosen = then if length == 1 else otherwise
    last = NodeProto()
    last.CopyFrom(chosen[-1])
    last.output[:] = node.output
    return [*chosen[:-1], last]


def _branches(node: NodeProto) -> tuple[list[NodeProto], list[NodeProto]] | None:
    """The nodes of both branches: constants, then Squeeze in the first, Identity in the second."""
    graphs = {item.name: item.g for item in node.attribute if item.type == AttributeProto.GRAPH}
    if set(graphs) != {"then_branch", "else_branch"} or len(node.attribute) != 2 or len(node.output) != 1:
        return None
    found = []
    for name, kind in (("then_branch", "Squeeze"), ("else_branch", "Identity")):
        graph = graphs[name]
        *before, last = list(graph.node) or [NodeProto()]
        plain = all(one.op_type == "Constant" and len(one.attribute) == 1
                    and one.attribute[0].type == AttributeProto.TENSOR
                    and small_values(one.attribute[0].t) is not None for one in before)
        whole = [value.name for value in graph.output] == list(last.output) and not graph.initializer
        if len(before) > 1 or not plain or not whole or last.op_type != kind or last.domain not in ("", "ai.onnx") \
                or not last.input or any(item.type == AttributeProto.GRAPH for item in last.attribute):
            return None
        found.append([*before, last])
    return (found[0], found[1]) if found[0][-1].input[0] == found[1][-1].input[0] else None


def _length(condition: str, source: str, axes: list, made_by: dict[str, NodeProto]) -> int | None:
    """The length of the axis that the condition compares with 1; only the last is looked up. None where unknown."""
    equal = made_by.get(condition)
    gathers = [made_by.get(name) for name in equal.input] if equal is not None and equal.op_type == "Equal" else []
    for gather in gathers:
        shape = made_by.get(gather.input[0]) if gather is not None and gather.op_type == "Gather" else None
        if shape is not None and shape.op_type == "Shape" and list(shape.input) == [source] and len(axes) == 2 \
                and axes[-1].HasField("dim_value"):
            return int(axes[-1].dim_value)
    return None
