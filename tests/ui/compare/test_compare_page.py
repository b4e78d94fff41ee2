"""Compare as its address asks for it: the recommended run, limits, the pinned run, saved comparisons."""

import pytest

from compression.spec.errors import StorageError
from compression.spec.records import Failure, Step
from tests.storage.given import as_person
from tests.ui import filled
from tests.ui.app import open_page, texts
from tests.ui.filled import filled_home, store_at
from ui.shared.escape import escaped


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


@pytest.mark.parametrize("query", [{"ms": "0"}, {"mb": "0"}, {"loss": "0"}, {"ms": "0", "mb": "0", "loss": "0"}])
def test_a_limit_of_zero_opens_and_says_that_nothing_keeps_it(ids, query):
    app = open_page("compare", **query)
    assert not app.exception
    assert ("No run of 6 keeps every limit" in texts(app)) != (query == {"loss": "0"})


@pytest.mark.parametrize("query", [{"ms": "-1"}, {"mb": "nan"}, {"loss": "5"}, {"loss": "-0.5"}, {"goal": "best"},
                                   {"pin": "9" * 40}, {"runs": "x"}])
def test_what_an_address_asks_and_cannot_be_is_said(ids, query):
    app = open_page("compare", **query)
    assert not app.exception
    (name, value), = query.items()
    assert any(f"{name}={value[:40]} in the address can't be used" in one.value.replace("\\", "")
               for one in app.warning)
    assert "Recommended" in texts(app)


def test_differences_are_to_the_pinned_run_at_once(ids):
    app = open_page("compare")
    app.selectbox(key="compare.pin").set_value(ids["int8"]).run()
    rows = app.dataframe[0].value.set_index("job")
    assert rows.loc[ids["int8"], "auc difference"] == 0
    assert rows.loc[ids["int8 all"], "auc difference"] == pytest.approx(-0.00028)
    app.text_input(key="compare.q").set_value("int4").run()
    rows = app.dataframe[0].value.set_index("job")
    assert list(rows.index) == [ids["int4 all"]]
    assert rows.loc[ids["int4 all"], "auc difference"] == pytest.approx(-0.00088), "a pin outside the filter holds"


def test_a_name_that_no_run_has_leaves_the_filter_on_the_page(ids):
    app = open_page("compare", q="no such name")
    assert not app.exception and "No run has 'no such name' in its name." in texts(app)
    next(button for button in app.button if button.label == "Show every run of the project").click().run()
    assert len(app.dataframe[0].value) == 7 and app.text_input(key="compare.q").value == ""


def test_a_name_that_no_run_has_is_shown_as_typed_and_nothing_is_said_of_runs(ids):
    app = open_page("compare", q="a*b* <i>")
    said = [one.value for one in app.markdown]
    assert f"No run has {escaped(repr('a*b* <i>'))} in its name." in said
    assert not any("No compressed run is finished" in one for one in said)


def test_a_comparison_of_an_address_whose_runs_are_partly_gone_is_saved_with_those_that_are_here(ids, home):
    app = open_page("compare", runs=f"{ids['int8']},{ids['student']},999")
    app.text_input(key="compare.save_name").set_value("Spring").run()
    next(button for button in app.button if button.label == "Save this comparison").click().run()
    (saved,) = store_at(home).comparisons()
    assert set(saved.runs) == {ids["int8"], ids["student"]}


@pytest.mark.slow
def test_runs_of_an_address_that_are_gone_are_named(ids):
    app = open_page("compare", runs=f"{ids['int8']},999")
    assert "1 of 2 runs of this address are not here" in texts(app) and "#999" in texts(app)


def test_a_tick_stays_when_a_filter_hides_its_row_and_the_others_keep_their_places(ids):
    app = open_page("compare", side=f"{ids['int8']},{ids['student']}")
    order = list(app.dataframe[0].value["job"])
    assert order == list(open_page("compare").dataframe[0].value["job"]), "ticked rows don't move"
    app.text_input(key="compare.q").set_value("student").run()
    assert {f"#{ids['int8']} int8 rows"} <= set(app.dataframe[1].value.columns)


def test_home_and_compare_recommend_the_same_run_in_the_same_words(home, monkeypatch):
    slow = (Step(method="embed.quantize_rows", params={"n_bits": 2}), Step(method="quantize.static"))
    monkeypatch.setitem(filled.RECIPES, "small and slow", (slow, 0.05, 0.0, 1.4))
    ids = filled_home(home)
    said = [next(one.value for one in open_page(page).markdown if "**Recommended**" in one.value)
            for page in ("home", "compare")]
    assert said[0] == said[1]
    assert "1 run is left out: slower than the baseline" in said[0].replace("\\", "")
    allowed = texts(open_page("compare", slower=1))
    assert "20.0× smaller, 40 % slower at batch 512 and 40 % slower at batch 1" in allowed
    run = texts(open_page("run", id=ids["small and slow"]))
    assert "20.0× smaller, 40 % slower at batch 512 and 40 % slower at batch 1" in run


def test_a_saved_comparison_is_deleted_after_a_second_click_and_then_its_dataset_can_go(ids, home):
    store = store_at(home)
    saved = store.save_comparison("Spring", [ids["int8"]])
    data = store.datasets()[0].id
    for job in store.jobs(states=["running", "queued"]).items:
        store.fail(job.id, job.worker, Failure(kind="x", message="x"), attempt=job.attempt) if job.worker else (
            store.cancel(job.id))
    with pytest.raises(StorageError, match="'Spring' of local shows it"):
        store.delete_dataset(data, with_runs=True)
    app = open_page("compare")
    app.button(key=f"saved.{saved}.delete").click().run()
    app.button(key=f"saved.{saved}.keep").click().run()
    assert [one.name for one in store.comparisons()] == ["Spring"]
    app.button(key=f"saved.{saved}.delete").click().run()
    app.button(key=f"saved.{saved}.go").click().run()
    assert not app.exception and store.comparisons() == []
    store.delete_dataset(data, with_runs=True)


def test_another_persons_comparison_is_not_deleted_and_the_page_says_why(ids, home):
    store = store_at(home)
    saved = as_person(store, "anna").save_comparison("Theirs", [ids["int8"]])
    app = open_page("compare")
    app.button(key=f"saved.{saved}.delete").click().run()
    app.button(key=f"saved.{saved}.go").click().run()
    assert any("belongs to anna" in one.value for one in app.error) and len(store.comparisons()) == 1
