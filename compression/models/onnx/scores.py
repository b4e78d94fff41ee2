"""Which number of a graph's outputs is the score: an output, a column of one, or one of two classes. Loads no torch.

A choice is written as text: "clicked" is an output of one number a row, "probabilities[1]" a column of a wide one, and
"logits[1]-[0]" the logit of the second of two classes, as a softmax over both would have it.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

from compression.models.onnx.names import names_in
from compression.spec.errors import ModelError
from compression.spec.names import free_name
from compression.spec.signature import OUTPUT

MOST_COLUMNS = 16  # of an output that are offered; wider ones are vectors
MAX_INFERRED_BYTES = 1 << 30  # the whole graph is copied to infer its shapes
_SAME_NUMBERS = {"Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Cast"}
_COLUMN = re.compile(r"(.+?)\[(\d+)\](-\[0\])?", re.DOTALL)
_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)


def score_choices(model: ModelProto) -> tuple[str, ...]:
    """What may be the score: outputs that hold floats, and the columns of wide ones."""
    widths = _widths(model)
    found = []
    for value in model.graph.output:
        width = widths.get(value.name)
        if value.type.tensor_type.elem_type not in _FLOATS or (width or 1) > MOST_COLUMNS:
            continue
        if width is None or width == 1:
            found.append(value.name)
            continue
        found += [f"{value.name}[{place}]" for place in range(width)]
        if width == 2 and not _of_two_classes(model, value.name):
            found.append(f"{value.name}[1]-[0]")
    return tuple(found)


def proposed_score(model: ModelProto) -> str:
    """The output named score, the only one, or the second of two classes; "" where a person has to say it."""
    choices = score_choices(model)
    names = {value.name for value in model.graph.output}
    if OUTPUT in choices or len(choices) == 1:
        return OUTPUT if OUTPUT in choices else choices[0]
    sources = {choice if choice in names else choice.rpartition("[")[0] for choice in choices}
    second = next((choice for choice in choices if choice.endswith("[1]")), "")
    of_classes = len(choices) == 2 and len(sources) == 1 and second
    return second if of_classes and _of_two_classes(model, second.removesuffix("[1]")) else ""


def chosen_score(model: ModelProto, given: dict[str, Any]) -> str:
    """The choice of the binding, else the proposal. Raises ModelError naming the choices."""
    choices, wanted = score_choices(model), given.get("output")
    names = [value.name for value in model.graph.output]
    if wanted in choices or (wanted in names and not any(one.startswith(f"{wanted}[") for one in choices)):
        return wanted
    shown = ", ".join((choices or tuple(names))[:20])
    if wanted is not None and (len(choices) > 1 or wanted not in (*names, OUTPUT)):
        raise ModelError(f"The binding names the output {str(wanted)[:80]!r}; the score may be: {shown}.")
    if proposed := proposed_score(model):
        return proposed
    if not choices:
        raise ModelError(f"None of the outputs ({', '.join(names)}) holds one number a row, or up to {MOST_COLUMNS}. "
                         "Export the model with its score as an output.")
    raise ModelError(f"The model has several outputs that may be the score: {shown}. Choose one, or name it in the "
                     f'binding: {{"output": "{choices[0]}"}}.')


def with_chosen(model: ModelProto, choice: str) -> tuple[ModelProto, str]:
    """(the model with the choice as an output of its own, that output's name)."""
    found = _COLUMN.fullmatch(choice)
    if choice in {value.name for value in model.graph.output} or found is None:
        return model, choice
    source, column, less_first = found[1], int(found[2]), bool(found[3])
    kept = ModelProto()
    kept.CopyFrom(model)
    graph = kept.graph
    taken = names_in(graph)

    def column_of(place: int) -> str:
        name, index = (free_name(f"{source}_{what}_{place}", taken) for what in ("column", "place"))
        graph.initializer.append(numpy_helper.from_array(np.array(place, np.int64), index))
        graph.node.append(helper.make_node("Gather", [source, index], [name], axis=1))
        return name

    made = column_of(column)
    if less_first:
        difference = free_name(f"{source}_difference", taken)
        graph.node.append(helper.make_node("Sub", [made, column_of(0)], [difference]))
        made = difference
    kind = next(value.type.tensor_type.elem_type for value in graph.output if value.name == source)
    graph.output.append(helper.make_tensor_value_info(made, kind, ["batch"]))
    return kept, made


def ends_in_probability(model: ModelProto, output: str) -> bool:
    """Whether the output is a Sigmoid, or a column of a Softmax or of both classes, perhaps in another shape."""
    return _operator_behind(model, output) in ("Sigmoid", "Softmax") or _of_two_classes(model, output)


def _of_two_classes(model: ModelProto, output: str) -> bool:
    """Whether it holds a probability for each class: a Softmax, or 1 − p beside p as scikit-learn writes it."""
    made_by = {name: node for node in model.graph.node for name in node.output}
    node = _behind(made_by, output)
    if node is None or node.op_type != "Concat" or len(node.input) != 2:
        return node is not None and node.op_type == "Softmax"
    first, second = (_behind(made_by, name) for name in node.input)
    return first is not None and second is not None and (first.op_type, second.op_type) == ("Sub", "Sigmoid") \
        and first.input[1] == node.input[1]


def _operator_behind(model: ModelProto, output: str) -> str:
    """The operator that computes the numbers of an output, whatever arranges them afterwards; "" for an input."""
    node = _behind({name: node for node in model.graph.node for name in node.output}, output)
    return node.op_type if node is not None else ""


def _behind(made_by: dict[str, NodeProto], output: str) -> NodeProto | None:
    while (node := made_by.get(output)) is not None and (node.op_type in _SAME_NUMBERS or (
            node.op_type == "Gather" and any(item.name == "axis" and item.i in (1, -1) for item in node.attribute))):
        output = node.input[0]
    return node


def _widths(model: ModelProto) -> dict[str, int | None]:
    """Output → its columns; None where it has one axis, or nothing says how many."""
    outputs = list(model.graph.output)
    if any(_width(value) == 0 for value in outputs) and model.ByteSize() <= MAX_INFERRED_BYTES:
        try:
            inferred = shape_inference.infer_shapes(model).graph
        except Exception:  # a graph whose shapes can't be inferred says no more than it did
            return {value.name: _width(value) or None for value in outputs}
        outputs = list(inferred.output)
    return {value.name: _width(value) or None for value in outputs}


def _width(value: Any) -> int | None:
    """Columns of (batch, F); None for (batch,), 0 where it isn't said."""
    kind = value.type.tensor_type
    axes = kind.shape.dim
    if not kind.HasField("shape"):
        return 0
    return None if len(axes) < 2 else int(axes[1].dim_value) if len(axes) == 2 else 0
