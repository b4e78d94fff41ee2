"""Structured pruning of models that came as ONNX: feed-forward channels of a transformer, and whole inputs."""

from __future__ import annotations

from dataclasses import replace

import onnxruntime
import pytest
import torch
from torch import nn

from compression.export.onnx import export_onnx
from compression.export.parity import check_parity
from compression.importers.reader import read_upload
from compression.models.files import load_model
from compression.models.structure import describe
from compression.spec.recipe import estimate
from compression.spec.records import Target
from compression.testing.steps import apply, logits, recipe_of
from compression.testing.tiny import tiny_dataset
from tests.importers.graphs import export, files_of


class Block(nn.Module):
    """The feed-forward part of a transformer, with its norm and the way past it."""

    def __init__(self, dim: int, wide: int) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(dim, wide), nn.Linear(wide, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.linear2(nn.functional.gelu(self.linear1(self.norm(x))))


class Ranker(nn.Module):
    """Three inputs, two blocks, an MLP with a norm; gives a probability."""

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(31, dim), nn.Embedding(41, dim)
        self.blocks = nn.ModuleList([Block(2 * dim + 1, 48) for _ in range(2)])
        self.mlp = nn.Sequential(nn.Linear(2 * dim + 1, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, user: torch.Tensor, item: torch.Tensor, age: torch.Tensor) -> torch.Tensor:
        x = torch.cat([self.user(user), self.item(item), age.unsqueeze(-1)], 1)
        for block in self.blocks:
            x = block(x)
        return torch.sigmoid(self.mlp(x).squeeze(-1))


@pytest.fixture(scope="module")
def dataset():
    return tiny_dataset()


@pytest.fixture(scope="module")
def loaded(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("foreign")
    torch.manual_seed(0)
    rows = dataset.splits["test"].inputs
    arguments = {name: torch.from_numpy(rows[name][:3]) for name in ("user", "item", "age")}
    path = export(Ranker(), arguments, folder / "given" / "model.onnx")
    read_upload(files_of(path), folder / "read", binding={})
    return load_model(folder / "read")


@pytest.mark.slow
def test_feed_forward_channels_go_and_the_file_is_as_small_as_estimated(loaded, dataset, tmp_path):
    model = loaded.module
    given = apply("prune.channels", model, dataset, ratio=0.5, round_to=1)
    assert {"blocks.0.linear1", "blocks.1.linear1", "mlp.0"} <= {change.module for change in given.changes}
    assert given.model.get_submodule("blocks.0.linear1").out_features == 24
    described = describe(model, loaded.signature, architecture="onnx")
    expected = estimate(described, recipe_of(("prune.channels", {"ratio": 0.5, "round_to": 1})))
    exported = export_onnx(given.model, loaded.signature, tmp_path / "model.onnx")
    assert exported.size_bytes - exported.graph_bytes == expected.size_bytes < 0.65 * described.size_bytes
    found = check_parity(given.model, loaded.signature, exported.path, dataset.splits["test"], target=Target())
    assert found.error < 1e-5


def test_channels_that_say_nothing_go_first_and_no_score_changes(loaded, dataset):
    model = apply("prune.channels", loaded.module, dataset, ratio=0.0).model  # a copy of the structure
    layer = model.get_submodule("blocks.0.linear1")
    layer.weight = nn.Parameter(layer.weight.detach().clone())
    layer.bias = nn.Parameter(layer.bias.detach().clone())
    with torch.no_grad():
        layer.weight[::2] = 0
        layer.bias[::2] = 0
    narrow = apply("prune.channels", model, dataset, ratio=0.5, round_to=1)
    only = apply("prune.channels", model, dataset, ratio=0.0).model
    for path in ("blocks.0.linear1", "blocks.0.linear2"):
        parent, _, name = path.rpartition(".")
        setattr(only.get_submodule(parent), name, narrow.model.get_submodule(path))
    torch.testing.assert_close(logits(only, dataset), logits(model, dataset), atol=1e-5, rtol=0)


@pytest.mark.slow
def test_inputs_of_a_foreign_file_can_go(loaded, dataset, tmp_path):
    bound = replace(dataset, signature=loaded.signature)
    pruned = apply("prune.fields", loaded.module, bound, n_fields=2).model
    path = export_onnx(pruned, loaded.signature, tmp_path / "model.onnx").path
    names = [item.name for item in onnxruntime.InferenceSession(path).get_inputs()]
    assert len(names) == 1 and not set(names) & set(pruned.dropped_inputs)
    assert check_parity(pruned, loaded.signature, path, dataset.splits["test"], target=Target()).error < 1e-5
