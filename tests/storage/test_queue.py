"""The queue: who gets a job, who loses it, and that it ends once."""

import threading

import pytest

from compression.spec.errors import RecipeError, StorageError
from compression.spec.records import (
    Failure,
    ImportDataSpec,
    Progress,
    Recipe,
    RunSpec,
    SampleSpec,
    Step,
    Target,
    TrainSpec,
)
from storage.access import LOCAL_ACCESS
from storage.claims import TRIES
from storage.records import Outcome
from storage.silence import LEASE_S
from storage.store import open_store
from tests.storage.given import add_data, add_model, finish, finished_run, pass_a_lease, result_of, run_spec

FAILURE = Failure(kind="Killed", message="It was killed.", next_step="Retry.")


def test_jobs_are_claimed_in_the_order_they_were_queued(store):
    ids = store.submit_many([("", SampleSpec(seed=seed)) for seed in range(3)])
    assert [store.claim("w1", "cpu").id for _ in ids] == ids
    assert store.claim("w1", "cpu") is None


def test_a_claimed_job_says_who_runs_it_where_and_the_how_manieth_time(store):
    store.submit(SampleSpec())
    job = store.claim("w1", "cuda:1")
    assert (job.state, job.worker, job.device, job.attempt) == ("running", "w1", "cuda:1", 1)


def test_two_workers_that_claim_at_once_never_get_the_same_job(store, database_url, tmp_path):
    ids = store.submit_many([("", SampleSpec(seed=seed)) for seed in range(20)])
    claimed = []

    def claim_all(name):
        own = open_store(LOCAL_ACCESS, database_url, tmp_path / "home", clock=store.clock)
        while (job := own.claim(name, "cpu")) is not None:
            claimed.append(job.id)
        own.close()

    threads = [threading.Thread(target=claim_all, args=(f"w{index}",)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == ids


def test_a_heartbeat_keeps_the_lease_and_shows_the_progress(store, monotonic):
    job_id = store.submit(SampleSpec())
    job = store.claim("w1", "cpu")
    for _ in range(3):
        monotonic.now += LEASE_S * 0.9
        progress = Progress(stage="train", done=3, total=9, unit="epoch")
        assert store.heartbeat(job_id, "w1", progress, attempt=job.attempt) == "go"
        assert store.claim("w2", "cpu") is None
    assert store.job(job_id).progress.stage == "train"


def test_a_job_whose_lease_ran_out_goes_to_another_worker_and_the_first_can_save_nothing(store, monotonic):
    job_id = store.submit(run_spec(store))
    first = store.claim("w1", "cpu")
    pass_a_lease(store, monotonic)
    second = store.claim("w2", "cpu")
    assert (second.id, second.attempt) == (job_id, 2)
    assert store.heartbeat(job_id, "w1", attempt=1) == "lost"
    assert store.fail(job_id, "w1", FAILURE, attempt=1) is None
    assert not finish(store, first)
    assert store.job(job_id).state == "running"
    assert finish(store, second)
    assert not finish(store, second)  # nor twice by the one who has it
    assert len(store.points(first.model, first.data)) == 1


def test_a_worker_that_lost_a_job_and_took_it_again_is_fenced_by_the_attempt(store, monotonic):
    store.submit(run_spec(store))
    before = store.claim("w1", "cpu")
    pass_a_lease(store, monotonic)
    assert store.claim("w1", "cpu").attempt == 2
    assert not finish(store, before)


def test_a_job_that_loses_its_worker_three_times_fails_with_the_reason(store, monotonic):
    job_id = store.submit(SampleSpec())
    for _ in range(TRIES):
        assert store.claim("w", "cpu").id == job_id
        pass_a_lease(store, monotonic)
    assert store.claim("w", "cpu") is None
    job = store.job(job_id)
    assert job.state == "failed"
    assert "died" in job.failure.message and job.failure.next_step


def test_an_attempt_that_may_be_repeated_is_queued_again_at_most_three_times(store):
    job_id = store.submit(SampleSpec())
    states = []
    for _ in range(TRIES):
        job = store.claim("w", "cpu")
        states.append(store.fail(job_id, "w", FAILURE, attempt=job.attempt, retry=True))
    assert states == ["queued", "queued", "failed"]
    assert store.job(job_id).failure == FAILURE


def test_a_job_given_back_by_a_stopping_worker_has_not_lost_a_try(store):
    job_id = store.submit(SampleSpec())
    for _ in range(TRIES + 1):
        job = store.claim("w", "cpu")
        store.release(job_id, "w", attempt=job.attempt)
    assert store.job(job_id).state == "queued"
    job = store.claim("w", "cpu")
    assert store.fail(job_id, "w", FAILURE, attempt=job.attempt, retry=True) == "queued"


def test_cancel_ends_a_queued_job_at_once_and_asks_the_worker_of_a_running_one(store):
    queued, running = store.submit(SampleSpec(seed=2)), None
    assert store.cancel(queued) == "cancelled"
    running = store.submit(SampleSpec())
    job = store.claim("w1", "cpu")
    assert job.id == running
    assert store.cancel(running) == "running"
    assert store.heartbeat(running, "w1", attempt=1) == "cancel"
    assert store.fail(running, "w1", FAILURE, attempt=1, retry=True) == "cancelled"
    assert store.cancel(running) == "cancelled"


def test_a_cancelled_job_whose_worker_died_is_not_run_again(store, monotonic):
    job_id = store.submit(SampleSpec())
    store.claim("w1", "cpu")
    store.cancel(job_id)
    pass_a_lease(store, monotonic)
    assert store.claim("w2", "cpu") is None
    assert store.job(job_id).state == "cancelled"


def test_a_failed_job_is_retried_under_its_own_number_with_three_new_tries(store):
    job_id = store.submit(SampleSpec())
    store.fail(job_id, "w", FAILURE, attempt=store.claim("w", "cpu").attempt)
    assert store.retry(job_id) == job_id
    assert store.job(job_id).failure is None
    for expected in ("queued", "queued", "failed"):
        job = store.claim("w", "cpu")
        assert store.fail(job_id, "w", FAILURE, attempt=job.attempt, retry=True) == expected


def test_a_finished_job_is_not_retried(store):
    job_id = finished_run(store, run_spec(store))
    with pytest.raises(StorageError, match="is done; only a failed or cancelled job can be retried"):
        store.retry(job_id)


def test_retrying_an_import_whose_upload_was_swept_asks_to_upload_again(store):
    spec = ImportDataSpec(files={"a.csv": "0" * 64}, name="a", description={})
    job_id = store.submit(spec)
    store.cancel(job_id)
    with pytest.raises(StorageError, match=r"'a.csv' is no longer kept; upload it again"):
        store.retry(job_id)


def test_a_training_whose_dataset_was_deleted_is_not_retried(store):
    data = add_data(store)
    job_id = store.submit(TrainSpec(data=data, architecture="lr"))
    store.cancel(job_id)
    store.delete_dataset(data)
    with pytest.raises(StorageError, match=r"The dataset '.*' is not stored; it may have been deleted"):
        store.retry(job_id)


def test_an_equal_spec_is_done_at_once_with_the_same_result_and_says_so(store):
    spec = run_spec(store, methods=("embed.prune_rows",))
    first = store.submit(spec)
    job = store.claim("w1", "cpu")
    store.finish(first, "w1", Outcome(result=result_of(spec)), attempt=job.attempt)
    renamed = spec.model_copy(update={"recipe": spec.recipe.model_copy(update={"name": "another name"})})
    second = store.submit(renamed)
    assert store.job(second).state == "done"
    assert store.job(second).cached_from == first
    assert store.result(second) == store.result(first)
    assert [point.job_id for point in store.points(spec.model, spec.data)] == [first, second]


def test_an_equal_spec_queued_twice_is_measured_once(store):
    spec = run_spec(store)
    first, second = store.submit_many([("", spec), ("", spec)])
    job = store.claim("w1", "cpu")
    store.finish(first, "w1", Outcome(result=result_of(spec)), attempt=job.attempt)
    assert store.claim("w1", "cpu") is None
    assert store.job(second).cached_from == first


@pytest.mark.parametrize("change", ["seed", "target", "code", "fresh", "device"])
def test_whatever_could_change_the_numbers_is_measured_anew(store, change):
    spec = run_spec(store)
    first = store.submit(spec)
    job = store.claim("w1", "cuda:0" if change == "device" else "cpu")
    store.finish(first, "w1", Outcome(result=result_of(spec), code_version="old" if change == "code" else ""),
                 attempt=job.attempt)
    if change == "seed":
        spec = spec.model_copy(update={"recipe": spec.recipe.model_copy(update={"seed": 7})})
    if change == "target":
        spec = spec.model_copy(update={"target": Target(threads=2)})
    again = store.submit(spec, fresh=change == "fresh")
    assert store.job(again).state == "queued"


def test_a_run_for_cuda_waits_for_a_worker_that_has_it(store):
    job_id = store.submit(run_spec(store, target=Target(device="cuda")))
    assert store.job(job_id).needs == "cuda"
    assert store.claim("w1", "cpu") is None
    assert store.claim("w2", "cuda:0").id == job_id


def test_a_lost_run_for_cuda_is_queued_for_another_gpu_by_a_worker_without_one(store, monotonic):
    job_id = store.submit(run_spec(store, target=Target(device="cuda")))
    store.claim("w1", "cuda:0")
    pass_a_lease(store, monotonic)
    assert store.claim("w2", "cpu") is None
    assert store.job(job_id).state == "queued"
    assert store.claim("w3", "cuda:1").attempt == 2


def test_submitting_many_is_all_or_none(store):
    good = run_spec(store)
    bad = good.model_copy(update={"model": "f" * 64})
    with pytest.raises(StorageError, match="The model 'ffffffffffff' is not stored"):
        store.submit_many([("", good), ("", bad)])
    assert store.jobs().total == 0


def test_an_unknown_method_is_refused_at_submit(store):
    spec = RunSpec(model=add_model(store), data=add_data(store), recipe=Recipe(steps=(Step(method="magic"),)))
    with pytest.raises(RecipeError, match="There is no method 'magic'"):
        store.submit(spec)


def test_jobs_are_paged_filtered_and_searched_in_sql(store):
    data = add_data(store)
    store.submit_many([(f"int{bits} rows", TrainSpec(data=data, architecture="fm", seed=bits)) for bits in range(12)])
    store.submit(SampleSpec(), name="100% sample")
    page = store.jobs(kinds=["train"], page=1, per_page=5)
    assert (page.total, page.pages, len(page.items)) == (12, 3, 5)
    assert [job.name for job in page.items] == [f"int{bits} rows" for bits in (6, 5, 4, 3, 2)]
    assert store.jobs(text="INT11").total == 1
    assert store.jobs(text="0%").total == 1  # the sign stands for itself
    assert store.jobs(text=f"#{page.items[0].id}").items[0].id == page.items[0].id
    assert store.jobs(states=["done"]).total == 0
    assert store.jobs(data=data).total == 12
    assert store.counts() == {"queued": 13}


def test_a_job_that_does_not_exist_is_named(store):
    for ask in (store.job, store.result, store.cancel, store.retry):
        with pytest.raises(StorageError, match="There is no job 99"):
            ask(99)
