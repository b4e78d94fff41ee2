"""The real work of a job, on tiny data."""

from pathlib import Path

import pytest

from compression.data.description import load_description
from compression.spec.errors import DataError, ModelError
from compression.spec.records import ImportDataSpec, ImportModelSpec, RunSpec, SampleSpec, Target, TrainSpec
from compression.testing.tiny import write_tiny_data
from jobs.perform import KINDS, perform, plain
from jobs.records import Assignment


@pytest.fixture
def upload(store, tmp_path):
    """The files of a tiny dataset in the artifact store, and their description."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    write_tiny_data(folder)
    description = load_description(folder).model_dump(mode="json")
    return {name: store.files.put(folder / name) for name in description["files"].values()}, description


def assigned(store, spec, **inputs) -> Assignment:
    folder = store.job_folder(1)
    given = Assignment(job=1, name="job", spec=spec, files=str(store.files.root), folder=str(folder), **inputs)
    given.work.mkdir(parents=True, exist_ok=True)
    return given


def test_every_kind_of_job_has_its_work():
    kinds = {spec.model_fields["kind"].default for spec in (RunSpec, TrainSpec, SampleSpec, ImportModelSpec,
                                                             ImportDataSpec)}
    assert set(KINDS) == kinds


def test_an_uploaded_dataset_is_checked_summarised_and_stored_with_its_description(store, upload):
    files, description = upload
    spec = ImportDataSpec(files=files, name="Our clicks", description=description)
    outcome = perform(assigned(store, spec), lambda progress: None)
    assert outcome.dataset.name == "Our clicks"
    assert set(outcome.dataset.manifest) == {"data.yaml", *files}
    assert outcome.dataset.summary["rows"]["train"] > 0
    assert outcome.code_version
    data_id = store.add_dataset(outcome.dataset)
    assert store.dataset(data_id).description.name == "Our clicks"


def test_an_uploaded_description_is_replaced_without_touching_the_stored_file(store, upload):
    files, description = upload
    stored = store.files.put_bytes(b"name: theirs")
    spec = ImportDataSpec(files={**files, "data.yaml": stored}, name="Ours", description=description)
    perform(assigned(store, spec), lambda progress: None)
    assert store.files.path(stored).read_bytes() == b"name: theirs"


def test_a_dataset_that_does_not_match_its_description_is_refused(store, upload):
    files, description = upload
    description = {**description, "label": {"column": "no_such_column"}}
    with pytest.raises(DataError, match="no_such_column"):
        perform(assigned(store, ImportDataSpec(files=files, name="x", description=description)), lambda progress: None)


def test_a_file_that_is_no_model_is_refused(store):
    files = {"model.onnx": store.files.put_bytes(b"not a model")}
    with pytest.raises(ModelError):
        perform(assigned(store, ImportModelSpec(files=files, name="x")), lambda progress: None)


@pytest.mark.slow
def test_a_sample_with_an_architecture_asks_for_its_training(store):
    spec = SampleSpec(sample="generated", architecture="lr", seed=3)
    outcome = perform(assigned(store, spec), lambda progress: None)
    training, = outcome.next_jobs
    assert training.data == store.add_dataset(outcome.dataset)
    assert (training.architecture, training.seed) == ("lr", 3)


@pytest.mark.slow
def test_a_trained_model_runs_through_the_empty_recipe(store, upload):
    files, description = upload
    imported = perform(assigned(store, ImportDataSpec(files=files, name="tiny", description=description)),
                       lambda progress: None).dataset
    data = {"data_manifest": imported.manifest, "data_name": "tiny"}
    data_id = store.add_dataset(imported)
    spec = TrainSpec(data=data_id, architecture="lr", training={"epochs": 1})
    model = perform(assigned(store, spec, **data), lambda progress: None).model
    assert model.architecture == "lr" and model.name.endswith("on tiny")
    model_id = store.add_model(model)
    job_id = store.submit(RunSpec(model=model_id, data=data_id, recipe={"name": "baseline"}))
    job = store.claim("w", "cpu")
    outcome = perform(assigned(store, job.spec, model_manifest=model.manifest, **data), lambda progress: None)
    assert store.finish(job_id, "w", outcome, attempt=job.attempt)
    point, = store.points(model_id, data_id)
    assert {"auc", "size_bytes"} <= set(point.values)
    assert "bundle.zip" in store.result(job_id).files


def test_notes_become_plain_json(tmp_path):
    assert plain({"path": Path("a/b"), "epochs": (1, 2)}) == {"path": "a/b", "epochs": [1, 2]}


def test_the_cache_of_a_run_s_steps_belongs_to_its_target(store, tmp_path, monkeypatch):
    class Asked(Exception):
        pass

    def asked(spec, *, cache, **others):
        raise Asked(cache)

    monkeypatch.setattr("compression.running.run.run", asked)
    target = Target(threads=3)
    spec = RunSpec(model="m", data="d", recipe={"name": "none"}, target=target)
    given = assigned(store, spec, model_manifest={}, data_manifest={}, data_name="d", cache_bytes=10**6)
    with pytest.raises(Asked) as caught:
        perform(given, lambda progress: None)
    (cache,) = caught.value.args
    assert cache.target == target and cache.limit_bytes == 10**6 and cache.folder == given.cache


@pytest.mark.parametrize(("spec", "place"), [
    (RunSpec(model="m", data="d", recipe={"name": "none"}), "compression.running.run.run"),
    (TrainSpec(data="d", architecture="lr"), "compression.running.reference.train_reference")])
def test_trainings_write_their_events_into_the_folder_of_the_job(store, monkeypatch, spec, place):
    class Asked(Exception):
        pass

    def asked(spec, *, events, **others):
        raise Asked(events)

    monkeypatch.setattr(place, asked)
    given = assigned(store, spec, model_manifest={}, data_manifest={}, data_name="d")
    with pytest.raises(Asked) as caught:
        perform(given, lambda progress: None)
    assert caught.value.args == (Path(given.folder) / "tensorboard",)


@pytest.mark.slow
def test_a_run_takes_the_steps_it_shares_with_an_earlier_one_from_the_cache(store, upload):
    files, description = upload
    imported = perform(assigned(store, ImportDataSpec(files=files, name="tiny", description=description)),
                       lambda progress: None).dataset
    data = {"data_manifest": imported.manifest, "data_name": "tiny"}
    data_id = store.add_dataset(imported)
    model = perform(assigned(store, TrainSpec(data=data_id, architecture="lr", training={"epochs": 1}), **data),
                    lambda progress: None).model
    model_id = store.add_model(model)
    tuned = {"method": "train.fine_tune", "params": {"epochs": 1}}
    told = []
    for steps, cached in (((tuned,), 0), ((tuned, {"method": "quantize.dynamic"}), 1)):
        spec = RunSpec(model=model_id, data=data_id, recipe={"name": "tuned", "steps": steps})
        given = assigned(store, spec, model_manifest=model.manifest, cache_bytes=10**8, **data)
        assert perform(given, told.append).result.cached_steps == cached
    assert "Step 1 was taken from the cache: an earlier run began the same way." in {item.message for item in told}
