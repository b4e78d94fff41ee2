"""How a model was trained is on its page: epochs, tuning, settings, and the test rows beside simpler ways."""

from __future__ import annotations

import json

import pytest

from compression.running.first_look import FirstLook, Line
from compression.running.tuning import Trial
from compression.spec.records import Measurement, TrainSpec
from compression.train.outcome import EpochScore, TrainOutcome
from jobs.perform import plain
from plots.epochs import draw_losses, draw_scores, epoch_curves
from storage.records import NewModel
from tests.ui.app import open_page, texts
from tests.ui.filled import add_subject
from tests.ui.models.test_catalogue_pages import add_data, press
from ui.models.train import TRIALS


def outcome(metric="auc", kept=2):
    history = tuple(EpochScore(epoch, 0.7 - epoch / 20, {"auc": 0.6 + epoch / 20 if metric == "auc" else None,
                                                         "logloss": 0.69 - epoch / 30}) for epoch in (1, 2, 3))
    return TrainOutcome(kept, EpochScore(0, None, history[0].valid), history, False, False, 1000.0, 3.0)


def look(problem=""):
    def line(name, auc):
        measured = Measurement(metric="auc", value=auc, ci_low=auc - 0.01, ci_high=auc + 0.01)
        return Line(name=name, measurements=(measured,))

    if problem:
        return FirstLook(problem=problem)
    lines = line("This model", 0.71), line("Constant", 0.5), line("Logistic regression", 0.75)
    return FirstLook(rows=120, lines=lines,
                     hints=("A logistic regression on the same columns does better.",))


def trained(store, **notes):
    """A stored model with these notes of its training beside those of its epochs."""
    first, data = add_subject(store)
    row = store.model(first)
    made = outcome().as_notes() | {"settings": {"epochs": 3}} | notes
    return store.add_model(NewModel(name="Trained", architecture="deepfm", origin="trained", data=data,
                                    manifest={"config.json": store.files.put_bytes(b"trained")},
                                    description=row.description, notes=plain(made)))


def tables(app):
    return json.dumps([frame.value.to_dict() for frame in app.dataframe], default=str)


def test_epochs_tuning_and_settings_are_on_the_model_s_page_and_not_again_among_its_notes(store):
    trials = [Trial({"dropout": 0.2}, "auc", 0.7), Trial({"dropout": 0.4}, "auc", 0.72, 0.02, 0.01, True)]
    model = trained(store, tuning=[one.as_notes() for one in trials], tuned="2 short trainings chose dropout 0.4.")
    app = open_page("models", id=model)
    assert not app.exception
    assert "Training" in [tab.label for tab in app.tabs]
    assert texts(app).count("2 short trainings chose dropout 0.4.") == 1
    shown = tables(app)
    assert "Validation AUC" in shown and "Validation log loss" in shown
    assert shown.count("Training loss") == 1 and shown.count("Lead over the best before") == 1


def test_a_model_that_was_not_trained_here_has_no_such_tab(store):
    model, _ = add_subject(store)
    assert "Training" not in [tab.label for tab in open_page("models", id=model).tabs]


def test_the_test_rows_are_shown_beside_a_constant_and_a_regression(store):
    said = texts(open_page("models", id=trained(store, first_look=look())))
    assert ("AUC 0.7100 on 120 test rows; a constant has 0.5000, a logistic regression on the same columns 0.7500."
            in said)
    assert "Measured when it was trained" in said and "A logistic regression on the same columns does better." in said


def test_test_rows_that_cannot_be_measured_are_no_doubt_about_a_binding(store):
    said = texts(open_page("models", id=trained(store, first_look=look("All rows have the label 1."))))
    assert "The test rows could not be measured." in said and "bound" not in said


def lines(figure):
    return {line.name: line for line in figure.data}


def test_the_kept_epoch_is_marked_on_the_score_that_decided():
    curves = epoch_curves(plain(outcome().as_notes()))
    scores = lines(draw_scores(curves))
    assert list(scores["Validation AUC"].y) == pytest.approx([0.65, 0.7, 0.75])
    assert (scores["kept"].x[0], scores["kept"].y[0]) == (2, pytest.approx(0.7))
    losses = lines(draw_losses(curves))
    assert list(losses) == ["Training loss", "Validation loss"]
    assert list(losses["Training loss"].y) == pytest.approx([0.65, 0.6, 0.55])


def test_where_the_loss_decided_it_has_the_mark_and_a_single_epoch_is_no_curve():
    curves = epoch_curves(plain(outcome(metric="logloss").as_notes()))
    assert curves.metric == "logloss" and draw_scores(curves) is None
    assert list(lines(draw_losses(curves))) == ["Training loss", "Validation loss", "kept"]
    assert epoch_curves({"metric": "auc", "history": [{"epoch": 1}]}) is None and epoch_curves({}) is None


def test_a_training_can_be_tuned_first(store):
    app = open_page("models", add="train", data=add_data(store))
    app.toggle(key="models.train.tune").set_value(True).run()
    app = press(app, "Train")
    assert not app.exception
    (job,) = store.jobs().items
    assert isinstance(job.spec, TrainSpec) and job.spec.tune == TRIALS
