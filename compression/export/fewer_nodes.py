"""The same graph in fewer nodes: what every field does for itself is done once for all of them.

At batch size 1 a model's time is the number of its nodes. A zoo model looks every field up by itself and puts the
vectors side by side in a Concat along axis 1; an operator that works on rows one by one can do so behind that Concat:

    Concat(Unsqueeze(x₁), …, Unsqueeze(xₖ))       → Reshape(Concat(x₁, …, xₖ))
    Concat(v₁ · w₁, …, vₖ · wₖ), numbers × vectors → one product of all numbers with all vectors
    Concat of dequantised or cast rows            → dequantised or cast once

Weights stay as they are, one for each layer: what is concatenated of them is folded when the file is loaded.
Legend: B batch, D columns of one input of the Concat, k inputs beside one another that are made alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import onnx_ir as ir

FLOAT = int(ir.DataType.FLOAT)


def fewer_nodes(model: ir.Model) -> None:
    """Rewrite the graph in place until nothing changes; scores stay what they were, to rounding.

    Wants constants as initializers, equal ones shared, and graph inputs with their shapes.
    """
    graph = model.graph
    _keep_products_whole(graph)
    waiting = [node for node in graph if _joins_columns(node)]
    while waiting:
        node = waiting.pop()
        waiting += [new for new in _stacked(graph, node) or _merged(graph, node) if _joins_columns(new)]


class Writer:
    """New nodes, in order, and the constants they need."""

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self.nodes: list[ir.Node] = []

    def add(self, operator: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        node = ir.node(operator, list(inputs), attributes=attributes)
        self.nodes.append(node)
        return node.outputs[0]

    def constant(self, array: np.ndarray) -> ir.Value:
        name = f"fewer_nodes.{len(self.graph.initializers)}"
        value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
        self.graph.register_initializer(value)
        return value

    def ints(self, *values: int) -> ir.Value:
        return self.constant(np.array(values, np.int64))

    def concat(self, values: list[ir.Value], axis: int) -> ir.Value:
        return self.add("Concat", *values, axis=axis) if len(values) > 1 else values[0]

    def side_by_side(self, values: list[ir.Value]) -> ir.Value:
        """k × (B,) → (B, k): one transposition in the place of k Unsqueezes."""
        below = self.add("Reshape", self.concat(values, 0), self.ints(len(values), -1))
        return self.add("Transpose", below, perm=[1, 0])

    def replace(self, node: ir.Node, result: ir.Value) -> list[ir.Node]:
        """Put the new nodes where `node` was; gives them."""
        self.graph.insert_before(node, self.nodes)
        node.outputs[0].replace_all_uses_with(result, replace_graph_outputs=True)
        self.graph.remove(node, safe=True)
        return self.nodes


def _joins_columns(node: ir.Node) -> bool:
    return node.op_type == "Concat" and node.attributes["axis"].as_int() == 1


def _stacked(graph: ir.Graph, node: ir.Node) -> list[ir.Node]:
    """k × (B, D), stacked to (B, k, D): joined and cut anew, without an Unsqueeze for each."""
    rows = [_unsqueezed(value, 1) for value in node.inputs]
    widths = {width_of(value) if value is not None else None for value in rows}
    if len(rows) < 2 or None in widths or len(widths) > 1:
        return []
    writer = Writer(graph)
    joined = writer.concat(rows, 1)
    return writer.replace(node, writer.add("Reshape", joined, writer.ints(0, len(rows), widths.pop())))


Parts = tuple[ir.Value, ...]


@dataclass(frozen=True)
class Alike:
    """How an input (B, D) of a Concat is made. Those of equal `kind` are made together, (B, k·D), by `merge`.

    `at_least` so many, that the nodes which put them together are fewer than those they spare.
    """

    kind: tuple[Any, ...]
    parts: Parts
    merge: Callable[[Writer, list[Parts]], ir.Value]
    at_least: int = 3


def _merged(graph: ir.Graph, node: ir.Node) -> list[ir.Node]:
    """The longest run of inputs that are made alike, made together; the others as they are."""
    found = [(value, _alike(value)) for value in node.inputs]
    runs = [list(run) for _, run in groupby(found, key=lambda pair: pair[1].kind if pair[1] else ())]
    longest = max(runs, key=lambda run: len(run) if run[0][1] else 0)
    if longest[0][1] is None or len(longest) < longest[0][1].at_least:
        return []
    writer, values = Writer(graph), []
    for run in runs:
        if run is longest:
            values.append(run[0][1].merge(writer, [alike.parts for _, alike in run]))
        else:
            values += [value for value, _ in run]
    return writer.replace(node, writer.concat(values, 1))


def _alike(value: ir.Value) -> Alike | None:
    node = value.producer()
    finder = _FINDERS.get(node.op_type) if node is not None and node.domain == "" else None
    return finder(node) if finder else None


def _product(node: ir.Node) -> Alike | None:
    for one, other in (node.inputs, node.inputs[::-1]):
        column = _unsqueezed(one, -1, 1)
        if column is not None and _rank(column) == 1 and _is_constant(other, rank=1):
            return Alike(("number", *other.const_value.shape), (column, other), _merge_numbers, at_least=4)
        if _is_constant(other, rank=0) and width_of(one):
            return Alike(("scaled", width_of(one)), (one, other), _merge_scaled)
    return None


def _merge_numbers(writer: Writer, parts: list[Parts]) -> ir.Value:
    """Numbers (B,), each times its vector (D,)."""
    numbers, vectors = map(list, zip(*parts, strict=True))
    column = writer.add("Unsqueeze", writer.side_by_side(numbers), writer.ints(-1))  # (B, k, 1)
    return _times(writer, column, vectors, vectors[0].const_value.shape[0], vectors[0].const_value.shape[0])


def _merge_scaled(writer: Writer, parts: list[Parts]) -> ir.Value:
    """Rows (B, D), each times the one scale of its table."""
    rows, scales = map(list, zip(*parts, strict=True))
    dim = width_of(rows[0])
    stacked = writer.add("Reshape", writer.concat(rows, 1), writer.ints(0, len(rows), dim))
    return _times(writer, stacked, [writer.add("Reshape", scale, writer.ints(1)) for scale in scales], 1, dim)


def _times(writer: Writer, rows: ir.Value, weights: list[ir.Value], width: int, dim: int) -> ir.Value:
    """rows (B, k, D or 1) times k weights (width,), which are joined when the file is loaded → (B, k·D)."""
    table = writer.add("Reshape", writer.concat(weights, 0), writer.ints(len(weights), width))
    return writer.add("Reshape", writer.add("Mul", rows, table), writer.ints(0, len(weights) * dim))


def _dequantised(node: ir.Node) -> Alike | None:
    """Rows of codes with a scale a row: DequantizeLinear along axis 0, without zero points."""
    codes, scale, *zero = node.inputs
    if width_of(codes) and node.attributes["axis"].as_int() == 0 and not any(zero) and not _is_constant(scale):
        half = scale.producer().op_type == "Cast"
        kind = ("rows", width_of(codes), half)
        return Alike(kind, (codes, scale.producer().inputs[0] if half else scale),
                     _merge_half_scaled if half else _merge_rows, at_least=5)
    return None


def _merge_half_scaled(writer: Writer, parts: list[Parts]) -> ir.Value:
    return _merge_rows(writer, parts, half=True)


def _merge_rows(writer: Writer, parts: list[Parts], *, half: bool = False) -> ir.Value:
    """Codes (B, D) and scales (B,) of all tables as rows of one, (B·k, D) and (B·k,)."""
    codes, scales = map(list, zip(*parts, strict=True))
    dim = width_of(codes[0])
    flat = writer.add("Reshape", writer.side_by_side(scales), writer.ints(-1))
    rows = writer.add("Reshape", writer.concat(codes, 1), writer.ints(-1, dim))
    floats = writer.add("DequantizeLinear", rows, writer.add("Cast", flat, to=FLOAT) if half else flat, axis=0)
    return writer.add("Reshape", floats, writer.ints(-1, len(codes) * dim))


def _cast(node: ir.Node) -> Alike | None:
    to = node.attributes["to"].as_int()
    if not width_of(node.outputs[0]):
        return None

    def merge(writer: Writer, parts: list[Parts]) -> ir.Value:
        return writer.add("Cast", _joined(writer, parts), to=to)

    return Alike(("cast", to), (node.inputs[0],), merge)


def _unpacked(node: ir.Node) -> Alike | None:
    """Packed codes (B, P), every byte looked up in a table of n levels, side by side in (B, P·n)."""
    source, shape = node.inputs[0].producer(), node.inputs[1]
    if source is None or source.op_type != "Gather" or not _is_constant(source.inputs[0], rank=2):
        return None
    levels, codes = source.inputs
    packed, per_byte = width_of(codes), levels.const_value.shape[1]
    if not packed or not _is_constant(shape) or shape.const_value.numpy().tolist() != [0, packed * per_byte]:
        return None

    def merge(writer: Writer, parts: list[Parts]) -> ir.Value:
        width = per_byte * sum(width_of(one) for (one,) in parts)
        return writer.add("Reshape", writer.add("Gather", levels, _joined(writer, parts)), writer.ints(0, width))

    return Alike(("unpacked", levels), (codes,), merge)


def _joined(writer: Writer, parts: list[Parts]) -> ir.Value:
    return writer.concat([value for (value,) in parts], 1)


_FINDERS = {"Mul": _product, "DequantizeLinear": _dequantised, "Cast": _cast, "Reshape": _unpacked}


def width_of(value: ir.Value) -> int | None:
    """D of a value (B, D); None for any other, and where neither its shape nor what it is made of tells."""
    if value.shape is not None:
        return value.shape[1] if len(value.shape) == 2 and isinstance(value.shape[1], int) else None
    node = value.producer()
    if node is None:
        return None
    if node.op_type == "Gather":
        table, ids = node.inputs
        return int(table.const_value.shape[1]) if _is_constant(table, rank=2) and _rank(ids) == 1 else None
    if node.op_type in ("Cast", "DequantizeLinear"):
        return width_of(node.inputs[0])
    found = _alike(value) if node.op_type in ("Mul", "Reshape") else None
    if found is None:
        return None
    return int(node.inputs[1].const_value.numpy()[1]) if node.op_type == "Reshape" else int(found.kind[1])


def _rank(value: ir.Value) -> int | None:
    """The rank of a value, if need be of the input that ids were made of; None where unknown."""
    if value.shape is not None:
        return len(value.shape)
    node = value.producer()
    if node is None:
        return None
    if node.op_type == "Gather" and _is_constant(node.inputs[0], rank=1):
        return _rank(node.inputs[1])
    if node.op_type in ("Div", "Mod", "Cast") and all(_is_constant(other, rank=0) for other in node.inputs[1:]):
        return _rank(node.inputs[0])
    return None


def _is_constant(value: ir.Value, rank: int | None = None) -> bool:
    return value.const_value is not None and (rank is None or len(value.const_value.shape) == rank)


def _unsqueezed(value: ir.Value, *axes: int) -> ir.Value | None:
    """What was unsqueezed along one of the axes; None where nothing was."""
    node = value.producer()
    if node is None or node.op_type != "Unsqueeze" or not _is_constant(node.inputs[1]):
        return None
    return node.inputs[0] if node.inputs[1].const_value.numpy().ravel().tolist() in [[axis] for axis in axes] else None


def _keep_products_whole(graph: ir.Graph) -> None:
    """Relu behind a quantised product becomes Max(x, 0), unless what follows is quantised.

    ONNX Runtime would fuse Gemm and Relu first, and then multiply in float, dequantising the weight at every call.
    """
    for node in list(graph):
        if node.op_type != "Relu" or not _is_quantised_product(node.inputs[0].producer()):
            continue
        if all(user.op_type == "QuantizeLinear" for user, _ in node.outputs[0].uses()):
            continue
        writer = Writer(graph)
        writer.replace(node, writer.add("Max", node.inputs[0], writer.constant(np.array(0, np.float32))))


def _is_quantised_product(node: ir.Node | None) -> bool:
    return node is not None and node.op_type == "Gemm" and all(
        value.producer() is not None and value.producer().op_type == "DequantizeLinear" for value in node.inputs[:2])
