"""Models, Datasets and Settings in each state: empty, full, busy, failed, refused."""

import json

import pytest

from compression.data.summary import ColumnSummary, DataSummary, ProfilePoint, ValueCount
from compression.spec.records import Failure, ImportDataSpec, ImportModelSpec, TrainSpec
from compression.testing.tiny import write_tiny_data
from compression.train.starting import starting_settings
from storage.records import NewData, NewModel
from tests.ui.app import open_page, press, texts, upload_page, uploaded
from tests.ui.filled import WORKER, add_subject, data_description, description, fill
from ui.models.train import ID_ROLES
from ui.models.view import training_words


def tables(app) -> str:
    return str([frame.value.to_dict("list") for frame in app.dataframe])


def summary() -> dict:
    point = ProfilePoint(rank=1, count=50, share=0.5)
    item = ColumnSummary(name="item", role="item", missing=0, cardinality=40, head_share=0.3, single_share=0.1,
                         unknown_share=0.7, drift=0.31, frequent=(ValueCount(value="i1", count=50),),
                         profile=(point, ProfilePoint(rank=40, count=1, share=1.0)))
    label = ColumnSummary(name="clicked", role="label", missing=0, cardinality=2, lower=0, upper=1, mean=0.5)
    return DataSummary(name="Clicks", rows={"train": 800, "valid": 100, "test": 100},
                       label_rate={"train": 0.5, "valid": 0.5, "test": 0.3}, columns=(label, item),
                       preview_columns=("clicked", "item"), preview=(("1", "i1"),)).model_dump(mode="json")


def add_data(store) -> str:
    return store.add_dataset(NewData(name="Clicks", manifest={"data.yaml": store.files.put_bytes(b"other data")},
                                     description=data_description(), summary=summary()))


@pytest.mark.parametrize(("page", "words"), [("models", "No model yet"), ("datasets", "No dataset yet")])
def test_an_empty_list_says_what_belongs_here_and_how_to_begin(home, page, words):
    app = open_page(page)
    assert not app.exception
    assert words in texts(app) and "sample on Home" in texts(app)


def test_the_list_of_models_names_size_architecture_and_dataset(store):
    add_subject(store)
    app = open_page("models")
    row = app.dataframe[0].value.iloc[0]
    assert (row["Model"], row["Architecture"], row["Dataset"]) == ("DeepFM on Clicks", "DeepFM", "Clicks")
    assert row["Exported size"] == description().size_bytes


def test_a_model_shows_where_its_bytes_are_its_layers_and_what_it_reads(store):
    model, _ = add_subject(store)
    app = open_page("models", id=model)
    assert not app.exception
    assert "77 % of the bytes are in 3 embedding tables; user alone holds 48 %." in texts(app)
    assert {figure.label: figure.value for figure in app.metric} == {
        "Exported size": "811 kB", "Parameters": "202k", "Embedding tables": "3"}
    assert "'6,041 × 16'" in tables(app) and "'float32'" in tables(app)
    assert "Quality, memory and latency appear here once a run has measured the exported file." in texts(app)
    assert len(app.get("plotly_chart")) == 1


def test_a_measured_model_shows_its_baseline_quality(store):
    fill(store)
    app = open_page("models", id=store.models()[0].id)
    figures = {figure.label: figure.value for figure in app.metric}
    assert figures["AUC"] == "0.7912"
    assert figures["Latency p50, batch 512"] == "4.250 ms"


@pytest.mark.parametrize(("page", "words"), [("models", "There is no model"), ("datasets", "There is no dataset")])
def test_a_link_to_something_deleted_says_so_and_leads_back(home, page, words):
    app = open_page(page, id="f" * 64)
    assert not app.exception
    assert words in texts(app)


@pytest.mark.slow
def test_a_model_is_renamed(store):
    model, _ = add_subject(store)
    app = open_page("models", id=model)
    app.text_input(key="model.rename").set_value("My DeepFM").run()
    app = press(app, "Save")
    assert store.model(model).name == "My DeepFM"
    assert "My DeepFM" in texts(app)


@pytest.mark.parametrize("page", ["models", "datasets"])
def test_what_a_queued_run_uses_cannot_be_deleted_and_the_refusal_names_the_job(store, page):
    fill(store)
    row = (store.models() if page == "models" else store.datasets())[0]
    app = press(open_page(page, id=row.id), "Delete for good")
    assert not app.exception
    assert "can't be deleted" in app.error[0].value and "prune seed" in app.error[0].value


def test_a_model_nobody_uses_is_deleted(store):
    model, _ = add_subject(store)
    press(open_page("models", id=model), "Delete for good")
    assert not store.models()


def test_a_name_that_looks_like_markdown_is_shown_as_it_stands(store):
    store.add_model(NewModel(name="**bold** :red[x] <b>", architecture="deepfm", origin="uploaded",
                             manifest={"config.json": store.files.put_bytes(b"m")}, description=description()))
    app = open_page("models", id=store.models()[0].id)
    assert not app.exception
    assert app.title[0].value == "\\*\\*bold\\*\\* :\u2060red\\[x\\] \\<b>"


def test_a_failed_import_shows_the_cause_and_the_next_step(store):
    store.submit(ImportModelSpec(files={"m.onnx": store.files.put_bytes(b"x")}, name="m"), name="Import m")
    job = store.claim(WORKER, "cpu")
    store.fail(job.id, WORKER, Failure(kind="ModelError", message="m.onnx is not an ONNX file.",
                                       next_step="Export it again."), attempt=job.attempt)
    said = texts(open_page("models"))
    assert "m.onnx is not an ONNX file." in said and "Export it again." in said


def test_a_reference_model_is_trained_with_the_settings_of_the_form(store):
    data = add_data(store)
    app = open_page("models", add="train", data=data)
    app.radio(key="models.train.architecture").set_value("lr").run()
    assert not app.exception
    app = press(app, "Train")
    (job,) = store.jobs().items
    assert isinstance(job.spec, TrainSpec)
    assert (job.spec.data, job.spec.architecture, job.spec.name) == (data, "lr", "Logistic regression on Clicks")
    row = store.dataset(data)
    ids = sum(one["cardinality"] or 0 for one in row.summary["columns"] if one["role"] in ID_ROLES)
    start = starting_settings(n_rows=row.summary["rows"]["train"], n_ids=ids)
    assert {key: job.spec.training[key] for key in start} == start and start["schedule"] == "one_cycle"


def test_training_without_a_dataset_leads_to_adding_one(home):
    app = open_page("models", add="train")
    assert "No dataset yet" in texts(app)
    assert [button.label for button in app.button][-1] == "Add a dataset"


def test_a_file_that_is_no_model_is_refused_before_the_import(store):
    app = upload_page(store, "models", [uploaded(store, "model.safetensors", b"\0weights\xff", "model")])
    assert "can't be read as a model" in app.error[0].value and "not a whole safetensors file" in app.error[0].value
    assert "Import the model" not in [button.label for button in app.button]


def config(*columns: str) -> bytes:
    inputs = [{"name": name, "kind": "category", "column": name, "cardinality": 9} for name in columns]
    return json.dumps({"architecture": "deepfm", "config": {}, "signature": {"inputs": inputs}}).encode()


def test_a_model_starts_at_the_dataset_that_has_its_columns(store):
    fitting = add_data(store)
    store.add_dataset(NewData(name="Other", manifest={"data.yaml": store.files.put_bytes(b"third")}, summary={},
                              description=data_description().model_copy(update={"columns": ()})))
    files = [uploaded(store, "model.safetensors", b"\0weights\xff", "model"),
             uploaded(store, "config.json", config("user", "item"), "model")]
    press(upload_page(store, "models", files), "Import the model")
    assert store.jobs().items[0].spec.data == fitting


def test_a_dataset_without_a_column_the_model_reads_is_refused_before_the_import(store):
    data = add_data(store)
    files = [uploaded(store, "model.safetensors", b"\0weights\xff", "model"),
             uploaded(store, "config.json", config("user", "shoe_size"), "model")]
    app = upload_page(store, "models", files, data=data)
    assert "Clicks lacks columns this model reads: shoe_size." in app.warning[0].value
    assert next(button for button in app.button if button.label == "Import the model").disabled


def test_a_config_that_is_no_json_is_refused_before_the_import(store):
    files = [uploaded(store, "model.safetensors", b"\0weights\xff", "model"),
             uploaded(store, "config.json", b"[" * 100_000, "model")]
    app = upload_page(store, "models", files)
    assert not app.exception
    assert "config.json is not valid JSON" in texts(app)


def test_an_id_that_is_no_upload_of_this_kind_is_left_out(store):
    files = [{"id": "0" * 32}, {"id": "../../x"}, {"nothing": 1}, uploaded(store, "clicks.csv", b"a,b\n", "data")]
    app = upload_page(store, "models", files)
    assert not app.exception
    assert not app.text_input


def clicks(tmp_path) -> bytes:
    return (write_tiny_data(tmp_path / "data", rows=300) / "clicks.csv").read_bytes()


def test_roles_of_an_uploaded_table_are_guessed_shown_and_saved_as_an_import(store, tmp_path):
    app = upload_page(store, "datasets", [uploaded(store, "clicks.csv", clicks(tmp_path), "data")])
    assert not app.exception
    assert "'Role': ['user', 'item', 'multi', 'number', 'time', 'label']" in tables(app)
    app = press(app, "Save the dataset")
    assert not app.exception
    (job,) = store.jobs().items
    assert isinstance(job.spec, ImportDataSpec)
    assert job.spec.description["label"]["column"] == "click"
    assert job.spec.description["split"]["kind"] == "time"


def test_a_corrected_threshold_and_split_go_into_the_description(store, tmp_path):
    app = upload_page(store, "datasets", [uploaded(store, "clicks.csv", clicks(tmp_path), "data")])
    next(one for one in app.number_input if one.label == "Positive from").set_value(0.5)
    next(one for one in app.slider if one.label == "Test share").set_value(0.2)
    press(app.run(), "Save the dataset")
    described = store.jobs().items[0].spec.description
    assert (described["label"]["at_least"], described["split"]["test"]) == (0.5, 0.2)


def test_a_split_that_leaves_nothing_to_train_on_is_refused_before_the_import(store, tmp_path):
    app = upload_page(store, "datasets", [uploaded(store, "clicks.csv", clicks(tmp_path), "data")])
    for label in ("Validation share", "Test share"):
        next(one for one in app.slider if one.label == label).set_value(0.4)
    app = app.run()
    assert "must leave at least 0.3 of the rows" in app.error[0].value
    assert next(button for button in app.button if button.label == "Save the dataset").disabled


def test_a_file_that_is_no_table_is_refused_with_a_sentence(store):
    app = upload_page(store, "datasets", [uploaded(store, "clicks.csv", b"\x80\x04\x95pickle", "data")])
    assert not app.exception
    assert len(app.error) == 1
    assert not store.jobs().total


def test_a_dataset_shows_splits_label_rate_columns_and_what_to_look_at(store):
    app = open_page("datasets", id=add_data(store))
    assert not app.exception
    figures = {figure.label: (figure.value, figure.delta) for figure in app.metric}
    assert figures["Train rows"] == ("800", "50.0 % positive")
    assert figures["Distinct ids"] == ("40", "1 input column")
    said = texts(app)
    assert "goes from 50.0 % in train to 30.0 % in test" in said
    assert "1 column shifted between train and test (index above 0.2): item (0.31)." in said
    assert "Most test values of item do not occur in train" in said
    assert "'i1 (50)'" in tables(app)
    assert len(app.get("plotly_chart")) == 1


def test_a_dataset_without_a_summary_still_opens(store):
    _, data = add_subject(store)
    app = open_page("datasets", id=data)
    assert not app.exception
    assert "No summary was kept" in texts(app)


def test_settings_name_workers_disk_samples_and_versions(store):
    store.add_worker(WORKER, "cpu")
    app = open_page("settings")
    assert not app.exception
    assert {figure.label for figure in app.metric} >= {"Workers", "GPUs", "Stored files", "Free on the disk"}
    assert "MovieLens-100K" in texts(app)
    assert "streamlit" in tables(app)


def test_settings_fetch_a_sample_without_a_model(store):
    app = open_page("settings")
    app.button(key="settings.fetch.generated").click().run()
    (job,) = store.jobs().items
    assert (job.spec.sample, job.spec.architecture) == ("generated", None)


@pytest.mark.parametrize(("tables", "name"), [
    (["clicks.csv"], "clicks"), (["criteo_test2k.tsv", "criteo_train8k.tsv"], "criteo"),
    (["ml-1m.test.rating", "ml-1m.test.negative"], "ml-1m.test"), (["train.csv", "test.csv"], "train")])
def test_tables_of_one_dataset_give_it_the_name_they_share(tables, name):
    from ui.datasets.add import suggested_name

    assert suggested_name(tables) == name


@pytest.mark.parametrize(("notes", "improving"), [
    ({}, True), ({"best_epoch": 1}, False), ({"stopped_early": True}, False)])
def test_a_training_that_was_best_at_its_end_says_so(store, notes, improving):
    history = [{"epoch": 1, "valid_auc": 0.7}, {"epoch": 2, "valid_auc": 0.8}]
    model, _ = add_subject(store)
    row = store.model(model).model_copy(update={"notes": {
        "best_epoch": 2, "history": history, "metric": "auc", "stopped_early": False} | notes})
    assert ("more epochs may do better" in training_words(row)) is improving
