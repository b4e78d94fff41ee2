"""EmbeddingBag in .pt2 and ONNX files becomes a table and a reduction, whatever loop an exporter made of it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from compression.importers.pt2.file import read_pt2
from compression.importers.reader import read_upload
from compression.models.files import load_model
from compression.models.onnx.check import read_checked
from compression.models.onnx.graph import OnnxModel
from compression.spec.errors import ModelError
from tests.importers.graphs import export, files_of

IDS = torch.tensor([[1, 2, 0, 0, 3, 4], [5, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0], [9, 9, 9, 1, 2, 3], [7, 0, 7, 0, 7, 0]])
LISTS = {"inputs": {"genres": {"kind": "multi", "column": "genres", "ids": "as-is"}}}


class Bag(nn.Module):
    """The genres of an item, pooled, to a probability."""

    def __init__(self, mode: str, padding: int | None = None):
        super().__init__()
        self.bag, self.out = nn.EmbeddingBag(30, 4, mode=mode, padding_idx=padding), nn.Linear(4, 1)

    def forward(self, genres):
        return torch.sigmoid(4 * self.out(self.bag(genres)).squeeze(-1))


class Loose(Bag):
    """Bags that start where the second input says."""

    def forward(self, genres, starts):
        return torch.sigmoid(self.out(self.bag(genres, starts)).squeeze(-1))


def exported(model: nn.Module, path, *, second: object = None):
    path.parent.mkdir(parents=True)
    axes = {0: torch.export.Dim.DYNAMIC} | ({1: second} if second else {})
    torch.export.save(torch.export.export(model.eval(), (IDS,), dynamic_shapes=(axes,)), path)
    return path


@pytest.mark.parametrize("padding", [None, 0, 9])
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_a_bag_of_a_program_gives_what_torch_gives(mode, padding, tmp_path):
    torch.manual_seed(0)
    model = Bag(mode, padding)
    module = read_pt2(exported(model, tmp_path / "up" / "m.pt2"), "m.pt2").module
    assert "bag" not in " ".join(str(node.target) for node in module.graph.nodes if node.op == "call_function")
    with torch.no_grad():
        torch.testing.assert_close(module(IDS), model(IDS), atol=1e-6, rtol=1e-6)


@pytest.mark.slow
def test_bags_of_a_free_length_are_read(tmp_path):
    model = Bag("mean", 0)
    path = exported(model, tmp_path / "up" / "m.pt2", second=torch.export.Dim.DYNAMIC)
    read_upload(files_of(path), tmp_path / "imported", binding=LISTS)
    loaded = load_model(tmp_path / "imported")
    assert loaded.module.table_inputs == {"bag": "genres"}
    with torch.no_grad():
        ours = torch.sigmoid(loaded.module({"genres": IDS[:, :3]}))
        torch.testing.assert_close(ours, model(IDS[:, :3]), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("mode", "padding", "dynamo"), [
    ("sum", None, False), ("mean", None, False), ("max", None, False), ("sum", None, True), ("mean", 0, True),
    ("max", 9, True)])
def test_the_loop_of_an_exporter_becomes_a_gather_and_a_reduction(mode, padding, dynamo, tmp_path):
    torch.manual_seed(0)
    model = Bag(mode, padding)
    path = export(model, {"genres": IDS}, tmp_path / "up" / "m.onnx", dynamo=dynamo)
    assert any(node.op_type == "Loop" for node in onnx.load(path).graph.node)
    data = {file.name: file for file in path.parent.glob("*.data")}
    graph = read_checked(path, data)
    assert not {node.op_type for node in graph.graph.node} & {"Loop", "If", "SequenceEmpty", "ConcatFromSequence"}
    module = OnnxModel(graph, data).eval()
    assert isinstance(module.bag, nn.Embedding) and module.table_inputs == {"bag": "genres"}
    with torch.no_grad():
        torch.testing.assert_close(torch.sigmoid(module({"genres": IDS})), model(IDS), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("opset", [11, 13])
def test_loops_of_older_opsets_are_read_and_compared_with_the_runtime(opset, tmp_path):
    torch.manual_seed(0)
    model = Bag("mean")
    path = export(model, {"genres": IDS}, tmp_path / "up" / "m.onnx", dynamo=False, opset=opset)
    assert read_upload(files_of(path), tmp_path / "imported", binding=LISTS).notes == ()
    with torch.no_grad():
        ours = torch.sigmoid(load_model(tmp_path / "imported").module({"genres": IDS}))
        torch.testing.assert_close(ours, model(IDS), atol=1e-6, rtol=1e-6)


@pytest.mark.slow
def test_a_bag_whose_batch_is_second_is_compared_as_it_came(tmp_path):
    torch.manual_seed(0)
    model = Bag("mean")
    path = export(model, {"genres": IDS}, tmp_path / "up" / "m.onnx", dynamo=False, opset=13)
    graph = onnx.load(path)
    batch, length = graph.graph.input[0].type.tensor_type.shape.dim
    graph.graph.input[0].type.tensor_type.shape.CopyFrom(onnx.TensorShapeProto(dim=[length, batch]))
    for node in graph.graph.node:
        node.input[:] = ["by_row" if name == "genres" else name for name in node.input]
    graph.graph.node.insert(0, onnx.helper.make_node("Transpose", ["genres"], ["by_row"]))
    onnx.save(graph, path)
    assert read_upload(files_of(path), tmp_path / "imported", binding=LISTS).notes == ()
    with torch.no_grad():
        ours = torch.sigmoid(load_model(tmp_path / "imported").module({"genres": IDS}))
        torch.testing.assert_close(ours, model(IDS), atol=1e-6, rtol=1e-6)


def squeezed(width: int) -> nn.Module:
    class Squeezed(Bag):
        """squeeze(-1) behind a bag: the TorchScript exporter doesn't know the length, and writes an If."""

        def forward(self, genres):
            return torch.sigmoid(self.out(self.bag(genres)).squeeze(-1).reshape(genres.shape[0], -1).sum(1))

    model = Squeezed("sum")
    model.out = nn.Linear(4, width)
    return model


@pytest.mark.parametrize(("width", "left"), [(1, "Squeeze"), (3, "Identity")])
def test_a_squeeze_of_an_unknown_axis_is_decided_when_the_graph_is_read(width, left, tmp_path):
    path = export(squeezed(width), {"genres": IDS}, tmp_path / "m.onnx", dynamo=False)
    assert any(node.op_type == "If" for node in onnx.load(path).graph.node)
    kinds = [node.op_type for node in read_checked(path, {}).graph.node]
    assert left in kinds and "If" not in kinds


N = onnx.helper.make_node


@pytest.mark.security
@pytest.mark.parametrize("axes", [
    onnx.TensorProto(data_type=7, dims=[1], data_location=1,
                     external_data=[onnx.StringStringEntryProto(key="location", value="/etc/passwd")]),
    onnx.TensorProto(data_type=7, dims=[2**40], raw_data=b"\0" * 8),
    onnx.TensorProto(data_type=8, dims=[1], string_data=[b"x"])])
def test_a_branch_that_stores_more_than_a_few_numbers_is_refused(axes, tmp_path):
    path = export(squeezed(1), {"genres": IDS}, tmp_path / "m.onnx", dynamo=False)
    model = onnx.load(path)
    branch = next(node for node in model.graph.node if node.op_type == "If").attribute[0].g
    next(node for node in branch.node if node.op_type == "Constant").attribute[0].t.CopyFrom(axes)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"Operator If .* of m.onnx holds a sub-graph"):
        read_checked(path, {}, name="m.onnx")


def loop(change) -> onnx.ModelProto:
    """The exported loop with something changed in it."""
    with tempfile.TemporaryDirectory() as folder:
        path = export(Bag("sum"), {"genres": IDS}, Path(folder) / "m.onnx", dynamo=False)
        model = onnx.load(path)
    node = next(node for node in model.graph.node if node.op_type == "Loop")
    change(model, node, node.attribute[0].g)
    return model


def nest(model, node, body):
    for _ in range(8):
        inner = onnx.GraphProto()
        inner.CopyFrom(body)
        del body.node[:]
        body.node.append(N("If", ["/bag/Constant_3_output_0"], ["deep"], then_branch=inner, else_branch=inner))


def compute_table(model, node, body):
    model.graph.node.insert(0, N("Sin", ["bag.weight"], ["sine"]))
    for inner in body.node:
        inner.input[:] = ["sine" if name == "bag.weight" else name for name in inner.input]


def store(body, **fields):
    body.initializer.append(onnx.TensorProto(name="w", data_type=1, **fields))


PLACE = onnx.StringStringEntryProto(key="location", value="/etc/passwd")
HUGE = onnx.TensorProto(data_type=1, dims=[2**40], raw_data=b"\0" * 4)
CHANGES = {
    "an operator that bags lack": lambda model, node, body: body.node.append(N("RandomNormal", [], ["r"], shape=[9])),
    "a custom operator inside": lambda model, node, body: body.node.append(N("Gather", [], ["r"], domain="evil")),
    "a tensor inside": lambda model, node, body: store(body, dims=[1], raw_data=np.float32(1).tobytes()),
    "a tensor that lies elsewhere": lambda model, node, body: store(body, dims=[4], data_location=1,
                                                                    external_data=[PLACE]),
    "a tensor of terabytes": lambda model, node, body: store(body, dims=[2**40], raw_data=b"\0" * 4),
    "a constant of terabytes": lambda model, node, body: body.node.append(N("Constant", [], ["c"], value=HUGE)),
    "ten thousand operators inside": lambda model, node, body: body.node.extend(
        N("Identity", [body.node[0].output[0]], [f"i{k}"]) for k in range(10_000)),
    "graphs in graphs": nest,
    "a table that is computed": compute_table,
    "a number of rounds from nowhere": lambda model, node, body: node.input.__setitem__(0, "nowhere"),
}


@pytest.mark.security
@pytest.mark.parametrize("name", CHANGES)
def test_a_loop_that_is_no_bag_is_refused_before_it_is_run(name, tmp_path):
    (tmp_path / "m.onnx").write_bytes(loop(CHANGES[name]).SerializeToString())
    with pytest.raises(ModelError, match=r"Operator Loop \(node '/bag/Loop'\) of m.onnx holds a sub-graph"):
        read_checked(tmp_path / "m.onnx", {}, name="m.onnx")


@pytest.mark.security
def test_a_loop_that_pools_in_another_way_is_found_out_by_the_runtime(tmp_path):
    def squared(model, node, body):
        """Rows are multiplied by themselves on the way to the sum: the same operators, other numbers."""
        place = next(k for k, inner in enumerate(body.node) if inner.op_type == "ReduceSum")
        rows = body.node[place].input[0]
        body.node.insert(place, N("Mul", [rows, rows], ["squares"]))
        body.node[place + 1].input[0] = "squares"

    (tmp_path / "m.onnx").write_bytes(loop(squared).SerializeToString())
    with pytest.raises(ModelError, match=r"m.onnx holds a loop that looks like an EmbeddingBag, but pools in a way"):
        read_upload({"m.onnx": tmp_path / "m.onnx"}, tmp_path / "imported", binding=LISTS)


def test_bags_that_start_anywhere_are_refused_by_name(tmp_path):
    (tmp_path / "up").mkdir()
    path, free = tmp_path / "up" / "m.pt2", {0: torch.export.Dim.DYNAMIC}
    torch.export.save(torch.export.export(Loose("sum").eval(), (IDS.flatten(), torch.tensor([0, 4, 9])),
                                          dynamic_shapes=(free, free)), path)
    with pytest.raises(ModelError, match=r"embedding_bag.*on bags of several lengths or with weights\. Give ids"):
        read_pt2(path, "m.pt2")
