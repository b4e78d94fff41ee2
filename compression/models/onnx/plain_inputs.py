"""The inputs of a foreign graph as columns can be bound to them: a free batch first, and int64, int32 or float32.

An input of another number type is declared as one of those, and cast inside the graph; one whose batch is the second
axis is turned inside the graph. A batch that was fixed at export becomes free; whether the graph still computes the
same is tried by the importer. Loads no torch.
"""

from __future__ import annotations

from onnx import ModelProto, TensorProto, TensorShapeProto, ValueInfoProto, helper, numpy_helper

from compression.models.onnx.names import names_in
from compression.spec.names import free_name

BATCH = "batch"
_WHOLE = {TensorProto.BOOL, TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16,
          TensorProto.UINT32, TensorProto.UINT64}
_FLOATS = {TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}


def with_plain_types(model: ModelProto) -> ModelProto:
    """The model with a Cast behind each input of another number type; the very same where there is none."""
    filled = {tensor.name for tensor in model.graph.initializer}
    odd = [value for value in model.graph.input if value.name not in filled
           and value.type.tensor_type.elem_type in _WHOLE | _FLOATS]
    if not odd:
        return model
    kept = ModelProto()
    kept.CopyFrom(model)
    taken = names_in(model.graph)
    inner = {value.name: free_name(f"{value.name}_cast", taken) for value in odd}
    for node in kept.graph.node:
        node.input[:] = [inner.get(name, name) for name in node.input]
    casts = []
    for value in kept.graph.input:
        if value.name in inner:
            kind = value.type.tensor_type
            casts.append(helper.make_node("Cast", [value.name], [inner[value.name]], to=kind.elem_type))
            kind.elem_type = TensorProto.INT64 if kind.elem_type in _WHOLE else TensorProto.FLOAT
    nodes = [*casts, *kept.graph.node]
    del kept.graph.node[:]
    kept.graph.node.extend(nodes)
    return kept


def with_batch_first(model: ModelProto) -> ModelProto:
    """The model with inputs (columns, batch) as (batch, columns); the very same where there is none.

    That the batch is second is known where that axis has the name of the first axis of an output.
    """
    filled = {tensor.name for tensor in model.graph.initializer}
    batches = {axes[0].dim_param for value in model.graph.output if (axes := value.type.tensor_type.shape.dim)} - {""}
    turned = {value.name for value in model.graph.input if value.name not in filled and _is_turned(value, batches)}
    if not turned:
        return model
    kept = ModelProto()
    kept.CopyFrom(model)
    taken = names_in(model.graph)
    inner = {name: free_name(f"{name}_turned", taken) for name in sorted(turned)}
    for value in kept.graph.input:
        if value.name in turned:
            columns, batch = value.type.tensor_type.shape.dim
            value.type.tensor_type.shape.CopyFrom(TensorShapeProto(dim=[batch, columns]))
    for node in kept.graph.node:
        node.input[:] = [inner.get(name, name) for name in node.input]
    turns = [helper.make_node("Transpose", [name], [inner[name]], perm=[1, 0]) for name in inner]
    nodes = [*turns, *kept.graph.node]
    del kept.graph.node[:]
    kept.graph.node.extend(nodes)
    return kept


def _is_turned(value: ValueInfoProto, batches: set[str]) -> bool:
    axes = value.type.tensor_type.shape.dim
    return len(axes) == 2 and axes[1].dim_param in batches and axes[0].dim_param not in batches


def fixed_batch(inputs: list[ValueInfoProto]) -> int | None:
    """The batch that all inputs were exported with; None where any first axis is free, or they differ."""
    firsts = {axes[0].dim_value if (axes := value.type.tensor_type.shape.dim) and axes[0].HasField("dim_value") else 0
              for value in inputs}
    free = any(not axis.HasField("dim_value") for value in inputs for axis in value.type.tensor_type.shape.dim[1:])
    return next(iter(firsts)) if len(firsts) == 1 and firsts != {0} and not free else None


def with_free_batch(model: ModelProto, batch: int) -> ModelProto:
    """The model with a free first axis: in its inputs, in the shapes that Reshape is given, and in Flatten."""
    kept = ModelProto()
    kept.CopyFrom(model)
    graph = kept.graph
    filled = {tensor.name for tensor in graph.initializer}
    for value in (*(one for one in graph.input if one.name not in filled), *graph.output):
        axes = value.type.tensor_type.shape.dim
        if axes and axes[0].dim_value == batch:
            axes[0].dim_param = BATCH
    del graph.value_info[:]
    shapes = {tensor.name: tensor for tensor in graph.initializer}
    shapes |= {node.output[0]: attribute.t for node in graph.node if node.op_type == "Constant"
               for attribute in node.attribute if attribute.name == "value"}
    changed: dict[str, str] = {}
    for node in graph.node:
        if node.op_type == "Reshape" and len(node.input) > 1 and node.input[1] in shapes:
            name = node.input[1]
            if name not in changed:
                changed[name] = _freed(graph, shapes[name], name, batch)
            node.input[1] = changed[name]
        elif node.op_type == "Flatten" and batch == 1:
            for attribute in node.attribute:
                attribute.i = attribute.i or 1  # (1, …) flattened before the first axis is (1, all of it)
    return kept


def _freed(graph: object, tensor: TensorProto, name: str, batch: int) -> str:
    """The name of the shape with its first length free; the same where that is no fixed batch."""
    sizes = numpy_helper.to_array(tensor)
    if sizes.ndim != 1 or not sizes.size or sizes[0] != batch:
        return name
    sizes = sizes.copy()
    sizes[0] = 0 if (sizes[1:] == -1).any() else -1  # 0 takes the length over
    made = free_name(f"{name}_free", names_in(graph))
    graph.initializer.append(numpy_helper.from_array(sizes, made))
    return made
