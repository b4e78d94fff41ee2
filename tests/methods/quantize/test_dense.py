"""Dynamic and static int8 as steps: which layers they take, what they save, and what static needs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compression.spec.errors import RecipeError
from compression.spec.method import METHODS, Context
from compression.testing.steps import apply, logits, ordered_dataset
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
