"""Folded BatchNorm: the same scores from fewer operators, in models of ours and in graphs that were read."""

from __future__ import annotations

from collections import Counter

import onnx
import pytest
import torch
from torch import nn

from compression.export.onnx import export_onnx
from compression.importers.reader import read_upload
from compression.methods.reparam.fold import FoldParams
from compression.models.files import load_model
from compression.models.structure import describe
from compression.spec.method import METHODS, Context
from compression.spec.recipe import check, estimate
from compression.testing.steps import apply, logits, ordered_dataset, recipe_of
from compression.testing.tiny import tiny_model
from tests.importers.graphs import export, files_of


@pytest.fixture(scope="module")
def dataset():
    return ordered_dataset()


def learned_norm(width: int) -> nn.BatchNorm1d:
    """A norm whose scale, shift and statistics all matter."""
    norm = nn.BatchNorm1d(width)
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(tensor)
    nn.init.uniform_(norm.running_var, 0.1, 2)
    return norm


def folded(chain: nn.Sequential) -> nn.Module:
    return METHODS["reparam.fold"](chain.eval(), FoldParams(), Context()).model


CHAINS = {  # the layers, and the shape of what they read
    "dense": lambda: ((nn.Linear(5, 6), learned_norm(6), nn.ReLU()), (7, 5)),
    "dense without bias": lambda: ((nn.Linear(5, 6, bias=False), learned_norm(6)), (7, 5)),
    "before a dense layer": lambda: ((nn.ReLU(), learned_norm(5), nn.Linear(5, 3)), (7, 5)),
    "on both sides": lambda: ((learned_norm(5), nn.Linear(5, 6), nn.Dropout(0.5), learned_norm(6)), (7, 5)),
    "convolution": lambda: ((nn.Conv1d(4, 6, 3, padding=1, groups=2), learned_norm(6)), (7, 4, 9)),
    "before a convolution": lambda: ((nn.ReLU(), learned_norm(4), nn.Conv1d(4, 6, 3, stride=2)), (7, 4, 9)),
}


@pytest.mark.parametrize("kind", CHAINS)
@torch.no_grad()
def test_a_layer_takes_in_the_norm_beside_it(kind):
    """Ioffe & Szegedy 2015, algorithm 2: at inference y = γ / √(Var + ε) · x + (β − γ E / √(Var + ε))."""
    torch.manual_seed(0)
    layers, shape = CHAINS[kind]()
    chain, x = nn.Sequential(*layers), torch.randn(*shape)
    new = folded(chain)
    assert not any(isinstance(module, nn.BatchNorm1d) for module in new.modules())
    torch.testing.assert_close(new(x), chain.eval()(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("chain", [
    nn.Sequential(nn.Linear(4, 4), nn.ReLU(), learned_norm(4), nn.ReLU(), nn.Linear(4, 4)),
    nn.Sequential(learned_norm(4), nn.Conv1d(4, 6, 3, padding=1)),
    nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, track_running_stats=False)),
], ids=["activations on both sides", "a convolution that pads", "no statistics"])
def test_a_norm_that_no_layer_can_hold_stays_and_says_why(chain):
    given = METHODS["reparam.fold"](chain.eval(), FoldParams(), Context())
    assert not given.changes and any(isinstance(module, nn.BatchNorm1d) for module in given.model.modules())
    assert all(skip.reason for skip in given.skipped)


def operators(path) -> Counter:
    return Counter(node.op_type for node in onnx.load(path, load_external_data=False).graph.node)


@pytest.mark.slow
def test_the_file_loses_an_operator_and_sixteen_bytes_a_unit_and_no_score_moves(dataset, tmp_path):
    model = tiny_model("deepfm", dataset, trained=True)
    new = apply("reparam.fold", model, dataset).model
    torch.testing.assert_close(logits(new, dataset), logits(model, dataset), rtol=0, atol=1e-5)
    whole, less = (export_onnx(one, dataset.signature, tmp_path / name / "model.onnx")
                   for name, one in (("whole", model), ("less", new)))
    assert operators(whole.path)["BatchNormalization"] == 2 and not operators(less.path)["BatchNormalization"]
    assert whole.size_bytes - less.size_bytes > 2 * 16 * 16


class Named(nn.Module):
    """Layers under names, as strangers write them: one norm behind a layer, one that a second place reads as well."""

    def __init__(self) -> None:
        super().__init__()
        self.item = nn.Embedding(41, 8)
        self.fc1, self.bn1, self.fc2, self.bn2 = nn.Linear(9, 16), learned_norm(16), nn.Linear(16, 16), learned_norm(16)
        self.top = nn.Linear(16, 1)

    def forward(self, item: torch.Tensor, age: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.fc1(torch.cat([self.item(item), age.unsqueeze(-1)], 1))))
        between = self.fc2(x)
        return torch.sigmoid(self.top(torch.relu(self.bn2(between)) + between).squeeze(-1))


@pytest.mark.slow
def test_in_a_graph_that_was_read_only_a_norm_alone_with_its_layer_is_folded(dataset, tmp_path):
    torch.manual_seed(0)
    arguments = {name: torch.from_numpy(dataset.splits["test"].inputs[name][:3]) for name in ("item", "age")}
    path = export(Named(), arguments, tmp_path / "given" / "model.onnx", dynamo=False)
    read_upload(files_of(path), tmp_path / "read", binding={})
    loaded = load_model(tmp_path / "read")
    model = loaded.module
    norms = [name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm1d)]
    assert norms
    given = apply("reparam.fold", model, dataset)
    torch.testing.assert_close(logits(given.model, dataset), logits(model, dataset), rtol=0, atol=1e-5)
    assert len([change for change in given.changes if change.bytes_after == 0]) == len(norms) - 1


def test_the_size_is_known_before_where_low_rank_stands_before(dataset):
    model = tiny_model("deepfm", dataset, width=32)
    steps = (("factorize.svd", {"weights": "dense", "rank_ratio": 0.25}), ("reparam.fold", {}))
    new = apply("reparam.fold", apply(steps[0][0], model, dataset, **steps[0][1]).model, dataset).model
    described = describe(model, dataset.signature, architecture="deepfm")
    assert estimate(described, recipe_of(*steps)).layers == describe(
        new, dataset.signature, architecture="deepfm").layers


def test_training_behind_it_is_warned_of_and_codes_before_it_are_refused(dataset):
    assert not check(recipe_of(("train.fine_tune", {}), ("reparam.fold", {}), ("quantize.dynamic", {})))
    assert [one.severity for one in check(recipe_of(("reparam.fold", {}), ("train.fine_tune", {})))] == ["warning"]
    assert "error" in [one.severity for one in check(recipe_of(("quantize.dynamic", {}), ("reparam.fold", {})))]
    described = describe(tiny_model("fm", dataset), dataset.signature, architecture="fm")
    assert METHODS["reparam.fold"].why_not(described)
