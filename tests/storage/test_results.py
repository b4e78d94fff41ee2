"""What jobs made, and how pages read it."""

import pytest

from compression.spec.errors import StorageError
from compression.spec.records import Recipe, SampleSpec, Step, TrainSpec
from storage.digests import manifest_digest
from storage.records import NewData, NewModel, Outcome
from storage.rows import families
from tests.storage.given import add_data, add_model, as_person, finished_run, result_of, run_spec


def test_a_result_comes_back_as_it_was_saved(store):
    spec = run_spec(store)
    job_id = finished_run(store, spec)
    assert store.result(job_id) == result_of(spec)
    job = store.job(job_id)
    assert (job.state, job.result_ready, job.worker) == ("done", True, None)


def test_points_carry_the_whole_test_split_with_its_baseline(store):
    spec = run_spec(store)
    finished_run(store, spec, name="one")
    point, = store.points(spec.model, spec.data)
    assert (point.name, point.families) == ("one", "")
    assert set(point.values) == {"auc", "size_bytes", "latency_ratio@512"}
    assert point.values["auc"].difference == -0.0002
    assert point.values["auc"].baseline == 0.75
    assert point.values["size_bytes"] == (250.0, None, None, None, None, None, 1000.0)


def test_points_seen_before_follow_a_rename_and_a_deletion(store):
    spec = run_spec(store)
    first, second = finished_run(store, spec), finished_run(store, spec)
    assert len(store.points(spec.model, spec.data)) == 2
    store.rename_job(first, "kept")
    store.delete_job(second)
    third = finished_run(store, spec, size=99)
    points = store.points(spec.model, spec.data)
    assert [(point.job_id, point.name) for point in points] == [(first, "kept"), (third, "seed 0")]
    assert points[1].values["size_bytes"].value == 99
    assert store.points(spec.model, spec.data, text="KEPT") == points[:1]


def test_a_project_counts_its_runs(store):
    spec = run_spec(store, methods=("embed.prune_rows",))
    for size in (100, 300, 500):
        finished_run(store, spec, size=size)
    store.submit(spec, fresh=True)
    project, = store.projects()
    assert (project.runs, project.active, project.model_name, project.data_name) == (3, 1, "DeepFM", "clicks")


def test_projects_are_told_apart_by_target_and_the_newest_comes_first(store, clock):
    spec = run_spec(store)
    finished_run(store, spec)
    clock.now += 10
    other = spec.model_copy(update={"target": spec.target.model_copy(update={"threads": 2})})
    finished_run(store, other)
    assert [project.target.threads for project in store.projects()] == [2, 1]
    keys = {point.project for point in store.points(spec.model, spec.data)}
    assert len(keys) == 2
    assert len(store.points(spec.model, spec.data, project=keys.pop())) == 1


def test_the_baseline_of_a_project_is_what_its_newest_run_measured(store):
    spec = run_spec(store)
    assert store.baseline(spec.model, spec.data) == ()
    finished_run(store, spec)
    assert store.baseline(spec.model, spec.data)[0].value == 0.75


def test_a_result_that_names_a_missing_file_is_refused_and_nothing_is_saved(store):
    spec = run_spec(store)
    job_id = store.submit(spec)
    job = store.claim("w", "cpu")
    outcome = Outcome(result=result_of(spec, files={"bundle.zip": "0" * 64}))
    with pytest.raises(StorageError, match="is not in"):
        store.finish(job_id, "w", outcome, attempt=job.attempt)
    assert store.job(job_id).state == "running"


def test_a_job_that_made_a_dataset_queues_its_training_in_the_same_transaction(store):
    sample_job = as_person(store, "anna").submit(SampleSpec(architecture="deepfm"))
    job = store.claim("w", "cpu")
    made = store.dataset(add_data(store, "template"))
    manifest = {"x.csv": store.files.put_bytes(b"x")}
    dataset = NewData(name="ML", manifest=manifest, description=made.description, summary={}, origin="sample")
    training = TrainSpec(data=manifest_digest(manifest), architecture="deepfm")
    store.finish(sample_job, "w", Outcome(dataset=dataset, next_jobs=(training,)), attempt=job.attempt)
    child, = store.jobs(parent=sample_job).items
    assert (child.kind, child.owner, child.data) == ("train", "anna", manifest_digest(manifest))
    assert store.dataset(child.data).job == sample_job


def test_a_trained_model_belongs_to_the_owner_of_its_job(store):
    data = add_data(store)
    job_id = as_person(store, "anna").submit(TrainSpec(data=data, architecture="fm"))
    job = store.claim("w", "cpu")
    described = store.model(add_model(store)).description
    manifest = {"model.safetensors": store.files.put_bytes(b"weights")}
    new = NewModel(name="FM", architecture="fm", manifest=manifest, description=described, origin="trained", data=data)
    store.finish(job_id, "w", Outcome(model=new), attempt=job.attempt)
    model = store.model(store.job(job_id).model)
    assert (model.owner, model.job, model.data, model.size_bytes) == ("anna", job_id, data, 7)


def test_families_of_a_recipe_are_named_in_order_and_fine_tuning_only_alone():
    def recipe(*methods):
        return Recipe(steps=tuple(Step(method=method) for method in methods))

    assert families(recipe()) == ""
    assert families(recipe("prune.magnitude", "train.fine_tune", "embed.prune_rows", "prune.x")) == "prune+embed"
    assert families(recipe("train.fine_tune")) == "train"
