"""Weights alone: the family is recognised, what shapes don't say is asked, and the scores are the trained model's."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from benchmarks.importers.__main__ import _as_read
from benchmarks.importers.architectures import ARCHITECTURES
from compression.importers.reader import read_upload
from compression.models.files import load_model
from compression.models.structure import leaves
from compression.spec.errors import ModelError
from tests.importers.checkpoint.make import GMF, NCF, SASRec, apart, imported


def pair(n: int = 7) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    return torch.randint(0, 30, (n,), generator=draw), torch.randint(0, 50, (n,), generator=draw)


@pytest.mark.parametrize("foreign", ARCHITECTURES, ids=lambda one: one.key)
def test_ten_architectures_score_as_torch_does_once_the_questions_are_answered(foreign):
    torch.manual_seed(0)
    model = foreign.make().eval()
    loaded, _ = imported(model.state_dict(), foreign.answers)
    with torch.no_grad():
        ours = loaded.module(_as_read(loaded, foreign))
        assert torch.allclose(ours, model(*foreign.inputs.values()), atol=1e-5)


@pytest.mark.parametrize("foreign", ARCHITECTURES, ids=lambda one: one.key)
def test_every_weight_becomes_one_of_an_ordinary_leaf(foreign):
    model = foreign.make().eval()
    loaded, _ = imported(model.state_dict(), foreign.answers)
    kinds = {type(leaf).__module__.split(".")[0] for _, leaf in leaves(loaded.module)}
    assert kinds <= {"torch", "compression"}
    assert sum(value.numel() for value in loaded.module.parameters()) == sum(
        value.numel() for value in model.parameters())


@pytest.mark.parametrize("make", [GMF, NCF])
def test_names_of_a_known_repository_need_no_answer(make):
    model = make().eval()
    loaded, _ = imported(model.state_dict())
    assert loaded.architecture == "pair" and apart(loaded, model, *pair()) < 1e-5


def test_a_sasrec_is_read_with_zeros_in_front_or_behind():
    model = SASRec().eval()
    loaded, asked = imported(model.state_dict(), {"blocks.heads": 2})
    history = torch.tensor([[0, 0, 0, 5, 9, 3], [1, 2, 3, 4, 5, 6], [0, 0, 0, 0, 0, 7]])
    item = torch.tensor([8, 4, 2])
    assert apart(loaded, model, history, item) < 1e-5
    behind = torch.tensor([[5, 9, 3, 0, 0, 0], [1, 2, 3, 4, 5, 6], [7, 0, 0, 0, 0, 0]])
    assert apart(loaded, lambda *_: model(history, item), behind, item) < 1e-5
    assert asked["blocks.heads"].decided_by == "answer" and asked["padding"].decided_by == "guess"


def test_the_other_number_of_heads_gives_other_scores():
    model = SASRec().eval()
    loaded, _ = imported(model.state_dict(), {"blocks.heads": 1})
    assert apart(loaded, model, torch.tensor([[1, 2, 3, 4, 5, 6]]), torch.tensor([8])) > 1e-4


@pytest.mark.parametrize("norm", ["none", "before", "after"])
@pytest.mark.parametrize("last", [False, True])
def test_the_place_of_batch_norm_is_read_off_a_sequential(norm, last):
    torch.manual_seed(0)
    tables, widths = nn.ModuleDict({"user": nn.Embedding(30, 4), "item": nn.Embedding(50, 4)}), (8, 6, 5)
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(widths):
        norms = [nn.BatchNorm1d(n_out)] if norm != "none" else []
        layers += [nn.Linear(n_in, n_out), *(norms if norm == "before" else []), nn.Tanh(),
                   *(norms if norm == "after" else [])]
    model = nn.ModuleDict({"emb": tables, "deep": nn.Sequential(*layers), "out": nn.Linear(5, 1)}).train()
    for _ in range(3):
        model["deep"](torch.randn(16, 8))
    model.eval()

    def score(user: Tensor, item: Tensor) -> Tensor:
        vectors = torch.cat([model["emb"]["user"](user), model["emb"]["item"](item)], 1)
        return model["out"](model["deep"](vectors)).squeeze(-1)

    loaded, _ = imported(model.state_dict(), {"mlp.activation": "tanh"})
    assert apart(loaded, score, *pair()) < 1e-5


def test_one_table_for_all_fields_needs_their_sizes():
    state = {"table.weight": torch.randn(90, 4), "deep.0.weight": torch.randn(6, 12), "deep.0.bias": torch.zeros(6),
             "deep.2.weight": torch.randn(1, 6), "deep.2.bias": torch.zeros(1)}
    with pytest.raises(ModelError, match=r"one table of 90 rows for 3 fields.*field_sizes"):
        imported(state)
    with pytest.raises(ModelError, match="field_sizes sum to 80"):
        imported(state, {"field_sizes": [50, 20, 10]})
    loaded, _ = imported(state, {"field_sizes": [50, 30, 10], "fields": ["user", "item", "genre"]})
    assert [(item.name, item.cardinality) for item in loaded.signature.inputs] == [
        ("user", 50), ("item", 30), ("genre", 10)]
    assert torch.equal(loaded.module.tables["item"].weight, state["table.weight"][50:80])


def test_what_nothing_recognises_is_named():
    with pytest.raises(ModelError, match=r"no family that is recognised: they hold 1 dense layer, 1 other"):
        imported({"fc.weight": torch.randn(4, 4), "fc.bias": torch.zeros(4), "odd": torch.randn(2, 3, 4, 5)})


@pytest.mark.parametrize(("answers", "said"), [
    ({"mlp.activation": "cube"}, "one of relu, tanh"), ({"mlp.colour": "red"}, "doesn't ask; it asks"),
    ({"first": ["network"]}, "one of product, network")])
def test_a_wrong_answer_is_refused_with_what_is_allowed(answers, said):
    with pytest.raises(ModelError, match=said):
        imported(NCF().state_dict(), answers)


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_an_upload_says_what_was_recognised_and_guessed(ending, tmp_path):
    from safetensors.torch import save_file

    model = NCF().eval()
    path = tmp_path / f"ncf{ending}"
    save_file(model.state_dict(), path) if ending == ".safetensors" else torch.save(model.state_dict(), path)
    description = read_upload({path.name: path}, tmp_path / "model", binding={"answers": {"mlp.last": "activated"}})
    assert "recognised as NeuMF" in description.notes[0] and "mlp.activation: relu" in " ".join(description.notes)
    decided = {one.key: (one.answer, one.decided_by) for one in description.questions}
    assert decided["mlp.last"] == ("activated", "answer") and decided["first"] == ("network", "guess")
    loaded = load_model(tmp_path / "model")
    assert apart(loaded, model, *pair()) < 1e-5
    assert {layer.field for layer in description.layers if layer.kind == "Embedding"} == {"user", "item"}
    assert description.architecture == "pair"
