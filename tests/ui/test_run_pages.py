"""Experiment, Runs, Run and Compare in each state: empty, busy, failed, full."""

import pytest

from storage.store import open_store
from tests.ui.app import open_page, texts
from tests.ui.filled import add_subject, filled_home


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RECPRESS_HOME", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return tmp_path


@pytest.fixture
def ids(home):
    return filled_home(home)


def store_at(home):
    return open_store(url=f"sqlite:///{home / 'recpress.db'}", root=home)


@pytest.mark.parametrize(("page", "words"), [
    ("experiment", "Nothing to compress yet"), ("runs", "Nothing has run yet"), ("compare", "No finished run yet"),
    ("run", "No run chosen"),
])
def test_an_empty_page_says_what_to_do_first(home, page, words):
    app = open_page(page)
    assert not app.exception
    assert words in texts(app)


def test_a_finished_run_opens_with_its_verdict_and_figures(ids):
    app = open_page("run", id=ids["int8 all"])
    assert not app.exception
    assert "3.7× smaller, 1.6× faster at batch 512, AUC −0.0003 (no worse within 0.001, 95 %)" in texts(app)
    figures = {figure.label: (figure.value, figure.delta) for figure in app.metric}
    assert figures["Size on disk"] == ("513 kB", "3.7× less, better")
    assert figures["AUC"] == ("0.7909", "−0.0003, no worse within 0.001")
    assert "19 rows are fewer than 100" in str([frame.value.to_dict() for frame in app.dataframe])


def test_a_failed_run_shows_cause_next_step_and_log(ids):
    app = open_page("run", id=ids["failed"])
    assert not app.exception
    assert "disagrees with torch by 0.2" in texts(app) and "Lower the sparsity" in texts(app)
    assert "check parity" in app.code[0].value
    assert [button.label for button in app.button] == ["Clone", "Retry"]


def test_retry_queues_a_failed_run_again(ids, home):
    app = open_page("run", id=ids["failed"])
    next(button for button in app.button if button.label == "Retry").click().run()
    assert store_at(home).job(ids["failed"]).state == "queued"


def test_a_running_run_shows_stage_rate_and_time_left_and_can_be_cancelled(ids, home):
    app = open_page("run", id=ids["active2"])
    assert not app.exception
    assert "41.0k rows/s · 1 min 35 s left" in app.get("progress")[0].proto.text
    next(button for button in app.button if button.label == "Cancel").click().run()
    assert store_at(home).job(ids["active2"]).cancel_asked


def test_a_run_that_is_gone_is_told(home):
    assert "There is no job 77" in texts(open_page("run", id=77))


def test_the_list_of_runs_reads_its_filters_from_the_address(ids):
    app = open_page("runs", state="failed")
    assert not app.exception
    rows = app.dataframe[0].value
    assert list(rows["State"]) == ["failed"]
    assert "disagrees with torch" in rows["Note"].iloc[0]
    app = open_page("runs", q="int4")
    assert list(app.dataframe[0].value["#"]) == [ids["int4 all"]]


def test_a_filter_is_written_to_the_address(ids):
    app = open_page("runs")
    app.text_input(key="runs.q").set_value("student").run()
    assert app.query_params["q"] == "student" or app.query_params["q"] == ["student"]
    assert list(app.dataframe[0].value["#"]) == [ids["student"]]


def test_filters_that_match_nothing_say_so(ids):
    assert "No job matches" in texts(open_page("runs", q="no such name"))


def test_compare_recommends_a_run_and_says_why(ids):
    app = open_page("compare")
    assert not app.exception
    assert "It is the smallest of 4 runs that lose at most 0.001 AUC" in texts(app)
    assert len(app.dataframe[0].value) == 7


def test_limits_in_the_address_decide_the_winner(ids):
    app = open_page("compare", loss="none", goal="quality")
    assert "the most accurate of 6 runs; no limit is set" in texts(app)
    app = open_page("compare", mb="0.1")
    assert "No run of 6 keeps every limit" in texts(app)


def test_a_changed_axis_is_written_to_the_address(ids):
    app = open_page("compare")
    app.selectbox(key="compare.x").set_value("latency_ratio@512").run()
    assert not app.exception
    assert "latency_ratio@512" in str(app.query_params["x"])


def test_the_picked_point_shows_its_verdict_and_the_way_to_the_run(ids):
    app = open_page("compare", pick=ids["student"])
    assert not app.exception
    assert f"#{ids['student']} student 0.5 + int8 dense: 4.8× smaller" in texts(app)


def test_side_by_side_shows_only_what_differs(ids):
    app = open_page("compare", side=f"{ids['int8 all']},{ids['int4 all']}")
    assert not app.exception
    rows = app.dataframe[1].value.set_index("What")
    assert "embed.quantize_rows · n_bits" in rows.index
    assert "steps" not in rows.index and "seed" not in rows.index


def test_a_comparison_of_chosen_runs_shows_only_those(ids):
    app = open_page("compare", runs=f"{ids['int8']},{ids['student']}")
    assert sorted(app.dataframe[0].value["job"]) == sorted([ids["int8"], ids["student"]])


def test_a_comparison_is_saved_and_opened_by_its_link(ids, home):
    app = open_page("compare", side=f"{ids['int8']},{ids['student']}")
    app.text_input(key="compare.save_name").set_value("Spring").run()
    next(button for button in app.button if button.label == "Save this comparison").click().run()
    saved = store_at(home).comparisons()[0]
    assert set(saved.runs) == {ids["int8"], ids["student"]}
    again = open_page("compare", c=saved.id)
    assert not again.exception
    assert len(again.dataframe[0].value) == 2


def test_an_address_full_of_nonsense_still_opens(ids):
    app = open_page("compare", x="nothing", y="auc", loss="-4", pin="abc", side="1,x", project="gone", runs="")
    assert not app.exception
    assert "Recommended" in texts(app)
    assert not open_page("runs", state="sideways", kind="x").exception
    assert not open_page("run", id="abc").exception


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
