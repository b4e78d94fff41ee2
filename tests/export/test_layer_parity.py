"""Layers that round their input, held against the file one by one: what is right passes, what is wrong is named."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from compression.data import rows_that_fit
from compression.data.dataset import Rows
from compression.export import parity
from compression.export.layer_parity import STEP_SHARE
from compression.export.onnx import export_onnx
from compression.export.parity import check_parity
from compression.spec.errors import ExportError
from compression.spec.method import METHODS, Context
from compression.spec.records import Target
from compression.spec.signature import Input, Signature

METHODS_THAT_ROUND = ("quantize.dynamic", "quantize.weights", "quantize.half_products")
SIGNATURE = Signature(output="score", inputs=tuple(
    Input(name=name, kind="category", column=name, cardinality=50) for name in ("left", "right")))


class Pair(nn.Module):
    """Both sides of a pair pass through the same layers; their cosine, times 20, is the logit."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.table = nn.Embedding(50, 32)
        self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(2))
        self.widen = nn.ModuleList(nn.Linear(32, 64) for _ in range(2))
        self.narrow = nn.ModuleList(nn.Linear(64, 32, bias=False) for _ in range(2))
        self.scale = nn.Parameter(torch.tensor(20.0))

    def vector(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.table(ids)
        for norm, widen, narrow in zip(self.norms, self.widen, self.narrow, strict=True):
            x = x + narrow(F.gelu(widen(norm(x))))
        return F.normalize(x, dim=-1)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.scale * (self.vector(batch["left"]) * self.vector(batch["right"])).sum(-1)


def rows() -> Rows:
    random = np.random.default_rng(0)
    return Rows(inputs={name: random.integers(0, 50, 200) for name in ("left", "right")},
                label=random.integers(0, 2, 200).astype(np.float32), user=None)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """By method: the rounded model, and the file written from it."""
    def made(key: str) -> tuple[nn.Module, Path]:
        method = METHODS[key]
        model = method(Pair().eval(), method.parse({"skip_output": False}), Context(method=key)).model
        return model, export_onnx(model, SIGNATURE, tmp_path_factory.mktemp(key) / "model.onnx").path

    return {key: made(key) for key in METHODS_THAT_ROUND}


@pytest.fixture
def asked(monkeypatch):
    """Layers are compared alone whenever scores differ at all."""
    monkeypatch.setattr(parity, "ROUNDING_TOLERANCE", 1e-9)


def checked(model, path):
    return check_parity(model, SIGNATURE, path, rows(), target=Target())


def changed(path, folder, name: str, by: float, outputs=slice(None)) -> Path:
    """The file with the values of a tensor times `by`."""
    model = onnx.load(path)
    tensor = next(one for one in model.graph.initializer if one.name == name)
    values = onnx.numpy_helper.to_array(tensor).copy()
    values[outputs] = values[outputs] * by
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, name))
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


@pytest.mark.parametrize("key", METHODS_THAT_ROUND)
def test_a_right_file_passes_layer_by_layer_and_nothing_is_left_beside_it(key, exported, asked):
    model, path = exported[key]
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    found = checked(model, path)
    assert 1e-9 < found.error < 0.1 and found.layer_error < STEP_SHARE / 2
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before


@pytest.mark.parametrize("key", METHODS_THAT_ROUND[:2])
@pytest.mark.parametrize("by", [1.5, 1.02])
@pytest.mark.parametrize("outputs", [slice(None), slice(7, 8)], ids=["all", "one"])
@pytest.mark.parametrize("layer", ["widen.0", "narrow.1"])
def test_a_wrong_scale_of_one_layer_is_refused_by_its_name(key, by, outputs, layer, exported, asked, tmp_path):
    model, path = exported[key]
    with pytest.raises(ExportError, match=rf"disagrees with torch in {layer}: .* of its range"):
        checked(model, changed(path, tmp_path, f"{layer}.scale", by, outputs))


@pytest.mark.parametrize(("tensor", "by", "place", "sentence"), [
    ("norms.1.weight", 1.01, 7, r"on what enters widen\.1"), ("scale", 1.01, (), "row [0-9]+ scores"),
    ("widen.0.weight", 0, (3, 7), r"in widen\.0")])
def test_what_is_wrong_elsewhere_is_noticed_as_well(tensor, by, place, sentence, exported, asked, tmp_path):
    model, path = exported["quantize.dynamic"]
    with pytest.raises(ExportError, match=f"disagrees with torch.*{sentence}"):
        checked(model, changed(path, tmp_path, tensor, by, place))


def test_layers_are_compared_alone_only_where_scores_differ_by_more_than_rounding(exported, tmp_path):
    model, path = exported["quantize.dynamic"]
    assert checked(model, path).layer_error is None
    with pytest.raises(ExportError, match=r"disagrees with torch in widen\.1"):
        checked(model, changed(path, tmp_path, "widen.1.scale", 1.5))


def test_a_file_that_answers_otherwise_while_its_layers_are_watched_is_refused(exported, asked, monkeypatch):
    model, path = exported["quantize.dynamic"]
    real = parity.RUNTIMES["onnxruntime"]

    def opened(path, **options):
        session = real.open(path, **options)
        return SimpleNamespace(close=session.close, answer=lambda batch: session.answer(batch) + np.float32(1e-3))

    monkeypatch.setattr(parity, "RUNTIMES", {"onnxruntime": SimpleNamespace(open=opened)})
    with pytest.raises(ExportError, match="disagrees with torch and, with its layers watched, itself: row"):
        checked(model, path)


def test_a_layer_that_cannot_be_found_in_the_file_is_no_proof(exported, asked, tmp_path):
    model, path = exported["quantize.dynamic"]
    file = onnx.load(path)
    for tensor in file.graph.initializer:
        tensor.name = tensor.name.replace("widen.1.", "renamed.")
    for node in file.graph.node:
        node.input[:] = [name.replace("widen.1.", "renamed.") for name in node.input]
    onnx.save(file, tmp_path / "model.onnx")
    with pytest.raises(ExportError, match=r"more than rounding, and widen\.1 can't be compared alone"):
        checked(model, tmp_path / "model.onnx")


def test_rows_of_a_batch_and_rows_in_all_are_bounded_by_what_they_make(exported, asked, monkeypatch):
    model, path = exported["quantize.dynamic"]
    whole = checked(model, path)
    assert whole.n_rows == 200
    seen: list[int] = []
    handle = model.register_forward_pre_hook(lambda module, given: seen.append(len(given[0]["left"])))
    monkeypatch.setattr(rows_that_fit, "BATCH_BYTES", 300_000)
    parts = checked(model, path)
    handle.remove()
    assert parts.n_rows == 200 and parts.layer_error < STEP_SHARE and max(seen) < 60
    monkeypatch.setattr(parity, "MAX_BYTES", 300_000)
    assert checked(model, path).n_rows < 150
