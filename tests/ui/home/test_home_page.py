"""Home at every step of the way: empty, getting ready, stuck, ready for runs, with projects."""

import pytest

from compression.spec.records import Failure, Progress, SampleSpec, TrainSpec
from storage.records import NewData
from tests.ui.app import open_page, press, texts
from tests.ui.filled import WORKER, add_subject, data_description, filled_home
from ui.shared.failures import recent_failures


def test_an_empty_database_says_in_three_lines_what_this_is_and_offers_the_sample(home):
    app = open_page("home")
    assert not app.exception
    assert [button.label for button in app.button] == ["Try it with a sample", "Bring your own"]
    assert len(app.markdown[0].value.split("  \n")) == 3
    assert "Harper" in texts(app), "the terms of MovieLens are shown"


@pytest.mark.parametrize("page", ["home", "settings"])
def test_a_home_of_another_database_is_told_with_what_to_do(home, store, page, monkeypatch):
    add_subject(store)
    assert "another database" not in texts(open_page(page))
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{home / 'wrong *one*.db'}")
    app = open_page(page)
    assert not app.exception and any(r"wrong \*one\*" in one.value for one in app.warning)
    assert f"The folder {home} belongs to another database ({home / 'recpress.db'})" in texts(app)
    assert "Set DATABASE_URL and RECPRESS_HOME to the pair that belongs together" in texts(app)


def test_a_failure_is_shown_for_a_day(store):
    job_id = store.submit(SampleSpec())
    store.fail(job_id, WORKER, Failure(kind="DataError", message="Broken."), attempt=store.claim(WORKER, "cpu").attempt)
    ended = store.job(job_id).ended
    assert [job.id for job in recent_failures(store, ["sample"], now=ended + 24 * 3600 - 1)] == [job_id]
    assert recent_failures(store, ["sample"], now=ended + 24 * 3600 + 1) == []


def test_trying_the_sample_queues_it_with_the_chosen_model_and_shows_the_progress(home, store):
    app = open_page("home")
    app.radio(key="home.architecture").set_value("dcnv2")
    app.radio(key="home.sample").set_value("generated")
    app = press(app, "Try it with a sample")
    assert not app.exception
    (job,) = store.jobs().items
    assert job.spec == SampleSpec(sample="generated", architecture="dcnv2")
    assert "Getting ready" in texts(app)
    assert "No worker is running" in texts(app)


def test_a_running_sample_shows_stage_and_time_left(home, store):
    store.submit(SampleSpec())
    job = store.claim(WORKER, "cpu")
    store.add_worker(WORKER, "cpu")
    store.heartbeat(job.id, WORKER, Progress(stage="fetch", done=1, total=2, unit="MB", seconds_left=12),
                    attempt=job.attempt)
    app = open_page("home")
    assert not app.exception
    assert "fetch · MB 1 of 2 · 12 s left" in str(app.get("progress")[0].proto)
    assert "No worker is running" not in texts(app)


def test_a_failed_sample_says_why_and_can_be_tried_again_or_put_away(home, store):
    store.submit(SampleSpec(), name="Sample MovieLens-100K")
    job = store.claim(WORKER, "cpu")
    store.fail(job.id, WORKER, Failure(kind="DataError", message="No source answered.", next_step="Check the network."),
               attempt=job.attempt)
    app = open_page("home")
    assert "No source answered." in texts(app) and "Check the network." in texts(app)
    press(app, "Retry")
    assert store.job(job.id).state == "queued"
    store.cancel(job.id)


def test_a_dismissed_failure_is_gone(home, store):
    store.submit(SampleSpec())
    job = store.claim(WORKER, "cpu")
    store.fail(job.id, WORKER, Failure(kind="DataError", message="No source answered."), attempt=job.attempt)
    app = press(open_page("home"), "Dismiss")
    assert "No source answered." not in texts(app)
    assert not store.jobs().total


def test_data_without_a_model_leads_to_training_or_uploading_one(home, store):
    store.add_dataset(NewData(name="Clicks", manifest={"data.yaml": store.files.put_bytes(b"data")},
                              description=data_description(), summary={}))
    app = open_page("home")
    assert not app.exception
    assert [button.label for button in app.button] == ["Train a reference model", "Upload a model"]


def test_model_and_data_lead_to_suggested_runs_and_one_click_queues_them(home, store):
    model, data = add_subject(store)
    app = open_page("home")
    assert "Ready for the first runs" in texts(app)
    app = press(app, "Queue suggested runs")
    assert not app.exception
    jobs = store.jobs().items
    assert {(job.model, job.data) for job in jobs} == {(model, data)}
    assert [len(job.spec.recipe.steps) == 0 for job in jobs].count(True) == 1, "the baseline is among them"
    assert len(jobs) == 5
    assert app.title[0].value == "Compare" and "Runs are on their way" in texts(app)


def test_a_training_that_runs_after_the_sample_keeps_home_on_the_way(home, store):
    _, data = add_subject(store)
    store.submit(TrainSpec(data=data, architecture="dlrm"))
    assert "Getting ready" in texts(open_page("home"))


def test_projects_show_their_best_trade_off_in_a_sentence_and_what_runs_now(home):
    filled_home(home)
    app = open_page("home")
    assert not app.exception
    said = texts(app)
    assert "DeepFM on Clicks" in said
    assert "Recommended · int4 rows + int8 dense: 6.9× smaller" in said.replace("**", "")
    assert "CPU, 1 thread, batch 1 and 512 · 7 runs · 2 active" in said
    assert "1 job running, 1 queued" in said
