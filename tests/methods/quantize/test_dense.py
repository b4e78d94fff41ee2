"""Dynamic and static int8 as steps: which layers they take, what they save, and what static needs."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from compression.methods.quantize.dense_layers import n_kept
from compression.models.structure import describe
from compression.spec.errors import RecipeError
from compression.spec.method import METHODS, Context
from compression.spec.recipe import estimate
from compression.testing.steps import apply, logits, ordered_dataset, recipe_of
from compression.testing.tiny import tiny_model

BOTH = ["quantize.dynamic", "quantize.static"]


@pytest.fixture(scope="module")
def dataset():
    return ordered_dataset()


@pytest.fixture(scope="module")
def model(dataset):
    return tiny_model("dcnv2", dataset, trained=True, embedding_dim=8, width=32)


@pytest.mark.parametrize("key", BOTH)
def test_weights_take_a_quarter_and_scores_hardly_move(key, model, dataset):
    given = apply(key, model, dataset)
    assert given.changes
    for change in given.changes:
        linear = model.get_submodule(change.module)
        assert change.bytes_after == linear.weight.numel() + 8 * linear.out_features
    difference = torch.sigmoid(logits(given.model, dataset)) - torch.sigmoid(logits(model, dataset))
    assert float(difference.abs().max()) < 0.05


@pytest.mark.parametrize("key", BOTH)
def test_the_output_and_narrow_layers_stay_with_their_reasons(key, model, dataset):
    kept = apply(key, model, dataset, min_features=1)
    reasons = " ".join(item.reason for item in kept.skipped)
    assert "it is the output layer" in reasons
    everything = apply(key, model, dataset, min_features=1, skip_output=False)
    assert len(everything.changes) == len(kept.changes) + 2  # cross_output and the last layer of the network
    narrow = apply(key, model, dataset, min_features=4096)
    assert not narrow.changes and any("fewer than min_features (4096)" in item.reason for item in narrow.skipped)


@pytest.mark.parametrize("key", BOTH)
def test_seven_bits_keep_weights_within_63_steps(key, model, dataset):
    given = apply(key, model, dataset, n_bits=7)
    assert all(int(given.model.get_submodule(change.module).weight.abs().max()) <= 63 for change in given.changes)


@pytest.mark.parametrize("calibrator", ["minmax", "percentile", "mse", "entropy"])
def test_every_calibrator_gives_ranges_that_hold_zero(calibrator, model, dataset):
    given = apply("quantize.static", model, dataset, calibrator=calibrator, n_batches=2)
    for change in given.changes:
        layer = given.model.get_submodule(change.module)
        assert layer.x_scale > 0 and 0 <= layer.zero_point <= 255


def test_static_without_rows_says_what_to_do(model):
    with pytest.raises(RecipeError, match=r"calibrates on training rows.*or Dynamic int8"):
        apply("quantize.static", model, None)


def test_a_layer_that_no_row_reaches_is_left_with_its_reason(dataset):
    class Detour(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused, self.out = nn.Linear(1, 32), nn.Linear(32, 32), nn.Linear(32, 1)

        def forward(self, batch):
            return self.out(self.used(batch["age"].unsqueeze(1))).squeeze(1)

    static = METHODS["quantize.static"]
    given = static(Detour(), static.parse({"min_features": 1, "n_batches": 1}), Context(dataset=dataset))
    assert [item.module for item in given.changes] == ["used"]
    assert {item.module: item.reason for item in given.skipped}["unused"] == "no calibration row reached it"


def test_a_lower_percentile_of_the_settings_gives_a_narrower_range(model, dataset):
    scales = [[given.model.get_submodule(change.module).x_scale for change in given.changes] for given in
              (apply("quantize.static", model, dataset, calibrator="percentile", percentile=share, n_batches=2)
               for share in (100, 90))]
    assert scales[0] and all(narrow < wide for wide, narrow in zip(*scales, strict=True))


def with_one_hurt_by_codes(model, path: str) -> nn.Module:
    """The model with a layer whose outputs have one weight of 500 beside small ones, which codes round to zero."""
    model = copy.deepcopy(model)
    layer = model.get_submodule(path)
    with torch.no_grad():
        layer.weight[:, 0] = 500 * layer.weight.abs().amax()
    return model


@pytest.mark.parametrize("key", BOTH)
def test_the_layer_that_codes_hurt_most_stays_in_float_if_a_share_may(key, model, dataset):
    hurt = "mlp.0"
    hurt_model = with_one_hurt_by_codes(model, hurt)
    plain, given = (apply(key, hurt_model, dataset, keep_float=share) for share in (0.0, 0.05))
    assert {one.module for one in plain.changes} - {one.module for one in given.changes} == {hurt}
    assert isinstance(given.model.get_submodule(hurt), nn.Linear)
    assert next(one.reason for one in given.skipped if one.module == hurt).endswith("so it stays in float (keep_float)")
    away = [float((logits(one.model, dataset) - logits(hurt_model, dataset)).square().mean()) for one in (plain, given)]
    assert away[1] < away[0]


@pytest.mark.parametrize("key", BOTH)
def test_the_estimate_is_a_bound_once_layers_are_kept_by_measuring(key, model, dataset):
    described = describe(model, dataset.signature, architecture="dcnv2")
    for share in (0.05, 0.5, 0.9):
        params = METHODS[key].parse({"keep_float": share})
        expected = estimate(described, recipe_of((key, {"keep_float": share}))).size_bytes
        given = apply(key, model, dataset, keep_float=share)
        real = describe(given.model, dataset.signature, architecture="dcnv2").size_bytes
        assert METHODS[key].is_bounded(params) and real <= expected <= described.size_bytes
    assert not METHODS[key].is_bounded(METHODS[key].parse({}))


def test_keeping_layers_by_measuring_asks_for_rows(model):
    with pytest.raises(RecipeError, match=r"keep_float measures on training rows .* or set keep_float to 0"):
        METHODS["quantize.dynamic"](model, METHODS["quantize.dynamic"].parse({"keep_float": 0.1}), Context())


@pytest.mark.parametrize(("n_layers", "share", "kept"), [
    (35, 0.0, 0), (35, 0.1, 4), (3, 0.05, 1), (0, 0.5, 0), (2, 0.9, 2)])
def test_how_many_layers_a_share_keeps(n_layers, share, kept):
    assert n_kept(n_layers, share) == kept
