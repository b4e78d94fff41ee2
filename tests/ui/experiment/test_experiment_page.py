"""Experiment: presets, clones, sweeps, conflicts, pasted recipes, and the address that follows the form."""

import pytest

from compression.spec.link import pack
from compression.spec.presets import FINE_TUNING
from compression.spec.records import Recipe
from storage.records import NewData
from tests.ui.app import open_page, press, texts
from tests.ui.filled import add_subject, data_description, store_at


def test_an_experiment_starts_empty_and_measures_the_baseline(home):
    store = store_at(home)
    add_subject(store)
    app = open_page("experiment")
    assert not app.exception
    assert "No step yet" in texts(app)
    assert app.metric[0].value == "811 kB"
    assert [button.label for button in app.button if button.label.startswith("Queue")] == ["Queue run"]


def test_a_preset_fills_the_recipe_and_a_slider_moves_the_size(home):
    add_subject(store_at(home))
    app = open_page("experiment")
    app.button_group(key="experiment.goal").set_value("Smallest file").run()
    app.button_group(key="experiment.preset").set_value("int8").run()
    assert not app.exception
    assert "1 · " in texts(app) and "2 · " in texts(app)
    before = app.metric[0].value
    bits = next(group for group in app.button_group if group.key and group.key.endswith("n_bits"))
    bits.set_value(4).run()
    assert app.metric[0].value != before


def test_a_cloned_run_brings_its_recipe_and_remembers_its_parent(ids, home):
    app = open_page("experiment", clone=ids["student"])
    assert not app.exception
    assert "Distillation" in texts(app) and f"cloned from run {ids['student']}" in texts(app)
    next(button for button in app.button if button.label == "Queue run").click().run()
    newest = store_at(home).jobs().items[0]
    assert newest.parent == ids["student"]


def test_a_fine_tuning_that_is_added_follows_the_scale_of_the_tables(home):
    add_subject(store_at(home))
    app = open_page("experiment")
    app.selectbox(key="experiment.add").set_value("train.fine_tune").run()
    app = press(app, "Queue run")
    (job,) = store_at(home).jobs().items
    assert FINE_TUNING.items() <= job.spec.recipe.steps[0].params.items()


def test_a_sweep_queues_one_run_for_each_value(ids, home):
    app = open_page("experiment", clone=ids["rare"])
    app.selectbox(key="experiment.sweep1").set_value("1 · Row pruning: Keep").run()
    assert not app.exception, app.exception
    values = next(one for one in app.text_input if one.label.startswith("Values"))
    assert values.value == "0.1, 0.3, 0.5, 0.7, 0.9"
    values.set_value("0.2 1.7").run()
    assert any("Keep must be in [0.01, 1]; got 1.7" in error.value.replace("\\", "") for error in app.error)
    next(one for one in app.text_input if one.label.startswith("Values")).set_value("0.2, 0.4, 0.8").run()
    button = next(button for button in app.button if button.label.startswith("Queue"))
    assert button.label == "Queue 3 runs"
    before = store_at(home).jobs().total
    button.click().run()
    assert store_at(home).jobs().total == before + 3


def test_a_conflict_is_explained_and_blocks_the_queue(home):
    add_subject(store_at(home))
    app = open_page("experiment")
    for method in ("quantize.dynamic", "quantize.static"):
        app.selectbox(key="experiment.add").set_value(method).run()
    assert any("already quantised" in error.value for error in app.error)
    assert next(button for button in app.button if button.label.startswith("Queue")).disabled


def test_a_pasted_recipe_is_loaded_and_a_broken_one_told(home):
    add_subject(store_at(home))
    app = open_page("experiment")
    app.text_area(key="experiment.yaml").set_value("version: 1\nname: small\nsteps: [{method: nope}]").run()
    next(button for button in app.button if button.label == "Load recipe").click().run()
    assert any("There is no method 'nope'" in error.value for error in app.error)
    app.text_area(key="experiment.yaml").set_value(
        "version: 1\nname: small\nsteps: [{method: prune.magnitude, params: {sparsity: 0.8}}]").run()
    next(button for button in app.button if button.label == "Load recipe").click().run()
    assert app.text_input(key="experiment.name").value == "small"
    assert app.slider[0].value == 0.8


def test_a_target_says_how_far_the_graph_is_rewritten(home):
    store = store_at(home)
    add_subject(store)
    app = open_page("experiment")
    app.selectbox(key="experiment.optimization").set_value("basic").run()
    assert not app.exception
    next(button for button in app.button if button.label == "Queue run").click().run()
    (job,) = store.jobs().items
    assert job.spec.target.graph_optimization == "basic"


def reopened(app):
    """The Experiment page at the address of another one, in a session of its own."""
    query = {key: value[0] if isinstance(value, list) else value for key, value in app.query_params.items()}
    return open_page("experiment", **query)


@pytest.mark.slow
def test_the_address_of_experiment_follows_its_edits_so_that_a_reload_keeps_them(home):
    add_subject(store_at(home))
    app = open_page("experiment")
    app.selectbox(key="experiment.add").set_value("prune.magnitude").run()
    app.slider[0].set_value(0.83).run()
    app.text_input(key="experiment.name").set_value("mine").run()
    app.number_input(key="experiment.seed").set_value(7).run()
    app.number_input(key="experiment.threads").set_value(4).run()
    assert not app.exception
    again = reopened(app)
    assert not again.exception
    assert again.slider[0].value == 0.83 and again.text_input(key="experiment.name").value == "mine"
    assert again.number_input(key="experiment.seed").value == 7
    assert again.number_input(key="experiment.threads").value == 4
    remove = next(button for button in again.button if button.label == "Remove")
    remove.click().run()
    assert "No step yet" in texts(reopened(again))


def test_a_recipe_without_a_name_is_named_after_its_steps_after_a_reload_too(home):
    add_subject(store_at(home))
    app = open_page("experiment")
    app.selectbox(key="experiment.add").set_value("prune.magnitude").run()
    again = reopened(app)
    assert again.text_input(key="experiment.name").value == ""


def test_a_clone_that_was_edited_and_reloaded_keeps_its_edits_and_its_parent(ids, home):
    app = open_page("experiment", clone=ids["rare"])
    before = app.slider[0].value
    app.slider[0].set_value(0.61).run()
    again = reopened(app)
    assert before != 0.61 and again.slider[0].value == 0.61
    assert f"cloned from run {ids['rare']}" in texts(again)


@pytest.mark.parametrize("target", ["x", "cpu.0.1.all", "cpu.1.1-0.all", "cpu.1.1.fast", "...", "cpu.1.1e9.all"])
def test_a_target_of_an_address_that_is_none_gets_a_sentence(home, target):
    add_subject(store_at(home))
    app = open_page("experiment", recipe=pack(Recipe()), target=target)
    assert not app.exception
    assert "The target in this link can't be read" in texts(app)


def test_the_dataset_of_a_link_is_taken_with_its_model(home):
    store = store_at(home)
    model, data = add_subject(store)
    other = store.add_dataset(NewData(name="Other", manifest={"data.yaml": store.files.put_bytes(b"other")},
                                      description=data_description("Other"), summary={}))
    app = open_page("experiment", model=model, data=other)
    assert app.selectbox(key="experiment.data").value == other != data
