"""Binding an uploaded model on the Models page: the table, the questions, the checks, again after the import."""

from __future__ import annotations

import html
import json

import pytest
import torch
from torch import nn

from compression.data.description import dump_description, load_description
from compression.data.summary import summarise
from compression.importers.binding.table import Line
from compression.spec.records import Failure, ImportModelSpec
from storage.access import LOCAL_ACCESS
from storage.records import NewData, NewModel, Outcome
from storage.store import open_store
from tests.data.write import write_data
from tests.importers.checkpoint.make import NCF
from tests.importers.graphs import export
from tests.storage.test_files import lies
from tests.ui.app import open_page, press, settled, texts, upload_page, uploaded
from tests.ui.filled import WORKER, description, fill
from ui.models.binding_form import corrected, table_row
from ui.shared.dataset_choice import titles_of

USERS, ITEMS = 12, 9
COLUMNS = [{"name": "y", "role": "label"}, {"name": "u", "role": "category"}, {"name": "i", "role": "category"}]


class Pair(nn.Module):
    def __init__(self, users=USERS, items=ITEMS):
        super().__init__()
        self.user, self.item = nn.Embedding(users, 3), nn.Embedding(items, 3)

    def forward(self, x0, x1):
        return (self.user(x0) * self.item(x1)).sum(1)


@pytest.fixture
def store(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("RECPRESS_HOME", str(home))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    opened = open_store(LOCAL_ACCESS, url=f"sqlite:///{home / 'recpress.db'}", root=home)
    yield opened
    opened.close()


@pytest.fixture
def data(store, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    rows = [[str(k % 2), str(k // 2 % USERS), str(k // 3 % ITEMS)] for k in range(120)]
    write_data(folder, text="\n".join(",".join(row) for row in rows) + "\n", columns=COLUMNS, label={"column": "y"},
               header=False, split={"kind": "random"})
    manifest = {name: store.files.put(folder / name) for name in ("clicks.csv", "data.yaml")}
    return store.add_dataset(NewData(name="Log", manifest=manifest, description=load_description(folder),
                                     summary=summarise(folder).model_dump(mode="json")))


@pytest.fixture(scope="module")
def onnx(tmp_path_factory) -> bytes:
    arguments = {name: torch.zeros(3, dtype=torch.int64) for name in ("x0", "x1")}
    return export(Pair(), arguments, tmp_path_factory.mktemp("made") / "m.onnx", dynamo=False).read_bytes()


def checked(app) -> str:
    """What the list of checks says."""
    return "".join(html.unescape(one.proto.body) for one in app.get("html") if "rp-checks" in one.proto.body)


def test_an_onnx_file_is_bound_by_its_tables_checked_and_queued_with_the_binding(store, data, onnx):
    app = upload_page(store, "models", [uploaded(store, "net.onnx", onnx, "model")])
    assert not app.exception and not app.error
    assert "✗" not in checked(app) and "u up to 11 of 12 rows; i up to 8 of 9 rows" in checked(app)
    press(app, "Import the model")
    (job,) = store.jobs().items
    assert (job.spec.name, job.spec.data) == ("net", data)
    assert job.spec.binding == {"inputs": {"x0": {"column": "u", "from": {"u": "as-is"}},
                                           "x1": {"column": "i", "from": {"i": "as-is"}}}}


class Tasks(Pair):
    def forward(self, x0, x1):
        both = self.user(x0) * self.item(x1)
        return torch.sigmoid(both.sum(1)), torch.sigmoid(both.mean(1) + 1)


def test_of_several_outputs_the_score_is_chosen_on_the_page(store, data, tmp_path):
    arguments = (torch.zeros(3, dtype=torch.int64), torch.zeros(3, dtype=torch.int64))
    axes = {name: {0: "batch"} for name in ("x0", "x1", "ctr", "cvr")}
    torch.onnx.export(Tasks(), arguments, tmp_path / "m.onnx", input_names=["x0", "x1"], output_names=["ctr", "cvr"],
                      dynamic_axes=axes, dynamo=False)
    app = upload_page(store, "models", [uploaded(store, "net.onnx", (tmp_path / "m.onnx").read_bytes(), "model")])
    assert next(button for button in app.button if button.label == "Import the model").disabled
    box = next(box for box in app.selectbox if box.label == "Which output is the score")
    assert box.options == ["ctr", "cvr"] and box.value is None
    press(box.set_value("cvr").run(), "Import the model")
    assert store.jobs().items[0].spec.binding["output"] == "cvr"


def test_datasets_of_one_name_and_size_are_told_apart(store, data):
    row = store.dataset(data)
    rows = [row.model_copy(update={"id": key}) for key in ("aaaaaaaaaa", "bbbbbbbbbb")]
    other = row.model_copy(update={"id": "cccccccccc", "name": "Other"})
    titles = titles_of([*rows, other])
    assert len(set(titles.values())) == 3
    assert titles["aaaaaaaaaa"].endswith("rows · aaaaaaaa") and titles["cccccccccc"] == "Other · 120 rows"


def test_rows_can_be_entered_where_the_graph_does_not_say_them():
    asks = Line(input="x", kind="id", asks_rows=True)
    known = Line(input="y", kind="id", rows=9)
    assert table_row(asks, has_offsets=False, asks_rows=True)["Table rows"] is None
    lines = corrected((asks, known), {0: {"Table rows": 30}, 1: {"Table rows": 30}}, {})
    assert [line.rows for line in lines] == [30, 9]


def test_a_binding_that_cannot_work_says_where_and_is_not_imported(store, data, onnx):
    spec = ImportModelSpec(files={"net.onnx": store.files.put_bytes(onnx)}, name="Net", data=data, binding={
        "inputs": {"x0": {"column": "i", "from": {"i": "as-is"}}, "x1": {"column": "u", "from": {"u": "as-is"}}}})
    job = store.submit(spec, name="Import Net")
    app = settled(open_page("models", add="upload", job=job))
    assert not app.exception
    assert "of 120 rows of 'u' lie outside 0 to 8 (largest 11): the table of x1 has 9 rows." in checked(app)
    assert next(button for button in app.button if button.label == "Import the model").disabled


def test_open_questions_of_weights_are_asked_and_answers_go_into_the_binding(store, data, tmp_path):
    torch.save(NCF(USERS, ITEMS).state_dict(), tmp_path / "ncf.pth")
    app = upload_page(store, "models", [uploaded(store, "ncf.pth", (tmp_path / "ncf.pth").read_bytes(), "model")])
    assert not app.exception
    asked = {box.label: box for box in app.selectbox}
    activation = next(box for label, box in asked.items() if label.startswith("Which activation stands between"))
    assert activation.value == "try" and activation.options[0] == "Whichever fits validation rows best"
    app = activation.set_value("tanh").run()
    press(app, "Import the model")
    assert store.jobs().items[0].spec.binding["answers"] == {"mlp.activation": "tanh"}


def test_a_stored_model_opens_its_table_again_with_the_saved_binding(store, data, onnx):
    binding = {"inputs": {"x0": {"column": "u", "from": {"u": "data"}}, "x1": {"column": "i", "from": {"i": "as-is"}}}}
    model = store.add_model(NewModel(
        name="Net", architecture="onnx", origin="uploaded", data=data, description=description(),
        manifest={"model.onnx": store.files.put_bytes(onnx)},
        notes={"upload": {"net.onnx": store.files.put_bytes(onnx)}, "binding": binding}))
    app = settled(press(open_page("models", id=model), "Bind again"))
    assert not app.exception and "Bind Net again" in texts(app)
    press(app, "Import it again")
    assert store.jobs().items[0].spec.binding == binding
    assert store.jobs().items[0].spec.replaces == model


def test_the_upload_of_a_model_is_kept_as_long_as_the_model(store, onnx, tmp_path):
    kept, loose = store.files.put_bytes(onnx), store.files.put_bytes(b"nobody names this")
    model = store.add_model(NewModel(name="Net", architecture="onnx", origin="uploaded", description=description(),
                                     manifest={"model.onnx": store.files.put_bytes(b"converted")},
                                     notes={"upload": {"net.onnx": kept}}))
    store.clock = lambda: 4e9
    store.sweep()
    assert lies(store.files, kept) and not lies(store.files, loose)
    store.delete_model(model)
    store.sweep()
    assert not lies(store.files, kept)


def test_a_model_imported_again_of_equal_files_is_bound_anew(store):
    new = NewModel(name="Net", architecture="onnx", origin="uploaded", description=description(),
                   manifest={"model.onnx": store.files.put_bytes(b"x")}, notes={"upload": {}, "first_look": None})
    model = store.add_model(new)
    assert store.add_model(new.model_copy(update={"data": "d", "notes": {"upload": {}, "binding": {"a": 1}}})) == model
    assert (store.model(model).data, store.model(model).notes["binding"]) == ("d", {"a": 1})


def test_an_import_is_followed_to_its_model_and_a_failed_one_leads_back_to_its_binding(store, data, onnx):
    spec = ImportModelSpec(files={"net.onnx": store.files.put_bytes(onnx)}, name="Net", data=data)
    first = store.submit(spec, name="Import Net")
    assert "You may leave" in texts(open_page("models", job=first))
    job = store.claim(WORKER, "cpu")
    made = NewModel(name="Net", architecture="onnx", origin="uploaded", data=data, description=description(),
                    manifest={"model.onnx": store.files.put_bytes(onnx)}, notes={"upload": spec.files})
    store.finish(job.id, WORKER, Outcome(model=made), attempt=job.attempt)
    app = open_page("models", job=first)
    assert not app.exception and app.title[0].value == "Net"
    second = store.submit(spec.model_copy(update={"name": "Other"}), name="Import Other")
    job = store.claim(WORKER, "cpu")
    store.fail(job.id, WORKER, Failure(kind="ModelError", message="It can't be bound."), attempt=job.attempt)
    app = open_page("models", job=second)
    assert "It can't be bound" in texts(app)
    assert "What each input reads" in texts(settled(press(app, "Correct it")))


def test_corrections_of_the_table_become_lines():
    line = Line(input="x", kind="id", rows=9, column="u")
    assert table_row(line, has_offsets=False) == {
        "Input": "x", "Reads": "one id · int64", "Table rows": "9", "Column": "u", "Values": "as they are"}
    found = corrected((line, line), {1: {"Column": "i", "Values": "numbered in sorted order", "Offset": 4}},
                      {"numbered in sorted order": "data"})
    assert found == (line, line.model_copy(update={"column": "i", "source": "data", "offset": 4}))
    assert json.loads(line.model_dump_json())["offset"] == 0


@pytest.mark.slow
def test_a_dataset_of_test_rows_alone_asks_for_answers_and_offers_a_guess(store, tmp_path):
    folder = tmp_path / "test-only"
    folder.mkdir()
    rows = [[str(k % 2), str(k // 2 % USERS), str(k // 3 % ITEMS)] for k in range(120)]
    write_data(folder, text="\n".join(map(",".join, rows)) + "\n", columns=COLUMNS, label={"column": "y"}, header=False,
               files={"test": "clicks.csv"}, split={"kind": "given"})
    described = load_description(folder)
    (folder / "data.yaml").write_text(dump_description(described))
    store.add_dataset(NewData(
        name="Test", description=described, summary=summarise(folder).model_dump(mode="json"),
        manifest={name: store.files.put(folder / name) for name in ("clicks.csv", "data.yaml")}))
    torch.save(NCF(USERS, ITEMS).state_dict(), tmp_path / "ncf.pth")
    app = upload_page(store, "models", [uploaded(store, "ncf.pth", (tmp_path / "ncf.pth").read_bytes(), "model")])
    assert not app.exception
    activation = next(box for box in app.selectbox if box.label.startswith("Which activation stands between"))
    assert activation.options[0] == "relu (likeliest)"


def test_the_first_runs_of_an_imported_model_are_one_click_from_its_page(store, data):
    model = store.add_model(NewModel(name="Net", architecture="onnx", origin="uploaded", data=data,
                                     description=description(), notes={"upload": {}},
                                     manifest={"model.onnx": store.files.put_bytes(b"x")}))
    press(open_page("models", id=model), "Queue suggested runs")
    jobs = store.jobs().items
    assert len(jobs) > 1 and {(job.model, job.data) for job in jobs} == {(model, data)}


def test_a_model_bound_again_takes_the_place_of_one_that_no_run_measured(store):
    def add(name: str, content: bytes, replaces: str | None = None) -> str:
        return store.add_model(NewModel(name=name, architecture="onnx", origin="uploaded", description=description(),
                                        manifest={"model.onnx": store.files.put_bytes(content)}, replaces=replaces))

    first = add("first", b"1")
    second = add("second", b"2", first)
    assert [row.id for row in store.models()] == [second]
    assert add("second", b"2", second) == second and len(store.models()) == 1
    fill(store)
    measured = next(row.id for row in store.models() if row.id != second)
    add("third", b"3", measured)
    assert len(store.models()) == 3
