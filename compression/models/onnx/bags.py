"""EmbeddingBag in an ONNX file: the loops that exporters write for it, found on the parsed graph. Loads no torch.

Both exporters of torch write a bag of (B, L) ids as one flat list, the places where bags start, and a Loop that takes
the rows of each. `find_bags` looks for just that: one table, one list of ids, operators that only read and add. A
Gather and a reduction over each row of ids give the same numbers, up to 44 times faster; onnx_reader tries both ways.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

MAX_INNER_NODES, MAX_DEPTH = 200, 6
MAX_ROW = 65_536  # width of a table
_INSIDE = {"Add", "Cast", "CastLike", "Concat", "Constant", "Div", "Equal", "Gather", "Greater", "Identity", "If",
           "Less", "Loop", "Mul", "Not", "ReduceMax", "ReduceMean", "ReduceSum", "Reshape", "SequenceInsert", "Shape",
           "Size", "Slice", "Squeeze", "Sub", "Unsqueeze"}
_AROUND = {"Cast", "Concat", "Expand", "Gather", "Identity", "Less", "Mul", "Range", "Reshape", "SequenceEmpty",
           "Slice", "Squeeze", "Unsqueeze"}
_SIZES = {"Shape", "Size", "ReduceProd"}
_PLAIN = (AttributeProto.INT, AttributeProto.INTS, AttributeProto.FLOAT, AttributeProto.STRING)
_NUMBERS = (TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL, TensorProto.DOUBLE)
_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)


@dataclass(frozen=True)
class Bag:
    """A Loop that pools the rows of each list: what it reads, how, which id it skips, and what it gives."""

    node: str  # the Loop's first output, by which it is known
    table: str
    ids: str
    reduction: str  # ReduceSum, ReduceMean or ReduceMax
    padding: int | None
    result: str


def find_bags(model: ModelProto) -> dict[str, Bag]:
    """First output of each Loop at the top that is an EmbeddingBag → what it pools. Other loops are left out."""
    graph = _Graph(model.graph)
    found = {}
    for node in model.graph.node:
        if node.op_type == "Loop" and node.domain in ("", "ai.onnx") and node.output:
            bag = graph.bag(node)
            if bag is not None:
                found[node.output[0]] = bag
    return found


def with_plain_bags(model: ModelProto, bags: dict[str, Bag], opset: int) -> ModelProto:
    """A copy of the model with plain operators in the place of the loops; what only they needed is left out."""
    kept = ModelProto()
    kept.CopyFrom(model)
    by_result = {bag.result: bag for bag in bags.values()}
    nodes = []
    for node in model.graph.node:
        if node.output and node.output[0] in by_result:
            nodes += _plain(by_result[node.output[0]], opset)
        elif not (node.output and node.output[0] in bags):
            nodes.append(node)
    _keep_needed(kept.graph, nodes)
    return kept


def _keep_needed(graph: GraphProto, nodes: list[NodeProto]) -> None:
    read, needed = {value.name for value in graph.output}, []
    for node in reversed(nodes):
        if read & set(node.output):
            needed.append(node)
            read |= set(node.input) | _read_inside(node)
    del graph.node[:]
    graph.node.extend(needed[::-1])
    stored = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(stored)
    del graph.value_info[:]


def _read_inside(node: NodeProto) -> set[str]:
    return {name for inner in _inner_nodes(node) for name in inner.input}


class _Graph:
    """The top graph by name."""

    def __init__(self, graph: GraphProto) -> None:
        self.made_by = {name: node for node in graph.node for name in node.output if name}
        self.stored = {tensor.name: tensor for tensor in graph.initializer}
        self.stored |= {node.output[0]: node.attribute[0].t for node in graph.node
                        if node.op_type == "Constant" and [item.name for item in node.attribute] == ["value"]}
        self.read_by: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.read_by.setdefault(name, []).append(node)

    def bag(self, node: NodeProto) -> Bag | None:
        inner = list(_inner_nodes(node))
        if not inner or len(inner) > MAX_INNER_NODES or not all(map(_only_reads, inner)) \
                or not all(map(_is_harmless, node.attribute)):
            return None
        reached = self._reached(node, inner)
        result = self._result(node)
        if reached is None or result is None:
            return None
        tables, ids = reached
        kinds = {one.op_type for one in inner}
        reduction = next((kind for kind in ("ReduceMean", "ReduceMax", "ReduceSum") if kind in kinds), None)
        if len(tables) != 1 or len(ids) != 1 or reduction is None:
            return None
        padding = self._padding(inner) if "Loop" in kinds else None
        if "Loop" in kinds and padding is None:
            return None
        return Bag(node.output[0], tables.pop(), ids.pop(), reduction, padding, result)

    def _reached(self, node: NodeProto, inner: list[NodeProto]) -> tuple[set[str], set[str]] | None:
        """Tables and lists of ids behind the loop; None where anything else is behind it."""
        made_inside = {name for one in inner for name in one.output} | set(_given_inside(node))
        open_names = [name for one in (node, *inner) for name in one.input if name and name not in made_inside]
        tables, ids, seen = set(), set(), set()
        while open_names:
            name = open_names.pop()
            if name in seen:
                continue
            seen.add(name)
            maker = self.made_by.get(name)
            if name in self.stored:
                kind = self._kind(self.stored[name])
                if kind is None:
                    return None
                if kind == "table":
                    tables.add(name)
            elif maker is None:
                return None  # an input that is no flat list: starts of bags, or weights of ids
            elif maker.op_type == "Reshape" and self._is_flat(maker):
                source, before = maker.input[0], self.made_by.get(maker.input[0])
                again = before is not None and before.op_type == "Reshape" and self._is_flat(before)
                if again or (before is not None and before.op_type in _SIZES):
                    open_names.append(source)
                else:
                    ids.add(source)
            elif maker.op_type in _AROUND:
                open_names += [one for one in maker.input if one]
            elif maker.op_type not in _SIZES:
                return None
        return tables, ids

    def _kind(self, tensor: TensorProto) -> str | None:
        """"table" of two axes; "number" for whole numbers and ones; None for other floats."""
        if tensor.data_type not in _FLOATS:
            return "number"
        if len(tensor.dims) == 2:
            return "table"
        values = small_values(tensor)
        return "number" if values is not None and (values == 1).all() else None

    def _is_flat(self, node: NodeProto) -> bool:
        values = small_values(self.stored[node.input[1]]) if node.input[1] in self.stored else None
        return values is not None and values.tolist() == [-1]

    def _padding(self, inner: list[NodeProto]) -> int | None:
        """The id that an inner loop compares with; None where there is no single one."""
        stored = [small_values(self.stored[name]) for node in inner if node.op_type == "Equal"
                  for name in node.input if name in self.stored]
        found = {int(values.reshape(-1)[0]) for values in stored if values is not None and values.size == 1}
        return found.pop() if len(found) == 1 else None

    def _result(self, node: NodeProto) -> str | None:
        """The pooled rows (B, D): the loop's own output, or the joined sequence it gives."""
        if len(node.output) == 1:
            return node.output[0]
        joined = [reader for name in node.output for reader in self.read_by.get(name, [])]
        if len(joined) == 1 and joined[0].op_type == "ConcatFromSequence":
            return joined[0].output[0]
        return None


def _only_reads(node: NodeProto) -> bool:
    """Whether a node inside a loop is one of those that bags are made of, with nothing stored in it but numbers."""
    return node.domain in ("", "ai.onnx") and node.op_type in _INSIDE and all(map(_is_harmless, node.attribute))


def _is_harmless(item: AttributeProto) -> bool:
    if item.type == AttributeProto.TENSOR:
        return small_values(item.t) is not None
    if item.type == AttributeProto.GRAPH:  # a bag without ids is a row of zeros, stored in its branch
        rows = [small_values(tensor, MAX_ROW) for tensor in item.g.initializer]
        return not item.g.sparse_initializer and all(row is not None and not row.any() for row in rows)
    return item.type in _PLAIN


def _inner_nodes(node: NodeProto, depth: int = 0) -> Iterator[NodeProto]:
    """All nodes of the graphs in a node, and of those in them; below MAX_DEPTH one that no list allows."""
    for item in node.attribute:
        if item.type == AttributeProto.GRAPH:
            if depth == MAX_DEPTH:
                yield NodeProto(op_type="too deep")
                return
            for inner in item.g.node:
                yield inner
                yield from _inner_nodes(inner, depth + 1)


def _given_inside(node: NodeProto) -> Iterator[str]:
    """Names that inner graphs get from the loop, or store themselves."""
    for one in (node, *_inner_nodes(node)):
        for item in one.attribute:
            yield from (value.name for value in (*item.g.input, *item.g.initializer))


def small_values(tensor: TensorProto, n_most: int = 16) -> np.ndarray | None:
    """The values of a tensor of a few numbers that lie in the graph itself; None for others."""
    if tensor.data_location == TensorProto.EXTERNAL or tensor.data_type not in _NUMBERS or len(tensor.dims) > 2 \
            or any(length < 0 for length in tensor.dims) or math.prod(tensor.dims) > n_most:
        return None
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, OverflowError):
        return None


def _plain(bag: Bag, opset: int) -> list[NodeProto]:
    """Rows of the table (B, L, D), pooled over L."""
    name = f"{bag.result}_bag"

    def reduce(kind: str, given: str, made: str, *, keep: int = 0) -> list[NodeProto]:
        if opset >= (13 if kind == "ReduceSum" else 18):
            return [number(f"{made}_axes", np.array([1])), helper.make_node(kind, [given, f"{made}_axes"], [made],
                                                                           name=made, keepdims=keep)]
        return [helper.make_node(kind, [given], [made], name=made, axes=[1], keepdims=keep)]

    def number(made: str, value: np.ndarray) -> NodeProto:
        return helper.make_node("Constant", [], [made], name=made, value=numpy_helper.from_array(value))

    def step(kind: str, given: list[str], made: str, **settings: object) -> NodeProto:
        return helper.make_node(kind, given, [made], name=made, **settings)

    rows, mask, count = f"{name}_rows", f"{name}_mask", f"{name}_count"
    nodes = [step("Gather", [bag.table, bag.ids], rows, axis=0)]
    if bag.padding is None:
        return [*nodes, *reduce(bag.reduction, rows, bag.result)]
    last = np.array([-1])
    unsqueeze = [number(f"{name}_last", last), step("Unsqueeze", [f"{name}_there", f"{name}_last"], mask)]
    if opset < 13:
        unsqueeze = [step("Unsqueeze", [f"{name}_there"], mask, axes=[-1])]
    nodes += [number(f"{name}_padding", np.array(bag.padding)), step("Cast", [bag.ids], f"{name}_long", to=7),
              step("Equal", [f"{name}_long", f"{name}_padding"], f"{name}_skipped"),
              step("Not", [f"{name}_skipped"], f"{name}_kept"),
              step("Cast", [f"{name}_kept"], f"{name}_there", to=1), *unsqueeze,
              *reduce("ReduceSum", mask, count)]
    if bag.reduction == "ReduceMax":
        return [*nodes, number(f"{name}_least", np.array(np.finfo(np.float32).min)),
                number(f"{name}_zero", np.float32(0)), step("Cast", [mask], f"{name}_is", to=9),
                step("Where", [f"{name}_is", rows, f"{name}_least"], f"{name}_masked"),
                *reduce("ReduceMax", f"{name}_masked", f"{name}_max"),
                step("Greater", [count, f"{name}_zero"], f"{name}_any"),
                step("Where", [f"{name}_any", f"{name}_max", f"{name}_zero"], bag.result)]
    total = bag.result if bag.reduction == "ReduceSum" else f"{name}_total"
    nodes += [step("Mul", [rows, mask], f"{name}_masked"), *reduce("ReduceSum", f"{name}_masked", total)]
    if bag.reduction == "ReduceSum":
        return nodes
    return [*nodes, number(f"{name}_one", np.float32(1)), step("Max", [count, f"{name}_one"], f"{name}_many"),
            step("Div", [total, f"{name}_many"], bag.result)]
