"""What scikit-learn's exporter adds to a classifier: a label, and the probabilities as a mapping. Loads no torch."""

from __future__ import annotations

from onnx import ModelProto, TensorProto, helper

_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)


def without_labels(model: ModelProto) -> ModelProto:
    """The model with the outputs that hold floats and the operators they need, where an operator of ai.onnx.ml makes
    others: ZipMap gives way to the probabilities that it names. The very same model in any other case.
    """
    if not any(node.domain == "ai.onnx.ml" for node in model.graph.node):
        return model
    zipped = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "ZipMap"}
    outputs = [value for value in model.graph.output if value.type.tensor_type.elem_type in _FLOATS]
    outputs += [helper.make_tensor_value_info(zipped[value.name], TensorProto.FLOAT, None)
                for value in model.graph.output if value.name in zipped]
    if not outputs:
        return model
    kept = ModelProto()
    kept.CopyFrom(model)
    read, nodes = {value.name for value in outputs}, []
    for node in reversed(model.graph.node):
        if read & set(node.output):
            read |= set(node.input)
            nodes.append(node)
    del kept.graph.node[:], kept.graph.output[:]
    kept.graph.node.extend(nodes[::-1])
    kept.graph.output.extend(outputs)
    return kept
