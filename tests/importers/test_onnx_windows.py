"""Convolutions and pools of ONNX and .pt2 files: the runtime's numbers, torch's layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import helper
from torch import nn

from compression.export.onnx import export_onnx
from compression.importers.reader import read_upload
from compression.models.files import load_model
from compression.models.onnx.values import Unsupported
from compression.models.structure import leaves
from compression.runtimes.onnxruntime import open_session
from compression.spec.errors import ModelError
from tests.importers.graphs import export, files_of
from tests.importers.test_onnx_operators import agree, both

N = helper.make_node
DRAW = np.random.default_rng(3)
LINE, SQUARE = {"one": np.array([1])}, {"two": np.array([0, -1, 2, 2])}
W1, W2 = (DRAW.normal(size=shape).astype(np.float32) for shape in ((4, 1, 3), (4, 1, 2, 2)))
B = DRAW.normal(size=4).astype(np.float32)
TOKENS = {"tokens": torch.randint(1, 30, (5, 12), generator=torch.Generator().manual_seed(0))}
LISTS = {"inputs": {"tokens": {"kind": "multi", "column": "tokens", "ids": "as-is"}}}


def line(kind: str, *more: str, **settings) -> list:
    """x (batch, 4) as (batch, 1, 4) through one operator."""
    return [N("Unsqueeze", ["x", "one"], ["u"]), N(kind, ["u", *more], ["y"], **settings)]


def square(kind: str, *more: str, **settings) -> list:
    """x (batch, 4) as (batch, 1, 2, 2) through one operator."""
    return [N("Unsqueeze", ["x", "one"], ["u"]), N("Reshape", ["u", "two"], ["v"]), N(kind, ["v", *more], ["y"],
                                                                                      **settings)]


GRAPHS = {
    "a line": (line("Conv", "w"), {"w": W1}),
    "a line with bias and equal padding": (line("Conv", "w", "b", pads=[1, 1]), {"w": W1, "b": B}),
    "a line padded on one side": (line("Conv", "w", "b", pads=[2, 0]), {"w": W1, "b": B}),
    "a line with steps and gaps": (line("Conv", "w", pads=[3, 3], strides=[2], dilations=[2]), {"w": W1}),
    "a line padded to its length": (line("Conv", "w", auto_pad="SAME_UPPER"), {"w": W1[:, :, :2].copy()}),
    "a line padded to its length from below": (line("Conv", "w", auto_pad="SAME_LOWER"), {"w": W1[:, :, :2].copy()}),
    "a line without padding": (line("Conv", "w", auto_pad="VALID"), {"w": W1}),
    "the largest of a line": (line("MaxPool", kernel_shape=[2]), {}),
    "the largest of a padded line": (line("MaxPool", kernel_shape=[3], pads=[0, 2], strides=[2]), {}),
    "the mean of a line": (line("AveragePool", kernel_shape=[2], pads=[1, 1], count_include_pad=1), {}),
    "the mean of a line without its padding": (line("AveragePool", kernel_shape=[2], pads=[1, 1]), {}),
    "the largest of all": (line("GlobalMaxPool"), {}),
    "the mean of all": (line("GlobalAveragePool"), {}),
    "a square": (square("Conv", "w", "b", pads=[1, 1, 1, 1]), {"w": W2, "b": B}),
    "the largest of a square": (square("MaxPool", kernel_shape=[2, 2], pads=[1, 1, 1, 1]), {}),
    "the mean of a square": (square("AveragePool", kernel_shape=[1, 2]), {}),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_windows_give_what_the_runtime_gives(name, tmp_path):
    nodes, constants = GRAPHS[name]
    agree(nodes, constants | LINE | (SQUARE if len(nodes) == 3 else {}), tmp_path)


@pytest.mark.parametrize(("nodes", "sentence"), [
    (line("Conv", "w", auto_pad="SAME_UPPER", strides=[2]), r"operator Conv .* depends on the length"),
    (line("MaxPool", kernel_shape=[2], storage_order=1), r"operator MaxPool .* places of the largest values"),
    (line("AveragePool", kernel_shape=[2], pads=[0, 1]), r"operator AveragePool .* more on one side than on the"),
])
def test_a_window_that_torch_lacks_is_named(nodes, sentence, tmp_path):
    with pytest.raises(Unsupported, match=sentence):
        both(nodes, {"w": W1} | LINE, tmp_path)


class Text(nn.Module):
    """Filters over tokens, pools of each kind, a plane behind a norm."""

    def __init__(self):
        super().__init__()
        self.token = nn.Embedding(30, 8)
        self.filters, self.deep = nn.Conv1d(8, 6, 3, padding=1), nn.Conv1d(6, 6, 2, groups=2, bias=False)
        self.plane, self.norm = nn.Conv2d(1, 3, (2, 6), padding=(1, 0)), nn.BatchNorm2d(3)
        self.out = nn.Linear(9, 1)

    def forward(self, tokens):
        x = torch.relu(self.filters(self.token(tokens).transpose(1, 2)))
        x = nn.functional.max_pool1d(self.deep(x), 2)  # (B, 6, 5)
        plane = torch.relu(self.norm(self.plane(x.transpose(1, 2).unsqueeze(1))))  # (B, 3, 6, 1)
        pooled = nn.functional.adaptive_avg_pool1d(x, 1).flatten(1)
        return self.out(torch.cat([pooled, plane.amax((2, 3))], 1)).squeeze(-1)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    made = Text()
    with torch.no_grad():
        made(torch.randint(0, 30, (64, 12)))  # statistics of their own
    return made.eval()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["dynamo", "TorchScript", "pt2"])
def test_convolutions_become_torch_s_layers(model, form, tmp_path):
    path = tmp_path / "up" / ("m.pt2" if form == "pt2" else "m.onnx")
    if form == "pt2":
        path.parent.mkdir()
        torch.export.save(torch.export.export(model, tuple(TOKENS.values()),
                                              dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)), path)
    else:
        export(model, TOKENS, path, dynamo=form == "dynamo")
    described = read_upload(files_of(path), tmp_path / "imported", binding=LISTS)
    assert described.notes == ()
    loaded = load_model(tmp_path / "imported")
    kinds = sorted(type(leaf).__name__ for _, leaf in leaves(loaded.module))
    norm = ["BatchNorm2d"] if "BatchNorm2d" in kinds else []  # an exporter may fold it into the convolution
    assert kinds == sorted([*norm, "Conv1d", "Conv1d", "Conv2d", "Embedding", "Linear"])
    with torch.no_grad():
        expected = model(*TOKENS.values())
        torch.testing.assert_close(loaded.module(TOKENS), expected, atol=1e-5, rtol=1e-5)
    exported = export_onnx(loaded.module, loaded.signature, tmp_path / "again" / "model.onnx")
    scores = open_session(exported.path).score({"tokens": TOKENS["tokens"].numpy()})
    np.testing.assert_allclose(scores, torch.sigmoid(expected).numpy(), atol=1e-5)


@pytest.mark.security
@pytest.mark.parametrize(("kind", "settings", "sentence"), [
    ("Conv", {"pads": [2**40, 0]}, r"has pads of .*whole numbers from 0 to 4096"),
    ("Conv", {"pads": [-1, 0]}, r"has pads of"),
    ("Conv", {"dilations": [2**31]}, r"has dilations of"),
    ("MaxPool", {"kernel_shape": [10**9]}, r"has kernel_shape of .*whole numbers from 1 to 4096"),
    ("MaxPool", {"kernel_shape": [2], "strides": [0]}, r"has strides of"),
    ("AveragePool", {"kernel_shape": [1] * 9}, r"has kernel_shape of"),
    ("AveragePool", {"kernel_shape": "wide"}, r"has kernel_shape of"),
])
def test_a_window_that_would_take_all_memory_is_refused_before_it_is_run(kind, settings, sentence, tmp_path):
    from tests.security.hostile import graph, table

    nodes = [N("Gather", ["table", "user"], ["row"]), N("Unsqueeze", ["row", "one"], ["u"]),
             N(kind, ["u", *(["w"] if kind == "Conv" else [])], ["c"], name="wide", **settings),
             N("ReduceSum", ["c", "all"], ["score"], keepdims=0)]
    from onnx import numpy_helper
    stored = [numpy_helper.from_array(value, name) for name, value in (
        ("one", np.array([1])), ("all", np.array([1, 2])), ("w", W1))]
    (tmp_path / "m.onnx").write_bytes(graph(nodes=nodes, tensors=[table(), *stored]).SerializeToString())
    with pytest.raises(ModelError, match=rf"Operator {kind} \(node 'wide'\) of m.onnx {sentence}"):
        read_upload({"m.onnx": tmp_path / "m.onnx"}, tmp_path / "model")
