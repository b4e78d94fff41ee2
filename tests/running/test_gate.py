"""The gate: a dense layer that measures slower goes back to float, at the target's batch sizes, and the run says so."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compression.layers.dense.quantized_linear import DynamicLinear
from compression.measure.layer_latency import Ratio, time_layers
from compression.models.structure import describe
from compression.running.gate import apply_gated
from compression.running.step_cache import StepCache
from compression.spec.method import METHODS
from compression.spec.records import Recipe, Step, Target
from compression.testing.steps import context, logits, ordered_dataset
from compression.testing.tiny import tiny_model

TARGET = Target(batch_sizes=(1, 64))


class Timer:
    """Answers what it is told for layers that read `in_features`, × 0.5 for others; notes what it was asked.

    Layers together are as slow as `together` says.
    """

    def __init__(self, told: dict[int, dict[int, Ratio]], together: Ratio = Ratio(1.5, 1.4, 1.6, 30.0)) -> None:
        self.told, self.together, self.asked = told, together, []

    def __call__(self, old: nn.Module, new: nn.Module, in_features: int, target: Target) -> dict[int, Ratio]:
        if isinstance(old, nn.Sequential):
            kinds = [type(layer).__name__ for layer in new]
            assert old[0].in_features == in_features and kinds[1::2] == ["ReLU"] * (len(old) // 2)
            self.asked.append((in_features, f"{len(kinds[::2])} together", target))
            return dict.fromkeys(target.batch_sizes, self.together)
        assert type(old) is nn.Linear and old.in_features == in_features
        self.asked.append((in_features, type(new).__name__, target))
        return self.told.get(in_features, {size: Ratio(0.5, 0.49, 0.51, -9.0) for size in target.batch_sizes})


@pytest.fixture(scope="module")
def dataset():
    return ordered_dataset()


@pytest.fixture(scope="module")
def model(dataset):
    return tiny_model("deepfm", dataset, n_layers=3, width=24, batch_norm=False)


def gated(key: str, model: nn.Module, dataset, timer: Timer | None, **params):
    method = METHODS[key]
    ctx = context(model, dataset, method=key, target=TARGET, time_layers=timer)
    return apply_gated(method, model, method.parse(params), ctx)


def test_a_layer_that_is_slower_at_one_batch_size_stays_float_and_the_run_says_so(model, dataset):
    timer = Timer({24: {1: Ratio(1.3, 1.2, 1.4, 9.0), 64: Ratio(0.4, 0.39, 0.41, -9.0)}})
    applied = gated("quantize.dynamic", model, dataset, timer, min_features=1)
    assert type(applied.model.get_submodule("mlp.0")) is DynamicLinear  # reads 16 columns, and was faster
    assert [change.module for change in applied.changes] == ["mlp.0"]
    assert applied.changes[0].detail.endswith(
        "; alone × 0.50 of the time at batch size 1, 0.50 of the time at batch size 64")
    back = {skip.module: skip.reason for skip in applied.skipped if "slower" in skip.reason}
    assert set(back) == {"mlp.3", "mlp.6"}
    assert back["mlp.3"] == ("slower than the float layer: × 1.30 [1.20, 1.40] of its time at batch size 1 on 1 "
                             "thread of the CPU, so it stays as it was")
    for path in back:
        kept = applied.model.get_submodule(path)
        assert type(kept) is nn.Linear and torch.equal(kept.weight, model.get_submodule(path).weight)


def test_layers_of_one_form_are_timed_once_at_the_target(model, dataset):
    timer = Timer({})
    gated("quantize.dynamic", model, dataset, timer, min_features=1)
    assert timer.asked == [(16, "3 together", TARGET), (16, "DynamicLinear", TARGET), (24, "DynamicLinear", TARGET)]


def test_layers_that_are_faster_together_stay_without_being_asked_alone(model, dataset):
    timer = Timer({16: {1: Ratio(2.0, 1.9, 2.1, 50.0)}}, together=Ratio(0.6, 0.5, 0.7, -40.0))
    changed = gated("quantize.static", model, dataset, timer, min_features=1).changes
    assert [change.module for change in changed] == ["mlp.0", "mlp.3", "mlp.6"]
    assert changed[0].detail.endswith(
        "; together × 0.60 of the time at batch size 1, 0.60 of the time at batch size 64")
    assert timer.asked == [(16, "3 together", TARGET)]


def test_an_interval_that_reaches_down_to_equal_is_no_proof_of_slowness(model, dataset):
    timer = Timer({24: {1: Ratio(1.2, 1.04, 1.4, 9.0)}, 16: {1: Ratio(1.04, 1.03, 1.05, 9.0)}})
    assert len(gated("quantize.static", model, dataset, timer, min_features=1).changes) == 3


def test_a_few_microseconds_may_be_the_price_of_running_alone(dataset):
    one = tiny_model("deepfm", dataset, n_layers=1, width=24, batch_norm=False)
    for longer_us, stays in ((1.9, True), (2.1, False)):
        timer = Timer({16: {1: Ratio(1.5, 1.4, 1.6, longer_us)}})
        changed = gated("quantize.dynamic", one, dataset, timer, min_features=1).changes
        assert [change.module for change in changed] == ["mlp.0"] * stays


def test_with_every_layer_slower_the_model_is_what_it_was(model, dataset):
    slow = {1: Ratio(2.0, 1.9, 2.1, 9.0)}
    applied = gated("factorize.svd", model, dataset, Timer({16: slow, 24: slow}), weights="dense", rank_ratio=0.25)
    assert not applied.changes
    assert torch.equal(logits(applied.model, dataset), logits(model, dataset))
    assert (describe(applied.model, dataset.signature, architecture="deepfm").layers
            == describe(model, dataset.signature, architecture="deepfm").layers)


@pytest.mark.parametrize(("key", "params"), [("prune.channels", {"ratio": 0.5}), ("quantize.weights", {"n_bits": 8})])
def test_what_gets_narrower_or_claims_no_speed_is_not_timed(model, dataset, key, params):
    timer = Timer({})
    assert gated(key, model, dataset, timer, **params).changes and not timer.asked


def test_without_a_timer_nothing_goes_back(model, dataset):
    assert len(gated("quantize.dynamic", model, dataset, None, min_features=1).changes) == 3


def test_the_cache_of_steps_tells_targets_apart_where_layers_are_timed(tmp_path):
    fast = Recipe(steps=(Step(method="quantize.dynamic"),))
    small = Recipe(steps=(Step(method="embed.quantize_rows"),))
    one, other = (StepCache(tmp_path, ("m", "d"), target=Target(batch_sizes=sizes)) for sizes in ((1,), (512,)))
    assert one._path(fast, 1) != other._path(fast, 1)
    assert one._path(small, 1) == other._path(small, 1)


@pytest.mark.slow
def test_a_layer_of_four_times_the_work_really_measures_slower():
    old, new = nn.Linear(64, 64), nn.Sequential(nn.Linear(64, 1024), nn.Linear(1024, 64))
    (ratio,) = time_layers(old, new, 64, Target(batch_sizes=(64,))).values()
    assert ratio.low > 1.05 and ratio.longer_us > 0
