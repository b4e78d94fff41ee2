"""The names in a graph, so that a new one can be free. Loads no torch."""

from __future__ import annotations

from onnx import GraphProto


def names_in(graph: GraphProto) -> set[str]:
    """Names of all values: inputs, stored numbers, and what operators read and make."""
    return {name for node in graph.node for name in (*node.input, *node.output)} | {
        one.name for one in (*graph.initializer, *graph.input, *graph.output)}
