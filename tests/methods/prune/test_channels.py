"""Channel pruning: units are really gone, and those that did nothing are not missed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compression.methods.prune.channels import ChannelsParams, kept_width, links, most_important
from compression.spec.method import METHODS, Context
from compression.spec.recipe import check
from compression.spec.records import Part
from compression.testing.steps import apply, apply_all, context, logits, ordered_dataset, recipe_of
from compression.testing.tiny import tiny_model


@pytest.fixture(scope="module")
def dataset():
    return ordered_dataset()


def test_units_whose_batch_norm_scale_is_zero_go_first_and_are_not_missed(dataset):
    model = tiny_model("deepfm", dataset, trained=True)
    dead = torch.arange(0, 16, 2)
    for norm in (model.mlp[1], model.mlp[5]):  # Liu et al. 2017: a scale of zero makes a channel redundant
        norm.weight.data[dead] = 0
        norm.bias.data[dead] = 0
    pruned = apply("prune.channels", model, dataset, ratio=0.5, round_to=1).model
    assert pruned.mlp[0].weight.shape == (8, 16)
    assert pruned.mlp[4].weight.shape == (8, 8)
    assert torch.equal(pruned.mlp[0].weight, model.mlp[0].weight[1::2])
    torch.testing.assert_close(logits(pruned, dataset), logits(model, dataset), rtol=0, atol=1e-6)


def test_a_unit_is_worth_the_norm_of_its_weights_times_its_scale():
    weight = torch.tensor([[3.0, 0.0], [2.0, 2.0], [0.5, 0.5], [1.0, 1.0]])
    assert most_important(weight, [], 1, "l2").tolist() == [0]  # 3 against √8
    assert most_important(weight, [], 1, "l1").tolist() == [1]  # 3 against 4
    norm = nn.BatchNorm1d(4)
    norm.weight.data = torch.tensor([0.1, 0.1, -9.0, 1.0])
    assert most_important(weight, [norm], 2, "l2").tolist() == [2, 3]


@pytest.mark.parametrize(("width", "ratio", "round_to", "kept"), [
    (128, 0.5, 8, 64), (128, 0.95, 8, 8), (100, 0.5, 16, 64), (16, 0.95, 1, 1), (8, 0.5, 64, 8), (128, 0, 64, 128)])
def test_widths_are_rounded_up_and_never_grow(width, ratio, round_to, kept):
    assert kept_width(width, ChannelsParams(ratio=ratio, round_to=round_to)) == kept


def test_dlrm_keeps_the_width_that_meets_the_tables_and_says_why(dataset):
    model = tiny_model("dlrm", dataset)
    given = apply("prune.channels", model, dataset, round_to=1)
    assert given.model.bottom[2].out_features == model.bottom[2].out_features
    assert given.model.bottom[0].out_features == 4  # its hidden layer may shrink
    deeper = tiny_model("dlrm", dataset, n_bottom_layers=1)
    skipped = {item.module: item.reason for item in apply("prune.channels", deeper, dataset, round_to=1).skipped}
    assert "feeds something else" in skipped["bottom.0"]


def test_cross_layers_keep_their_width(dataset):
    model = tiny_model("dcnv2", dataset)
    pruned = apply("prune.channels", model, dataset).model
    assert [layer.weight.shape for layer in pruned.cross] == [layer.weight.shape for layer in model.cross]


def test_cross_layers_are_no_chain_even_where_their_shapes_fit():
    square = (4, 4)
    assert links([(f"cross.{k}", "Linear", Part.INTERACTION, square) for k in range(2)]) == []
    assert links([("a.0", "Linear", Part.DENSE, square), ("b.0", "Linear", Part.DENSE, square)]) == []
    assert len(links([("a.0", "Linear", Part.DENSE, square), ("a.2", "Linear", Part.OUTPUT, (1, 4))])) == 1


def test_named_layers_are_a_pair_where_they_widen_and_narrow_again():
    names = {"f.up": (16, 4), "f.down": (4, 16), "a.query": (4, 4), "a.key": (4, 4), "b.down": (4, 16), "b.up": (16, 4)}
    found = links([(name, "Linear", Part.DENSE, shape) for name, shape in names.items()])
    assert [(link.first, link.second) for link in found] == [("f.up", "f.down")]


def test_what_mixes_units_between_two_layers_keeps_the_width():
    model = nn.Sequential(nn.Linear(6, 8), nn.Softmax(dim=-1), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 1))
    given = METHODS["prune.channels"](model, ChannelsParams(round_to=1), Context())
    assert [given.model[place].out_features for place in (0, 2, 4)] == [8, 2, 1]
    assert "Softmax" in next(item.reason for item in given.skipped if item.module == "0")


def test_units_between_the_factors_of_a_low_rank_layer_stay(dataset):
    model = tiny_model("deepfm", dataset)
    pruned = apply_all(model, dataset, ("factorize.svd", {"weights": "dense", "rank_ratio": 0.25}),
                       ("prune.channels", {"ratio": 0.5, "round_to": 1}))
    reduce, expand = pruned.mlp[0]
    assert (reduce.out_features, expand.out_features) == (4, 8)
    assert torch.isfinite(logits(pruned, dataset)).all()


def test_a_narrowed_model_trains(dataset):
    model = tiny_model("deepfm", dataset)
    given = apply("prune.channels", model, dataset)
    tuned = METHODS["train.fine_tune"](given.model, METHODS["train.fine_tune"].parse({"epochs": 1}),
                                       context(given.model, dataset, method="train.fine_tune"))
    assert tuned.model.mlp[0].out_features == 8


def test_it_may_stand_twice_but_not_after_dense_quantisation():
    twice = recipe_of(("prune.channels", {}), ("prune.channels", {}))
    assert check(twice) == []
    late = check(recipe_of(("quantize.dynamic", {}), ("prune.channels", {})))
    assert "step 1 has quantised the dense layers" in late[0].message and late[0].severity == "error"


def test_by_taylor_a_unit_that_nothing_reads_goes_whatever_its_weights():
    """Molchanov et al. 2019: without effect on the loss the gradient is zero, and so is the score."""
    dataset = ordered_dataset()
    model = tiny_model("deepfm", dataset, trained=True)
    with torch.no_grad():
        model.mlp[0].weight[::2] *= 10
        model.mlp[4].weight[:, ::2] = 0
    by_norm, by_loss = (apply("prune.channels", model, dataset, criterion=criterion, ratio=0.5, round_to=1).model
                        for criterion in ("l2", "taylor"))
    assert torch.equal(by_loss.mlp[0].weight, model.mlp[0].weight[1::2])
    assert not torch.equal(by_norm.mlp[0].weight, by_loss.mlp[0].weight)
