"""Weights of LightGCN-PyTorch under the names it gives them: they are the tables from before the graph."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from compression.importers.checkpoint.choose import decided
from compression.importers.checkpoint.read import recognised
from compression.importers.checkpoint.recognised import Settings
from compression.importers.checkpoint.state import state_and_told
from compression.importers.reader import look_at
from compression.spec.errors import ModelError
from tests.importers.checkpoint.make import drawn
from tests.importers.checkpoint.tools import saved

STATE = {"embedding_user.weight": drawn(9, 4), "embedding_item.weight": drawn(7, 4)}


def asked(folder, name: str, state: dict[str, Tensor] | None = None):
    (folder / "held").write_bytes(saved(state or STATE))
    look = look_at({name: folder / "held"}, folder / "out")
    return next(one for one in look.questions if one.key == "graph_layers")


@pytest.mark.parametrize(("name", "layers"), [("lgn-gowalla-3-4.pth.tar", 3), ("lgn-amazon-book-2-4.pth.tar", 2),
                                              ("mf-yelp2018-4.pth.tar", 0), ("mf-amazon-book-4.pth.tar", 0)])
def test_the_name_says_how_many_layers_of_the_graph_there_were(name, layers, tmp_path):
    found = asked(tmp_path, name)
    assert (found.answer, found.decided_by) == (layers, "file")


@pytest.mark.parametrize(("name", "state"), [
    ("lgn-gowalla-3-64.pth.tar", None), ("lgn-gowalla-9-4.pth.tar", None), ("model_best.pth.tar", None),
    ("lgn-gowalla-3-4.pth.tar", {"user.weight": drawn(9, 4), "item.weight": drawn(7, 4)})])
def test_a_name_that_does_not_fit_the_weights_says_nothing(name, state, tmp_path):
    assert asked(tmp_path, name, state).decided_by == "guess"


def test_without_the_interactions_it_says_what_is_needed_and_gives_no_scores(tmp_path):
    path = tmp_path / "held"
    path.write_bytes(saved(STATE))
    name = "lgn-gowalla-3-4.pth.tar"
    state, told = state_and_told({name: path}, name)
    settings = Settings({}, told.settings)
    found = recognised(state, name, settings, told)
    with pytest.raises(ModelError, match=r"before 3 layers of a graph \(LightGCN\).*interactions.*propagated tables"):
        decided(found, settings, torch.nn.Module(), vocabularies={}, data_folder=None)
