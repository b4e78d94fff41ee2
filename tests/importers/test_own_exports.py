"""A model.onnx that was exported here is never bound by guesses: its bundle says how values are numbered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compression.data.description import load_description
from compression.data.summary import DataSummary, summarise
from compression.export.onnx import export_onnx
from compression.importers.binding.checks import checks
from compression.importers.binding.table import binding_of, propose_lines, source_title, sources
from compression.importers.binding.vocabularies import prepare
from compression.importers.proposed import proposed_binding
from compression.importers.reader import look_at, read_upload
from compression.models.files import load_model
from compression.spec.errors import ModelError
from compression.testing.tiny import tiny_dataset, tiny_model, write_tiny_data

UNSAID = r"exported by RecPress and reads .*as its bundle says.*bundle's zip, or its signature.json"


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    export_onnx(tiny_model("fm"), tiny_dataset().signature, folder / "model.onnx")
    return folder / "model.onnx"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_tiny_data(tmp_path_factory.mktemp("data"))


def said_of(look, data: Path, summary: DataSummary | None = None) -> dict[str, str]:
    description, summary = load_description(data), summary or summarise(data)
    return {one.title: "" if one.passed else one.text
            for one in checks(propose_lines(look, description, summary), look, description, summary)}


def vocabularies(folder: Path, **changes) -> Path:
    path = folder / "vocabularies.json"
    path.write_text(json.dumps(tiny_dataset().vocabularies | changes))
    return path


def test_without_its_bundle_every_input_waits_for_it(exported, data, tmp_path):
    look = look_at({"renamed.onnx": exported}, tmp_path / "out")
    description, summary = load_description(data), summarise(data)
    lines = propose_lines(look, description, summary)
    assert look.lacks_bundle and {line.source for line in lines} == {"bundle"}
    assert "bundle" in sources(look, description) and source_title("bundle") == "as its bundle says"
    with pytest.raises(ModelError, match=UNSAID):
        prepare(binding_of([line for line in lines if line.kind == "number"]), {}, data)
    with pytest.raises(ModelError, match=UNSAID):
        prepare(binding_of(lines), {}, data)


def test_sizes_that_differ_from_the_data_are_said(exported, data, tmp_path):
    look = look_at({"model.onnx": exported}, tmp_path / "out")
    summary = summarise(data)
    found = said_of(look, data, summary)["Ids"]
    assert "reads user, item, genres and others" in found and "has 31 rows" not in found
    fewer = summary.model_copy(update={"columns": tuple(
        one.model_copy(update={"cardinality": 44}) if one.name == "item" else one for one in summary.columns)})
    assert "The table of item has 41 rows, and 'item' has 44 values here." in said_of(look, data, fewer)["Ids"]


def test_vocabularies_of_another_model_are_noticed(exported, data, tmp_path):
    def found(**changes) -> str:
        files = {"model.onnx": exported, "vocabularies.json": vocabularies(tmp_path, **changes)}
        look = look_at(files, tmp_path / "out")
        lines = propose_lines(look, load_description(data), None)
        lines = [line.model_copy(update={"source": "as-is"}) if line.kind == "number" else line for line in lines]
        return next(one.text for one in checks(lines, look, load_description(data), None)
                    if one.title == "Ids" and not one.passed) if changes else " ".join(
            one.text for one in checks(lines, look, load_description(data), None) if not one.passed)

    assert found() == ""
    assert "lists 3 values of 'item', and the table of item has 41 rows" in found(item=["a", "b", "c"])
    assert "belongs to another model" in found(item=[str(one) for one in range(39)])


def test_a_signature_beside_it_says_everything(exported, tmp_path):
    (tmp_path / "signature.json").write_text(json.dumps(
        {"signature": tiny_dataset().signature.model_dump(mode="json")}))
    look = look_at({"model.onnx": exported, "signature.json": tmp_path / "signature.json"}, tmp_path / "out")
    assert not look.lacks_bundle and look.reads == ("user", "item", "genres", "age")


@pytest.mark.parametrize("binding", [None, {"inputs": {"user": {"column": "user", "ids": "as-is"}}}])
def test_the_import_asks_for_it_too(exported, binding, tmp_path):
    with pytest.raises(ModelError, match=UNSAID):
        read_upload({"model.onnx": exported}, tmp_path / "out", binding=binding)


@pytest.mark.slow
def test_the_command_line_proposes_nothing_for_it(exported, data, tmp_path):
    with pytest.raises(ModelError, match=UNSAID):
        proposed_binding({"model.onnx": exported}, data, tmp_path)


@pytest.mark.slow
def test_what_a_person_says_of_every_input_is_taken(exported, tmp_path):
    said = {name: {"column": name, "ids": "as-is"} for name in ("user", "item", "genres")}
    description = read_upload({"model.onnx": exported}, tmp_path / "out",
                              binding={"inputs": said | {"age": {"column": "age"}}})
    assert {one.name for one in load_model(tmp_path / "out").signature.inputs} == {*said, "age"} and description.layers
