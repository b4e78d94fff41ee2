"""What a new training starts from: by size, within bounds, and only where nothing was given."""

import pytest

from compression.models import zoo
from compression.running import reference as running
from compression.spec.presets import FINE_TUNING, PRESETS, new_step
from compression.spec.recipe import parse_step, trains
from compression.spec.records import TrainSpec
from compression.testing.tiny import tiny_dataset, tiny_model, write_tiny_data
from compression.train.loop import train
from compression.train.params import TrainParams
from compression.train.starting import ReferenceParams, starting_settings


@pytest.mark.parametrize("n_rows", [1, 100, 10_000, 10**9])
@pytest.mark.parametrize("n_ids", [0, 10, 10**8])
def test_settings_of_any_size_are_within_bounds(n_rows, n_ids):
    ReferenceParams(**starting_settings(n_rows=n_rows, n_ids=n_ids))


def test_rows_that_say_little_of_each_id_get_fewer_epochs():
    epochs = [starting_settings(n_rows=50_000, n_ids=n_ids)["epochs"] for n_ids in (50, 5_000, 500_000)]
    assert epochs == sorted(epochs, reverse=True) and epochs[0] > epochs[2] == 3


def test_more_rows_make_larger_batches_and_large_tables_move_by_the_rows_read():
    small, large = (starting_settings(n_rows=n_rows, n_ids=n_rows // 10) for n_rows in (10_000, 100_000_000))
    assert (small["batch_size"], large["batch_size"]) == (256, 4096)
    assert (small["table_rows"], large["table_rows"]) == ("all", "read")


def test_a_reference_trains_with_the_starting_settings_and_those_given(tmp_path, monkeypatch):
    seen = []

    def watched(model, dataset, params, **given):
        seen.append((params, float(model.tables["user"].weight[1:].detach().std())))
        return train(model, dataset, params, **given)

    monkeypatch.setattr(running, "train", watched)
    data = write_tiny_data(tmp_path / "data", rows=400)
    spec = TrainSpec(data="file", architecture="deepfm", config={"width": 16, "n_layers": 1},
                     training={"epochs": 2, "embedding_l2": 0.5})
    _, _, notes = running.train_reference(spec, data_folder=data, folder=tmp_path / "out", report=lambda _: None)
    [(params, std)] = seen
    assert (params.epochs, params.embedding_l2) == (2, 0.5)
    assert (params.schedule, params.table_optimizer) == ("one_cycle", "adam")
    assert std == pytest.approx(1e-4, rel=0.3)
    assert notes["settings"]["embedding_l2"] == 0.5


def test_fine_tuning_from_its_settings_keeps_what_a_trained_model_knows():
    dataset = tiny_dataset(rows=1500)
    model = tiny_model("deepfm", dataset)
    trained = train(model, dataset, ReferenceParams(**starting_settings(n_rows=1000, n_ids=80)))
    outcome = train(model, dataset, TrainParams(epochs=2, batch_size=128, **FINE_TUNING))
    assert outcome.history[0].value > trained.best.value - 0.01


def test_vectors_start_with_the_standard_deviation_asked_for_and_layers_as_before():
    small, plain = (zoo.build("deepfm", tiny_dataset(rows=50).signature, {}, embedding_std=std) for std in (1e-4, None))
    assert float(small.tables["item"].weight[1:].detach().std()) == pytest.approx(1e-4, rel=0.2)
    assert float(plain.tables["item"].weight[1:].detach().std()) == pytest.approx(0.01, rel=0.2)
    assert (small.mlp[0].weight == plain.mlp[0].weight).all()


def test_what_is_added_or_preset_fine_tunes_by_the_scale_of_the_weights_and_what_is_stored_as_it_did():
    tuned = [step for preset in PRESETS.values() for step in preset.recipe.steps if trains(step)]
    added = new_step("train.fine_tune")
    assert tuned
    for step in (*tuned, added):
        params = parse_step(step)[1]
        assert (params.embedding_rate, params.schedule) == ("relative", "cosine")
    assert new_step("prune.magnitude").params == {}
    old = parse_step(added.model_copy(update={"params": {"epochs": 3}}))[1]
    assert (old.embedding_rate, old.embedding_learning_rate, old.schedule) == ("absolute", 0.02, "constant")


def test_a_training_that_was_best_at_its_last_epoch_says_so():
    notes = {"best_epoch": 2, "metric": "auc", "seconds": 1.0, "stopped_early": False,
             "history": [{"valid_auc": 0.7}, {"valid_auc": 0.8}]}
    assert "still improving" in running.training_sentence(notes)
    assert "still improving" not in running.training_sentence(notes | {"best_epoch": 1})
    assert "still improving" not in running.training_sentence(notes | {"stopped_early": True})
