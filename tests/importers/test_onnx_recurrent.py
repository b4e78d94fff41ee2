"""GRU and LSTM of ONNX and .pt2 files become torch's layers, with the gates in torch's order."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from compression.export.onnx import export_onnx
from compression.importers.pt2.file import read_pt2
from compression.importers.pt2.writer import write_onnx
from compression.importers.reader import read_upload
from compression.models.files import load_model
from compression.models.onnx.check import read_checked
from compression.models.onnx.graph import OnnxModel
from compression.models.onnx.values import Unsupported
from compression.models.snapshot import read_snapshot, write_snapshot
from compression.models.structure import leaves
from compression.runtimes.onnxruntime import open_session
from compression.spec.errors import ModelError
from tests.importers.graphs import export, files_of

N = helper.make_node
HISTORY = {"history": torch.randint(1, 30, (5, 6), generator=torch.Generator().manual_seed(0))}
LISTS = {"inputs": {"history": {"kind": "multi", "column": "history", "ids": "as-is"}}}


class Recurrent(nn.Module):
    """A recurrent layer over a history; its last state, and its output at the end, to a probability."""

    def __init__(self, kind: type[nn.RNNBase], dim: int = 4, hidden: int = 6, *, first_state: bool = False, **options):
        super().__init__()
        self.item = nn.Embedding(30, dim)
        self.rnn = kind(dim, hidden, batch_first=True, **options)
        n_directions = 2 if self.rnn.bidirectional else 1
        self.out = nn.Linear((n_directions + 1) * hidden, 1)
        if first_state:
            self.first = nn.Parameter(torch.randn(n_directions * self.rnn.num_layers, 1, hidden))

    def forward(self, history):
        x = self.item(history)
        if hasattr(self, "first"):
            state = self.first.expand(-1, history.shape[0], -1).contiguous()
            every, last = self.rnn(x, (state, state) if isinstance(self.rnn, nn.LSTM) else state)
        else:
            every, last = self.rnn(x)
        last = last[0] if isinstance(last, tuple) else last
        return torch.sigmoid(8 * self.out(torch.cat([every[:, -1], last[-1]], 1)).squeeze(-1))


def wide(kind: type[nn.RNNBase]) -> Recurrent:
    """Too large for the exporter to arrange the gates itself: the graph slices and joins them."""
    return Recurrent(kind, dim=64, hidden=100)


MODELS = {
    "GRU": lambda: Recurrent(nn.GRU), "LSTM": lambda: Recurrent(nn.LSTM), "wide GRU": lambda: wide(nn.GRU),
    "wide LSTM": lambda: wide(nn.LSTM), "two-way GRU": lambda: Recurrent(nn.GRU, bidirectional=True),
    "two-way LSTM of two layers": lambda: Recurrent(nn.LSTM, bidirectional=True, num_layers=2),
    "GRU without biases": lambda: Recurrent(nn.GRU, bias=False),
    "GRU from a learned state": lambda: Recurrent(nn.GRU, first_state=True),
    "LSTM from a learned state": lambda: Recurrent(nn.LSTM, first_state=True),
}


def written(model: nn.Module, form: str, path):
    path = path / ("m.pt2" if form == "pt2" else "m.onnx")
    if form != "pt2":
        return export(model, HISTORY, path, dynamo=form == "dynamo")
    path.parent.mkdir()
    torch.export.save(torch.export.export(model, tuple(HISTORY.values()),
                                          dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)), path)
    return path


def read(path) -> OnnxModel:
    """Our reading of the graph, without import: .pt2 converted first."""
    if path.suffix == ".pt2":
        program, path = read_pt2(path, path.name), path.with_name("converted.onnx")
        write_onnx(program, path, "m.pt2")
    data = {file.name: file for file in path.parent.iterdir() if file != path}
    return OnnxModel(read_checked(path, data), data).eval()


FORMS = [*((name, "TorchScript") for name in MODELS), ("wide GRU", "dynamo"), ("wide LSTM", "dynamo"),
         ("two-way LSTM of two layers", "dynamo"), ("GRU from a learned state", "dynamo"), ("GRU", "pt2"),
         ("two-way LSTM of two layers", "pt2"), ("LSTM from a learned state", "pt2")]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "form"), FORMS)
def test_recurrent_layers_become_torch_s(name, form, tmp_path):
    torch.manual_seed(1)
    model = MODELS[name]().eval()
    module = read(written(model, form, tmp_path / "up"))
    assert {type(leaf).__name__ for _, leaf in leaves(module)} == {"Embedding", "Linear", type(model.rnn).__name__}
    with torch.no_grad():
        ours, expected = torch.sigmoid(module(HISTORY)), model(*HISTORY.values())
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-6)
    assert expected.std() > 0.01, "scores that are all equal prove nothing"


@pytest.mark.slow
def test_an_imported_recurrent_model_is_kept_and_written_again(tmp_path):
    torch.manual_seed(1)
    model = Recurrent(nn.LSTM, bidirectional=True).eval()
    path = written(model, "TorchScript", tmp_path / "up")
    assert read_upload(files_of(path), tmp_path / "imported", binding=LISTS).notes == ()
    loaded = load_model(tmp_path / "imported")
    with torch.no_grad():
        expected = model(*HISTORY.values())
    exported = export_onnx(loaded.module, loaded.signature, tmp_path / "again" / "model.onnx")
    scores = open_session(exported.path).score({"history": HISTORY["history"][:2].numpy()})
    np.testing.assert_allclose(scores, expected[:2].numpy(), atol=1e-5)
    assert write_snapshot(tmp_path / "kept", loaded.module, {})
    with torch.no_grad():
        assert torch.equal(read_snapshot(tmp_path / "kept")[0](HISTORY), loaded.module(HISTORY))


@pytest.mark.slow
def test_the_layer_has_the_weights_and_the_name_it_had_in_torch(tmp_path):
    torch.manual_seed(2)
    model = wide(nn.LSTM).eval()
    layer = read(written(model, "dynamo", tmp_path / "up")).rnn
    for name, tensor in model.rnn.named_parameters():
        assert torch.equal(dict(layer.named_parameters())[name], tensor), name


def graph(kind: str = "GRU", *, tensors=(), inputs=("x", "w", "r", "b"), nodes=(), **settings) -> onnx.ModelProto:
    """history (batch, 3) through a table and one recurrent operator of width 2, its last output summed."""
    gates = 3 if kind == "GRU" else 4
    draw = np.random.default_rng(0)
    stored = {"table": (9, 4), "w": (1, gates * 2, 4), "r": (1, gates * 2, 2), "b": (1, gates * 4)}
    stored = {name: draw.normal(size=shape).astype(np.float32) for name, shape in stored.items()}
    stored |= {"all": np.array([0, 1, 3])} | dict(tensors)
    nodes = [N("Gather", ["table", "history"], ["e"]), N("Transpose", ["e"], ["x"], perm=[1, 0, 2]), *nodes,
             N(kind, inputs, ["every"], name="cell", **({"hidden_size": 2} | settings)),
             N("Transpose", ["every"], ["t"], perm=[0, 1, 3, 2]), N("ReduceSum", ["t", "all2"], ["s"], keepdims=0),
             N("Sigmoid", ["s"], ["score"])]
    stored["all2"] = np.array([0, 1, 2])
    made = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("history", TensorProto.INT64, ["batch", 3])],
                             [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch"])],
                             [numpy_helper.from_array(value, name) for name, value in stored.items()])
    return helper.make_model(made, ir_version=10, opset_imports=[helper.make_opsetid("", 21)])


GRU = {"linear_before_reset": 1}


@pytest.mark.parametrize(("kind", "settings", "sentence"), [
    ("GRU", {}, r"reset gate comes before the product \(linear_before_reset=0\)"),
    ("GRU", GRU | {"activations": ["Sigmoid", "Relu"]}, "other activations than torch's"),
    ("GRU", GRU | {"direction": "reverse"}, "reads backwards only"),
    ("GRU", GRU | {"clip": 1.0}, "layout, clip or input_forget"),
    ("LSTM", {"input_forget": 1}, "layout, clip or input_forget"),
    ("GRU", GRU | {"inputs": ("x", "w", "r", "b", "lengths"), "tensors": {"lengths": np.ones(5, np.int32)}},
     "lengths for each row"),
    ("LSTM", {"inputs": ("x", "w", "r", "b", "", "", "", "p"), "tensors": {"p": np.ones((1, 6), np.float32)}},
     "peepholes"),
    ("GRU", GRU | {"hidden_size": 3}, "don't have the shapes of its hidden_size"),
    ("GRU", GRU | {"tensors": {"b": np.ones((1, 7), np.float32)}}, "don't have the shapes"),
    ("GRU", GRU | {"inputs": ("x", "w2", "r", "b"), "nodes": [
        N("ReduceMax", ["e"], ["m"], keepdims=0), N("Mul", ["w", "m"], ["w2"])]}, "weights are computed from the data"),
])
def test_a_recurrent_operator_that_torch_lacks_is_named(kind, settings, sentence):
    with pytest.raises(Unsupported, match=rf"operator {kind} \(node 'cell'\) can't be read: .*{sentence}"):
        OnnxModel(graph(kind, **settings), {})


@pytest.mark.security
@pytest.mark.parametrize(("settings", "sentence"), [
    ({"hidden_size": 2**40}, r"has hidden_size 1099511627776; a whole number up to 65,536 is read"),
    ({"hidden_size": 0}, r"has hidden_size 0"),
    ({"hidden_size": "all"}, r"has hidden_size b'all'"),
    ({"layout": 1}, r"has layout 1, which ONNX Runtime doesn't run"),
])
def test_a_recurrent_operator_of_wild_settings_is_refused_before_it_is_run(settings, sentence, tmp_path):
    (tmp_path / "m.onnx").write_bytes(graph("GRU", **(GRU | settings)).SerializeToString())
    with pytest.raises(ModelError, match=rf"Operator GRU \(node 'cell'\) of m.onnx {sentence}"):
        read_upload({"m.onnx": tmp_path / "m.onnx"}, tmp_path / "model", binding=LISTS)


@pytest.mark.security
def test_weights_that_grow_as_they_are_joined_are_not_arranged():
    """Each Concat doubles the one before: forty of them would be terabytes."""
    nodes, last = [], "w"
    for place in range(40):
        nodes.append(N("Concat", [last, last], [f"w{place}"], axis=1))
        last = f"w{place}"
    with pytest.raises(Unsupported, match="weights are computed from the data"):
        OnnxModel(graph("GRU", inputs=("x", last, "r", "b"), nodes=nodes, **GRU), {})


@pytest.mark.security
def test_a_web_of_joins_is_walked_once():
    """Eight times eight ways to each value, ten deep: a billion walks where none is remembered."""
    nodes, last = [], "z"
    for place in range(10):
        nodes.append(N("Concat", [last] * 8, [f"z{place}"], axis=0))
        last = f"z{place}"
    with pytest.raises(Unsupported, match="weights are computed from the data"):
        OnnxModel(graph("GRU", inputs=("x", "m", "r", "b", "", last), nodes=[*nodes, N("Neg", ["w"], ["m"])],
                        tensors={"z": np.zeros((1, 1, 2), np.float32)}, **GRU), {})
