"""A worker serves every workspace, and each job reads and writes in its own."""

from jobs.worker import assignment, work
from storage.access import Access
from storage.store import Store
from tests.storage.given import run_spec


def test_what_a_worker_saves_lies_in_the_workspace_of_the_job(store, worker):
    theirs = Store(store, Access(person="bert", workspace="south"))
    spec = run_spec(theirs)
    job_id = theirs.submit(spec, name="steps 1")
    assert work(worker, once=True) == 1
    assert (theirs.job(job_id).state, theirs.job(job_id).owner) == ("done", "bert")
    assert [point.job_id for point in theirs.points(spec.model, spec.data)] == [job_id]
    assert "step 0" in theirs.log_path(job_id).read_text()
    assert store.jobs().total == 0 and store.points(spec.model, spec.data) == []


def test_an_assignment_names_the_inputs_of_the_jobs_own_workspace(store):
    theirs = Store(store, Access(person="bert", workspace="south"))
    spec = run_spec(theirs)
    run_spec(store)  # equal files here
    store.rename_dataset(spec.data, "Here")
    theirs.rename_dataset(spec.data, "There")
    theirs.submit(spec)
    assert assignment(store, store.claim("w", "cpu")).data_name == "There"
