"""Deleting what somebody still needs is refused, with the names of who and what."""

import pytest

from compression.spec.errors import StorageError
from storage.records import Outcome
from tests.storage.given import add_data, add_model, as_person, finished_run, result_of, run_spec


def test_a_model_that_a_queued_job_uses_is_kept(store):
    spec = run_spec(store)
    job_id = store.submit(spec, name="int8 rows")
    with pytest.raises(StorageError, match=rf"Model 'DeepFM' can't be deleted: queued job {job_id} \(int8 rows\)"):
        store.delete_model(spec.model, with_runs=True)
    store.cancel(job_id)
    store.delete_model(spec.model)
    with pytest.raises(StorageError, match="There is no model"):
        store.model(spec.model)


def test_a_dataset_that_a_running_job_uses_is_kept(store):
    spec = run_spec(store)
    store.submit(spec)
    store.claim("w", "cpu")
    with pytest.raises(StorageError, match="Dataset 'clicks' can't be deleted: running job"):
        store.delete_dataset(spec.data, with_runs=True)


def test_what_another_person_compares_is_kept_until_they_delete_the_comparison(store):
    spec = run_spec(store)
    run = finished_run(store, spec, name="small")
    saved = as_person(store, "anna").save_comparison("for Monday", [run])
    for delete in (lambda: store.delete_job(run), lambda: store.delete_model(spec.model, with_runs=True),
                   lambda: store.delete_dataset(spec.data, with_runs=True)):
        with pytest.raises(StorageError, match="the saved comparison 'for Monday' of anna shows it"):
            delete()
    with pytest.raises(StorageError, match="belongs to anna"):
        as_person(store, "bert").delete_comparison(saved)
    as_person(store, "anna").delete_comparison(saved)
    store.delete_job(run)
    assert store.jobs().total == 0


def test_a_model_with_finished_runs_is_deleted_only_together_with_them(store):
    spec = run_spec(store)
    finished_run(store, spec)
    with pytest.raises(StorageError, match="1 finished run measured it"):
        store.delete_model(spec.model)
    store.delete_model(spec.model, with_runs=True)
    assert store.points(spec.model, spec.data) == []
    assert store.projects() == []


def test_a_result_shared_by_two_runs_outlives_the_first(store):
    spec = run_spec(store)
    first = store.submit(spec)
    job = store.claim("w", "cpu")
    store.finish(first, "w", Outcome(result=result_of(spec)), attempt=job.attempt)
    second = store.submit(spec)
    store.delete_job(first)
    assert store.result(second) == result_of(spec)
    store.delete_job(second)
    assert store.job(store.submit(spec)).state == "queued"


def test_an_active_job_is_cancelled_before_it_is_deleted(store):
    job_id = store.submit(run_spec(store))
    with pytest.raises(StorageError, match=r"it is queued\. Cancel it first"):
        store.delete_job(job_id)


def test_the_number_of_a_deleted_run_is_never_given_to_another(store):
    spec = run_spec(store)
    run = finished_run(store, spec)
    store.delete_job(run)
    assert store.submit(spec) > run


def test_equal_files_are_the_same_model_and_keep_their_first_name(store):
    first = add_model(store, "DeepFM")
    store.rename_model(first, "  Our  model ")
    assert add_model(store, "DeepFM") == first
    assert [model.name for model in store.models()] == ["Our model"]
    with pytest.raises(StorageError, match="A name has 1 to 200 characters; got 0"):
        store.rename_dataset(add_data(store), "   ")


def test_models_are_listed_newest_first_and_searched_by_name(store, clock):
    for name in ("FM", "DeepFM", "DLRM"):
        clock.now += 1
        add_model(store, name)
    assert [model.name for model in store.models()] == ["DLRM", "DeepFM", "FM"]
    assert [model.name for model in store.models(text="fm")] == ["DeepFM", "FM"]
    assert [model.name for model in store.models(limit=1)] == ["DLRM"]


def test_a_comparison_keeps_its_runs_in_order_and_its_view(store):
    spec = run_spec(store)
    runs = [finished_run(store, spec) for _ in range(3)]
    saved = store.save_comparison("a", [runs[2], runs[0]], view={"x": "size_bytes"})
    assert store.comparison(saved).runs == (runs[2], runs[0])
    store.save_comparison("b", runs, comparison_id=saved)
    assert [(item.name, item.runs) for item in store.comparisons()] == [("b", tuple(runs))]
    with pytest.raises(StorageError, match="belongs to local"):
        as_person(store, "anna").save_comparison("c", runs, comparison_id=saved)
    with pytest.raises(StorageError, match="There is no job 999"):
        store.save_comparison("d", [999])
    with pytest.raises(StorageError, match="needs at least one run"):
        store.save_comparison("d", [])


def test_a_setting_is_kept_and_replaced(store):
    assert store.setting("theme", "light") == "light"
    store.set_setting("theme", {"name": "dark"})
    store.set_setting("theme", ["dark", 1])
    assert store.setting("theme") == ["dark", 1]
