"""Bags of ids in an exported program as a table and a sum, mean or maximum over each row of ids.

torch writes `EmbeddingBag(ids)` of (B, L) ids as one flat list with a bag every L places; exported to ONNX it becomes a
loop, up to 44 times slower than what is put in its place here. Bags of other lengths stay, and are refused by name.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from compression.spec.errors import ModelError

ATEN = torch.ops.aten
_BAGS = {ATEN.embedding_bag.padding_idx, ATEN.embedding_bag.default, ATEN._embedding_bag.default,
         ATEN._embedding_bag_forward_only.default}
_FLAT = {ATEN.reshape.default, ATEN.view.default, ATEN._unsafe_view.default}
_SUM, _MEAN, _MAX = range(3)


def lower_bags(graph: fx.Graph, widths: dict[str, int | None], file: str) -> None:
    """Put plain operators in the place of each bag. `widths`: the second axis of inputs that have one.

    Raises ModelError for a bag whose lengths differ, or that weighs its ids.
    """
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target in _BAGS:
            _lower(graph, node, widths, file)


def _lower(graph: fx.Graph, node: fx.Node, widths: dict[str, int | None], file: str) -> None:
    table, flat, starts, _, mode, _, weights, with_last, *padding = [*node.args, *[None] * 9][:9]
    others = [user for user in node.users if user.args[1] != 0 and user.users]
    length = _step(starts)
    if length is None or weights is not None or with_last or others or mode not in (_SUM, _MEAN, _MAX):
        raise ModelError(f"{file} calls {str(node.target)!r} (node {node.name!r}) on bags of several lengths or with "
                         "weights. Give ids (batch, L) to the EmbeddingBag, padded with padding_idx.")
    with graph.inserting_before(node):
        ids = _rows_of_ids(graph, flat, length, widths)
        rows = graph.call_function(ATEN.embedding.default, (table, ids))
        skipped = padding[0] if padding and isinstance(padding[0], int) and padding[0] >= 0 else None
        made = _reduced(graph, rows, ids, mode, skipped)
    for user in list(node.users):
        if user.args[1] == 0:
            user.replace_all_uses_with(made)
        graph.erase_node(user)
    graph.erase_node(node)


def _step(starts: Any) -> Any:
    """L of arange(0, count, L), as a number or a node; None for other starts."""
    if not isinstance(starts, fx.Node) or starts.target is not ATEN.arange.start_step or starts.args[0] != 0:
        return None
    return starts.args[2]


def _rows_of_ids(graph: fx.Graph, flat: fx.Node, length: Any, widths: dict[str, int | None]) -> fx.Node:
    """(B, L) ids: the input itself where the flat list is made of one, else the list in rows of L."""
    if flat.target in _FLAT and list(flat.args[1]) == [-1] and isinstance(flat.args[0], fx.Node):
        source = flat.args[0]
        of_its_own = isinstance(length, fx.Node) and length.target is ATEN.sym_size.int and length.args == (source, 1)
        if of_its_own or (source.name in widths and widths[source.name] == length):
            return source
    return graph.call_function(ATEN.reshape.default, (flat, [-1, length]))


def _reduced(graph: fx.Graph, rows: fx.Node, ids: fx.Node, mode: int, padding: int | None) -> fx.Node:
    call = graph.call_function
    if padding is None:
        whole = {_SUM: ATEN.sum.dim_IntList, _MEAN: ATEN.mean.dim, _MAX: ATEN.amax.default}
        return call(whole[mode], (rows, [1]))
    is_there = call(ATEN.unsqueeze.default, (call(ATEN.ne.Scalar, (ids, padding)), -1))  # (B, L, 1)
    ones = call(ATEN.to.dtype, (is_there, torch.float32))
    count = call(ATEN.sum.dim_IntList, (ones, [1]))  # (B, 1)
    if mode == _MAX:
        masked = call(ATEN.where.ScalarOther, (is_there, rows, torch.finfo(torch.float32).min))
        largest, any_there = call(ATEN.amax.default, (masked, [1])), call(ATEN.gt.Scalar, (count, 0))
        return call(ATEN.where.ScalarOther, (any_there, largest, 0.0))
    total = call(ATEN.sum.dim_IntList, (call(ATEN.mul.Tensor, (rows, ones)), [1]))
    return total if mode == _SUM else call(ATEN.div.Tensor, (total, call(ATEN.clamp_min.default, (count, 1.0))))
