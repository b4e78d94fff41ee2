"""Layer pruning: a layer that does nothing goes first, the others move up and compute as before."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compression.data.batches import to_device
from compression.methods.prune.layers import Run, take_out
from compression.models.structure import describe
from compression.observe.importance import loss_of
from compression.spec.errors import RecipeError
from compression.spec.method import copy_structure
from compression.spec.recipe import check, estimate
from compression.spec.records import Part
from compression.testing.steps import apply, apply_all, logits, ordered_dataset, recipe_of
from compression.testing.tiny import tiny_model

KEY = "prune.layers"


@pytest.fixture(scope="module")
def dataset():
    return ordered_dataset()


def pass_through(model, place: int) -> None:
    """Make the hidden layer at `place` of the MLP an identity: what comes in is positive already."""
    with torch.no_grad():
        nn.init.eye_(model.mlp[place].weight)
        model.mlp[place].bias.zero_()


@pytest.mark.parametrize("idle", [1, 2, 3])
def test_a_layer_that_passes_everything_through_goes_first_and_no_score_changes(idle, dataset):
    model = tiny_model("deepfm", dataset, trained=True, n_layers=4, batch_norm=False, dropout=0.0)
    pass_through(model, 2 * idle)
    given = apply(KEY, model, dataset, judged_by="scores")
    (change,) = given.changes
    assert f"layer mlp.{2 * idle} is taken out" in change.detail and change.module == "mlp.6"
    torch.testing.assert_close(logits(given.model, dataset), logits(model, dataset), atol=1e-6, rtol=0)
    assert [type(module).__name__ for module in given.model.mlp][6:] == ["Identity", "Identity", "Linear"]


def test_a_cross_layer_of_zeros_goes_first_and_no_score_changes(dataset):
    model = tiny_model("dcnv2", dataset, trained=True, n_cross_layers=3)
    with torch.no_grad():
        model.cross[1].weight.zero_()
        model.cross[1].bias.zero_()
    given = apply(KEY, model, dataset, n_hidden=0)
    assert len(given.model.cross) == 2 and "layer cross.1 is taken out" in given.changes[0].detail
    torch.testing.assert_close(logits(given.model, dataset), logits(model, dataset), atol=1e-6, rtol=0)


def test_by_the_loss_no_other_layer_would_have_done_less_harm(dataset):
    model = tiny_model("deepfm", dataset, trained=True, n_layers=4)
    rows = to_device(dataset.splits["valid"])
    run = Run(Part.DENSE, (("mlp.4", "mlp.5"), ("mlp.8", "mlp.9"), ("mlp.12", "mlp.13")))
    losses = []
    for place in range(3):
        trial = copy_structure(model)
        take_out(trial, run, place)
        losses.append(loss_of(trial, rows))
    assert loss_of(apply(KEY, model, dataset).model, rows) == min(losses) < max(losses)


@pytest.mark.parametrize("n_hidden", [1, 2, 8])
def test_names_and_bytes_are_known_beforehand_whichever_go(n_hidden, dataset):
    model = tiny_model("dcnv2", dataset, n_layers=4, n_cross_layers=4)
    described = describe(model, dataset.signature, architecture="dcnv2")
    for judged_by in ("loss", "last"):
        params = {"n_hidden": n_hidden, "n_cross": n_hidden, "judged_by": judged_by}
        real = describe(apply(KEY, model, dataset, **params).model, dataset.signature, architecture="dcnv2")
        assert estimate(described, recipe_of((KEY, params))).layers == real.layers
    left = [layer.name.split(".")[0] for layer in real.layers if layer.kind == "Linear"]
    assert (left.count("cross"), left.count("mlp")) == (max(1, 4 - n_hidden), max(2, 5 - n_hidden))


def test_layers_go_before_and_after_channels_and_the_rest_learns_on(dataset):
    model = tiny_model("deepfm", dataset, trained=True, n_layers=4)
    steps = [("prune.channels", {"round_to": 1}), (KEY, {}), ("prune.channels", {"round_to": 1}), (KEY, {}),
             ("train.fine_tune", {"epochs": 1, "batch_size": 256})]
    described = describe(model, dataset.signature, architecture="deepfm")
    result = apply_all(model, dataset, *steps)
    real = describe(result, dataset.signature, architecture="deepfm")
    assert estimate(described, recipe_of(*steps)).layers == real.layers
    assert sum(isinstance(module, nn.Linear) for module in result.mlp) == 3


def test_without_rows_only_the_last_layers_can_go(dataset):
    model = tiny_model("deepfm", dataset)
    with pytest.raises(RecipeError, match="judged_by to last"):
        apply(KEY, model, None)
    assert apply(KEY, model, None, judged_by="last").changes
    assert any("fine-tune step" in problem.message for problem in check(recipe_of((KEY, {}))))
