"""Short trainings choose settings on validation rows, and what luck would explain is left as it was."""

from __future__ import annotations

import numpy as np
import pytest

from compression.data.click_log import generate_click_log
from compression.data.encode import load_dataset
from compression.running import tuning
from compression.running.reference import starting_of, train_reference
from compression.running.tuning import AXES, Axis, bounds_of, moves, tune
from compression.spec.records import Progress, TrainSpec
from compression.train.starting import ReferenceParams

BOUNDS = {"learning_rate": (1e-6, 0.1), "embedding_learning_rate": (1e-5, 1.0), "embedding_l2": (0.0, 1.0),
          "dropout": (0.0, 0.9)}
START = {"learning_rate": 1e-3, "embedding_learning_rate": 0.01, "embedding_l2": 1e-3, "dropout": 0.2}


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    folder = tmp_path_factory.mktemp("log")
    generate_click_log(folder, rows=3000, n_users=200, n_items=80)
    return folder


def searched(n_trials, score):
    """(what `moves` tries, what is best at the end) where settings are as good as `score` says."""
    led, tried = [START], []
    for values in moves(START, BOUNDS, n_trials, lambda: led[-1]):
        tried.append(values)
        if score(values) > score(led[-1]):
            led.append(values)
    return tried, led[-1]


def test_where_nothing_helps_each_setting_was_tried_both_ways_and_the_start_stays():
    tried, best = searched(8, lambda values: 0)
    assert best == START and tried[0] == START
    assert [{name for name in START if one[name] != START[name]} for one in tried[1:]] == [
        {"learning_rate", "embedding_learning_rate"}] * 2 + [{"embedding_l2"}] * 2 + [{"dropout"}] * 2
    assert [one["dropout"] for one in tried[-2:]] == [0.4, 0.0]


def test_a_move_that_helped_is_kept_and_goes_further_with_what_is_left():
    tried, best = searched(8, lambda values: min(values["embedding_l2"], 0.02) - values["dropout"])
    assert best == START | {"embedding_l2": pytest.approx(0.025), "dropout": 0.0}
    assert [one["embedding_l2"] for one in tried[3:]] == [0.005, 0.005, 0.005, 0.025, 0.12]


def test_no_more_is_tried_than_was_asked_for():
    assert len(searched(6, lambda values: 0)[0]) == 6
    assert len(searched(1, lambda values: 0)[0]) == 1


def test_what_an_architecture_lacks_and_what_is_at_its_bound_is_not_tried():
    axis = Axis("dropout", ("dropout",), step=0.2)
    assert axis.moved({"learning_rate": 1e-3}, True, BOUNDS) is None
    assert axis.moved({"dropout": 0.0}, False, BOUNDS) is None
    assert axis.moved({"dropout": 0.8}, True, BOUNDS) == {"dropout": 0.9}
    assert bounds_of(ReferenceParams)["embedding_l2"] == (0, 1)


def trial(value):
    return tuning.Trial({}, "auc", value)


def test_a_lead_within_its_standard_error_is_luck_and_a_larger_one_is_not(log):
    rows = load_dataset(log).splits["valid"]
    draw = np.random.default_rng(0)
    best = rows.label + draw.normal(0, 1.5, len(rows))
    noise = (best + draw.normal(0, 0.5, len(rows)) for _ in range(50))
    search = tuning.Search({}, 3, lambda progress: None)
    search.add(trial(0.5), best, rows)
    lucky = next(scores for scores in noise
                 if 0 < (found := tuning._compared(trial(0.5), scores, best, rows)).lead < found.standard_error)
    for scores in (lucky, best + rows.label):
        search.add(trial(0.5), scores, rows)
    assert [one.taken for one in search.trials] == [True, False, True]
    assert search.best is search.trials[2]


def test_a_worse_log_loss_is_no_lead_though_its_number_is_larger(log):
    rows = load_dataset(log).splits["valid"]
    sure = np.where(rows.label > 0, 3.0, -3.0)
    found = tuning._compared(tuning.Trial({}, "logloss", 0.7), np.zeros(len(rows)), sure, rows)
    assert found.lead < 0 and not found.taken


@pytest.mark.slow
def test_rates_that_cannot_learn_are_left_and_the_choice_is_noted(log, tmp_path):
    told: list[Progress] = []
    spec = TrainSpec(data="d", architecture="fm", tune=4, training={
        "epochs": 4, "learning_rate": 1e-5, "embedding_learning_rate": 1e-4, "embedding_std": 0.01})
    _, _, notes = train_reference(spec, data_folder=log, folder=tmp_path, report=told.append)
    first = notes["tuning"][0]
    chosen = max(one["embedding_learning_rate"] for one in notes["tuning"] if one["taken"])
    assert first["taken"] and chosen > 1e-4 == first["embedding_learning_rate"]
    assert notes["settings"]["embedding_learning_rate"] == chosen
    assert f"embedding_learning_rate {chosen:g}" in notes["tuned"]
    tuned = [one for one in told if one.stage == "tune"]
    assert {one.total for one in tuned} == {4} and any("best so far: validation AUC" in one.message for one in tuned)
    assert [one.done for one in tuned] == sorted(one.done for one in tuned)


@pytest.mark.slow
def test_a_tuning_that_was_killed_goes_on_where_it_was(log, tmp_path, monkeypatch):
    dataset = load_dataset(log)
    params = starting_of(TrainSpec(data="d", architecture="lr", training={"epochs": 2}), dataset)
    trained = []
    real = tuning.train
    monkeypatch.setattr(tuning, "train", lambda *args, **given: trained.append(1) or real(*args, **given))

    def tuned(n_trials, **changed):
        return tune("lr", {}, params.model_copy(update=changed), dataset, n_trials=n_trials, folder=tmp_path,
                    report=lambda progress: None)

    first = tuned(2)
    again = tuned(3)
    assert len(trained) == 3 and again.trials[:2] == first.trials
    tuned(2, batch_size=128)
    assert len(trained) == 5, "another start is another tuning"
    assert not list(tmp_path.glob("*.ckpt"))


def test_over_fewer_rows_a_short_training_has_a_penalty_that_is_larger_by_as_much(log, tmp_path, monkeypatch):
    seen = []

    def watched(model, dataset, params, **given):
        seen.append((len(dataset.splits["train"]), params.epochs, params.embedding_l2))
        return tuning_train(model, dataset, params, **given)

    tuning_train = tuning.train
    monkeypatch.setattr(tuning, "train", watched)
    dataset = load_dataset(log)
    n_rows = len(dataset.splits["train"])
    params = starting_of(TrainSpec(data="d", architecture="lr", training={"epochs": 2, "embedding_l2": 0.01}), dataset)
    for most in (10 * n_rows, n_rows):
        monkeypatch.setattr(tuning, "MOST_ROWS_SEEN", most)
        tune("lr", {}, params, dataset, n_trials=1, folder=tmp_path / str(most), report=lambda progress: None)
    assert seen == [(n_rows, 2, 0.01), (n_rows // 2, 2, pytest.approx(0.02, rel=1e-3))]


def test_every_axis_moves_settings_that_there_are():
    names = {name for axis in AXES for name in axis.settings}
    assert names - {"dropout"} <= set(ReferenceParams.model_fields)
