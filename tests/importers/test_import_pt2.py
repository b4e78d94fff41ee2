"""A `.pt2` of torch.export becomes the same ordinary layers as an ONNX file, without torch.export.load."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from compression.importers.pt2.file import read_pt2
from compression.importers.reader import look_at, read_upload
from compression.models.files import load_model
from compression.models.structure import leaves
from compression.spec.errors import ModelError
from compression.testing.steps import apply
from compression.testing.tiny import tiny_dataset, write_tiny_data
from tests.importers.graphs import Columns, SharedTable


class TwoTowers(nn.Module):
    """Two inputs of one id each, a dot product of what two towers make of them: logits (B,)."""

    def __init__(self, users=31, items=41, dim=4):
        super().__init__()
        self.user_table, self.item_table = nn.Embedding(users, dim), nn.Embedding(items, dim)
        self.user_tower = nn.Sequential(nn.Linear(dim, 8), nn.ReLU(), nn.Linear(8, 4))
        self.item_tower = nn.Sequential(nn.Linear(dim, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 4))

    def forward(self, user, item):
        return (self.user_tower(self.user_table(user)) * self.item_tower(self.item_table(item))).sum(-1)


ONE_ID_EACH = {"user": torch.arange(5), "item": torch.arange(5) + 3}
MODELS = {
    "towers": (TwoTowers, ONE_ID_EACH, {}),
    "shared table": (SharedTable, {"ids": torch.randint(0, 7, (5, 3))},
                     {"inputs": {"ids": {"columns": ["user", "item", "genres"]}}, "output_form": "probability"}),
    "wide inputs": (Columns, {"cat": torch.randint(0, 31, (5, 2)), "dense": torch.randn(5, 2)},
                    {"inputs": {"cat": {"columns": ["user", "item"]}, "dense": {"columns": ["age", "age"]}}}),
}


def export(model: nn.Module, arguments: dict[str, torch.Tensor], path: Path, *, dynamic: bool = True) -> Path:
    axes = tuple({0: torch.export.Dim.DYNAMIC} if dynamic else {} for _ in arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(model.eval(), tuple(arguments.values()), dynamic_shapes=axes), path)
    return path


@pytest.mark.parametrize("name", MODELS)
def test_the_graph_gives_the_very_outputs_of_the_model(name, tmp_path):
    make, arguments, _ = MODELS[name]
    model = make()
    program = read_pt2(export(model, arguments, tmp_path / "m.pt2"), "m.pt2")
    assert [item.name for item in program.inputs] == list(arguments)
    with torch.no_grad():
        assert torch.equal(program.module(*arguments.values()), model(*arguments.values()))


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_it_is_imported_as_ordinary_layers_with_the_same_scores(name, tmp_path):
    make, arguments, binding = MODELS[name]
    model = make()
    path = export(model, arguments, tmp_path / "m.pt2")
    described = read_upload({"m.pt2": path}, tmp_path / "imported", binding=binding)
    loaded = load_model(tmp_path / "imported")
    with torch.no_grad():
        expected = model(*arguments.values()).reshape(-1)
        expected = expected if binding.get("output_form") == "probability" else torch.sigmoid(expected)
        assert torch.allclose(torch.sigmoid(loaded.module(arguments)), expected, atol=1e-5)
    count = {kind: sum(isinstance(part, kind) for _, part in leaves(loaded.module))
             for kind in (nn.Embedding, nn.Linear)}
    assert count == {kind: sum(isinstance(part, kind) for part in model.modules()) for kind in count}
    assert described.size_bytes > 0 and described.architecture == "onnx"


@pytest.mark.slow
def test_a_method_works_on_an_imported_program(tmp_path):
    dataset = tiny_dataset()
    data = write_tiny_data(tmp_path / "data")
    path = export(TwoTowers(), ONE_ID_EACH, tmp_path / "m.pt2")
    read_upload({"m.pt2": path}, tmp_path / "imported", data_folder=data)
    given = apply("embed.quantize_rows", load_model(tmp_path / "imported").module, dataset, min_rows=2)
    assert len(given.changes) == 2


def test_a_fixed_batch_becomes_free(tmp_path):
    model = TwoTowers()
    path = export(model, ONE_ID_EACH, tmp_path / "m.pt2", dynamic=False)
    read_upload({"m.pt2": path}, tmp_path / "imported")
    rows = {"user": torch.arange(30), "item": torch.arange(30)}
    with torch.no_grad():
        assert torch.allclose(load_model(tmp_path / "imported").module(rows), model(*rows.values()), atol=1e-5)


class Heads(TwoTowers):
    """Two scores under names of their own, one of which the graph has for a value already."""

    def forward(self, user, item):
        found = super().forward(user, item)
        return {"ctr": found, "cvr": torch.sigmoid(2 * found)}


def test_scores_of_a_dictionary_are_shown_under_its_keys(tmp_path):
    path = export(Heads(), ONE_ID_EACH, tmp_path / "m.pt2")
    look = look_at({"m.pt2": path}, tmp_path / "look")
    assert look.scores == ("ctr", "cvr")
    read_upload({"m.pt2": path}, tmp_path / "imported", binding={"output": "cvr"})
    model, rows = Heads(), {"user": torch.arange(30), "item": torch.arange(30)}
    model.load_state_dict(torch.export.load(path).state_dict)
    with torch.no_grad():
        found = torch.sigmoid(load_model(tmp_path / "imported").module(rows))
        torch.testing.assert_close(found, model(*rows.values())["cvr"], atol=1e-5, rtol=0)


class Frames(nn.Module):
    """Reads three axes, of which no dataset has columns."""

    def forward(self, frames):
        return frames.mean((1, 2))


def test_what_is_wrong_is_said_of_the_file_that_was_uploaded(tmp_path):
    path = export(Frames(), {"frames": torch.randn(5, 3, 4)}, tmp_path / "mine.pt2")
    with pytest.raises(ModelError, match=r"Input 'frames' of mine\.pt2 has 3 axes"):
        read_upload({"mine.pt2": path}, tmp_path / "imported")


class Keyed(nn.ModuleDict):
    """Tables under the keys a person chose, at the very top of the model."""

    def forward(self, user, item):
        first, second, *_ = self.values()
        return (first(user) * second(item)).sum(-1)


@pytest.mark.parametrize("keys", [("0", "1"), ("user-id", "user_id"), ("user id", "item id"), ("user:id", "class"),
                                  ("__import__('os')", "forward_"), ("a" * 200, "b" * 200)])
def test_any_key_of_a_module_names_its_table(keys, tmp_path):
    model = Keyed({key: nn.Embedding(31 + place, 4) for place, key in enumerate(keys)})
    path = export(model, ONE_ID_EACH, tmp_path / "m.pt2")
    described = read_upload({"m.pt2": path}, tmp_path / "imported")
    loaded = load_model(tmp_path / "imported")
    with torch.no_grad():
        assert torch.allclose(loaded.module(ONE_ID_EACH), model(*ONE_ID_EACH.values()), atol=1e-5)
    assert sorted(layer.shape for layer in described.layers) == [(31, 4), (32, 4)]


def test_an_operator_that_is_not_on_the_list_is_named(tmp_path):
    class Odd(TwoTowers):
        def forward(self, user, item):
            return torch.special.bessel_j0(super().forward(user, item))

    path = export(Odd(), ONE_ID_EACH, tmp_path / "m.pt2")
    with pytest.raises(ModelError, match=r"calls 'torch\.ops\.aten\.special_bessel_j0\.default', which is not among"):
        read_upload({"m.pt2": path}, tmp_path / "imported")
