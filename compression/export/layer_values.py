"""Where the layers of a model stand in its exported graph: the value that enters each, and the value that leaves it.

Found by what an export keeps: tensors bear the path of their layer, and nodes stand in the order in which layers are
called. A layer that is called twice, as by both texts of a pair, has two calls.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from compression.spec.errors import ExportError

if TYPE_CHECKING:
    import onnx

    Roots = dict[str, set[str]]

ROUNDING = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast"}  # what rounds a layer's input


class Call(NamedTuple):
    """Names of two values of the graph."""

    path: str
    enters: str
    leaves: str


def find_calls(graph: "onnx.GraphProto", paths: Iterable[str]) -> list[Call]:
    """The calls of the layers at `paths`, in the order of the graph.

    Raises ExportError for a layer whose nodes can't be told apart.
    """
    roots = _roots(graph)
    producers = {name: place for place, node in enumerate(graph.node) for name in node.output}
    readers: dict[str, list[int]] = {}  # initializer → the nodes that read it, or what was computed from it alone
    for place, node in enumerate(graph.node):
        if node.output[0] not in roots:
            for root in set().union(*(roots.get(name, ()) for name in node.input)):
                readers.setdefault(root, []).append(place)
    calls = []
    for path in paths:
        own = [places for root, places in readers.items() if root.startswith(f"{path}.")]
        if not own or len({len(places) for places in own}) > 1:
            raise ExportError(f"Its scores differ by more than rounding, and {path} can't be compared alone: the nodes "
                              "of its calls can't be told apart in the exported graph. The file is not used.")
        for places in zip(*own, strict=True):
            leaves = _meeting(graph, set(places))
            calls.append(Call(path, _source(graph, path, leaves, min(places), producers, roots), leaves))
    return sorted(calls, key=lambda call: producers[call.leaves])


def _roots(graph: "onnx.GraphProto") -> "Roots":
    """Each value that no row changes → the initializers that it is made of."""
    roots = {tensor.name: {tensor.name} for tensor in graph.initializer}
    for node in graph.node:
        given = [name for name in node.input if name]
        if given and all(name in roots for name in given):
            roots |= dict.fromkeys(node.output, set().union(*(roots[name] for name in given)))
    return roots


def _meeting(graph: "onnx.GraphProto", places: set[int]) -> str:
    """The first value that depends on all these nodes."""
    behind: dict[str, set[int]] = {}
    for place in range(min(places), len(graph.node)):
        node = graph.node[place]
        read = set().union(*(behind.get(name, ()) for name in node.input), {place} & places)
        behind |= dict.fromkeys(node.output, read)
        if read == places:
            return node.output[0]
    raise AssertionError("what a layer's tensors make meets in the score at the latest")


def _source(graph: "onnx.GraphProto", path: str, value: str, before: int, producers: dict[str, int],
            roots: "Roots") -> str:
    """The nearest float value, made before the node `before`, on which alone `value` depends."""
    asked = {value}
    while True:
        latest = max(producers.get(name, -1) for name in asked)
        if latest < 0 or (len(asked) == 1 and latest < before and graph.node[latest].op_type not in ROUNDING):
            break
        node = graph.node[latest]
        asked = (asked - set(node.output)) | {name for name in node.input if name and name not in roots}
    if len(asked) != 1:
        raise ExportError(f"Its scores differ by more than rounding, and {path} can't be compared alone: several "
                          "inputs of the exported graph enter it. The file is not used.")
    return asked.pop()


def write_traced(path: Path, model: "onnx.ModelProto", values: list[str]) -> Path:
    """A copy beside the file at `path` that answers with these values one after another, as one vector of float32."""
    import numpy as np
    import onnx

    graph = model.graph
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1], np.int64), "traced.flat"))
    for place, value in enumerate(values):
        graph.node.append(onnx.helper.make_node("Cast", [value], [f"traced.float.{place}"], to=onnx.TensorProto.FLOAT))
        graph.node.append(onnx.helper.make_node("Reshape", [f"traced.float.{place}", "traced.flat"],
                                                [f"traced.{place}"]))
    names = [f"traced.{place}" for place in range(len(values))]
    graph.node.append(onnx.helper.make_node("Concat", names, ["traced"], axis=0))
    del graph.output[:]
    graph.output.append(onnx.helper.make_tensor_value_info("traced", onnx.TensorProto.FLOAT, [None]))
    copy = path.with_name(f"traced-{path.name}")
    onnx.save(model, copy)
    return copy
