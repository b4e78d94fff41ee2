"""A binding as a table: what is proposed, how a correction becomes a binding, what is checked before the import."""

from __future__ import annotations

import json

import pytest
import torch

from compression.data.summary import ColumnSummary, DataSummary, count_beyond
from compression.importers.binding.checks import checks
from compression.importers.binding.proposal import ModelInput, bind
from compression.importers.binding.table import SCALE, binding_of, propose_lines, sources, with_column
from compression.importers.inspection import Look, Mapping
from compression.importers.sandbox.process import look_in_sandbox
from compression.spec.data_description import Column, DataDescription, Label, Role
from tests.data.write import write_data
from tests.importers.checkpoint.make import GMF, SASRec
from tests.importers.graphs import Columns, export

ROLES = {"click": Role.LABEL, "c1": Role.CATEGORY, "c2": Role.CATEGORY, "word": Role.CATEGORY, "n": Role.NUMBER,
         "tags": Role.MULTI}


def data(files=("all",)) -> DataDescription:
    return DataDescription(name="log", files={name: f"{name}.csv" for name in files}, label=Label(column="click"),
                           columns=tuple(Column(name=name, role=role) for name, role in ROLES.items()))


def summary(**largest: int) -> DataSummary:
    """Columns c1 and c2 of ids up to `largest`, 90 words, numbers."""
    about = {"click": {"largest_id": 1}, "c1": {"cardinality": 40}, "c2": {"cardinality": 30},
             "word": {"cardinality": 90}, "n": {"lower": 0.0, "upper": 1.5}, "tags": {}}
    return DataSummary(name="log", rows={"train": 80, "test": 20}, label_rate={}, preview_columns=(), preview=(),
                       columns=tuple(ColumnSummary(name=name, role=ROLES[name], missing=0, **facts | (
                           {"largest_id": largest[name]} if name in largest else {})) for name, facts in about.items()))


def one(name: str, rows: int | None, width: int | None = None, dtype: str = "int64") -> ModelInput:
    return ModelInput(name, dtype, width, {None: rows} if rows else {})


def passed(lines, look, found, **options) -> dict[str, tuple[bool, str]]:
    return {check.title: (check.passed, check.text)
            for check in checks(lines, look, data(), found, **options)}


def test_masks_and_lengths_follow_from_the_one_list():
    look = Look(inputs=(one("tags", 40, 10), ModelInput("tags_mask", "float32", 10, {}), one("seq_len", None),
                        one("pad_mask", 2, 10), one("challenge", None)))
    lines = propose_lines(look, data(), summary(c1=9))
    assert [(line.kind, line.column, line.source) for line in lines[:4]] == [
        ("list", "tags", "as-is"), ("derived", "tags", "mask"), ("derived", "tags", "length"),
        ("derived", "tags", "padding")]
    assert lines[4].kind == "id"
    binding = binding_of(lines)["inputs"]
    assert binding["seq_len"] == {"column": "tags", "reads": "length"}
    again = propose_lines(look, data(), summary(c1=9), saved=binding_of(lines))
    assert binding_of(again) == binding_of(lines)
    assert {"mask", "length", "padding"} <= set(sources(look, data()))
    alone = [line.model_copy(update={"column": "c1"}) if line.kind == "derived" else line for line in lines[:2]]
    assert "follows from the list 'c1', which no input reads" in passed(alone, look, summary())["Columns"][1]
    wrong = [line.model_copy(update={"source": "as-is"}) if line.kind == "derived" else line for line in lines[:2]]
    assert "follows from a list: choose" in passed(wrong, look, summary())["Types"][1]


def test_a_column_of_the_same_name_is_read_rather_than_a_length():
    numbers = [ModelInput(name, "float32", width, {}) for name, width in (("n", None), ("n_len", 1))]
    look = Look(inputs=(one("tags", 40, 0), *numbers))
    named = data().model_copy(update={"columns": (*data().columns, Column(name="n_len", role=Role.NUMBER))})
    assert [line.kind for line in propose_lines(look, named, summary())] == ["list", "number", "number"]


def test_rows_that_the_graph_does_not_say_are_proposed_and_can_be_corrected():
    look = Look(inputs=(one("c1", None), one("c2", 30)))
    lines = propose_lines(look, data(), summary(c1=39, c2=29))
    assert [(line.rows, line.asks_rows) for line in lines] == [(40, True), (30, False)]
    assert binding_of(lines)["inputs"]["c1"] == {"column": "c1", "cardinality": {"c1": 40}, "from": {"c1": "as-is"}}
    signature = bind(list(look.inputs), {"inputs": {"c1": {"column": "c1", "cardinality": {"c1": 50}},
                                                    "c2": {"column": "c2"}}}, description=data(), vocabularies={})
    assert [item.cardinality for item in signature.inputs] == [50, 30]
    again = propose_lines(look, data(), summary(c1=39, c2=29), saved=binding_of(lines))
    assert [(line.rows, line.asks_rows) for line in again] == [(40, True), (30, False)]
    unknown = propose_lines(look, data(), summary())
    assert "how many ids c1 may choose from. Enter it" in passed(unknown, look, summary())["Ids"][1]


def test_inputs_without_names_find_their_columns_by_table_and_everything_passes():
    look, found = Look(inputs=(one("x", 40), one("y", 30), one("z", None, dtype="float32"))), summary(c1=39, c2=29)
    lines = propose_lines(look, data(), found)
    assert [(line.title, line.column, line.source) for line in lines] == [
        ("x", "c1", "as-is"), ("y", "c2", "as-is"), ("z", "n", "as-is")]
    assert binding_of(lines) == {"inputs": {"x": {"column": "c1", "from": {"c1": "as-is"}},
                                            "y": {"column": "c2", "from": {"c2": "as-is"}}, "z": {"column": "n"}}}
    told = passed(lines, look, found)
    assert all(fine for fine, _ in told.values()), told
    assert told["Ids"][1] == "Within their tables: c1 up to 39 of 40 rows; c2 up to 29 of 30 rows."


def test_words_are_numbered_from_the_data_and_ids_from_one_too():
    look, found = Look(inputs=(one("word", 100), one("x", 40))), summary(c1=40, c2=29)
    by_input = {line.input: line for line in propose_lines(look, data(), found)}
    assert (by_input["word"].column, by_input["word"].source) == ("word", "data")
    assert with_column(by_input["x"], "c1", look, found).source == "data"  # 40 values, the largest is 40
    assert with_column(by_input["x"], "c2", look, found).source == "as-is"


def test_a_mapping_of_as_many_values_as_the_table_has_rows_is_proposed():
    look = Look(inputs=(one("user_idx", 50), one("movie_idx", 50)), mappings={
        "user2idx": Mapping(50, 0), "movie2idx": Mapping(49, 1), "other": Mapping(7, 0)})
    lines = propose_lines(look, data(), summary(c1=900, c2=900))
    assert [line.source for line in lines] == ["file:user2idx", "file:movie2idx"]
    assert "mapped by user2idx" in sources(look, data()).values()


def test_ids_beyond_a_table_are_told_with_column_rows_and_the_largest():
    look, found = Look(inputs=(one("x", 30),)), summary(c1=39, c2=29)
    (line,) = propose_lines(look, data(), found)
    wrong = line.model_copy(update={"column": "c1", "source": "as-is"})
    fine, text = passed((wrong,), look, found, beyond=lambda column, limit: (23, 100))["Ids"]
    assert not fine
    assert text == "23 of 100 rows of 'c1' lie outside 0 to 29 (largest 39): the table of x has 30 rows."


@pytest.mark.parametrize(("column", "source", "words"), [
    ("word", "as-is", "'word' holds other values"), ("tags", "as-is", "'tags' holds lists"),
    ("c1", SCALE, "can't be standardized"), ("gone", "as-is", "no column of log")])
def test_a_column_that_is_not_what_an_input_reads_is_told(column, source, words):
    look = Look(inputs=(one("x", 200),))
    (line,) = propose_lines(look, data(), summary(c1=39))
    told = passed((line.model_copy(update={"column": column, "source": source}),), look, summary(c1=39))
    assert not told["Types"][0] and words in told["Types"][1]


def test_an_input_without_a_column_and_one_bound_to_the_label_are_told():
    look = Look(inputs=(one("x", 5),))
    (line,) = propose_lines(look, data(), summary())
    assert passed((line.model_copy(update={"column": None}),), look, summary())["Columns"][1] == \
        "No column yet for x. Choose one in the table."
    assert "which is the label" in passed((line.model_copy(update={"column": "click"}),), look, summary())["Columns"][1]


def test_columns_that_fill_a_shared_table_get_offsets_and_the_binding_is_read():
    look, found = Look(inputs=(one("ids", 70, 2),)), summary(c1=39, c2=29)
    described = data().model_copy(update={"columns": tuple(
        one for one in data().columns if one.name in ("click", "c1", "c2"))})
    lines = propose_lines(look, described, found)
    assert [(line.column, line.offset) for line in lines] == [("c1", 0), ("c2", 40)]
    binding = binding_of(lines)
    choice = {key: value for key, value in binding["inputs"]["ids"].items() if key != "from"}
    signature = bind(list(look.inputs), {"inputs": {"ids": choice}}, description=described, vocabularies={})
    assert [part.offset for part in signature.inputs[0].parts] == [0, 40]


def test_a_saved_binding_opens_as_it_was():
    look = Look(inputs=(one("x", 40), one("wide", 0, 2, "float32")))
    lines = propose_lines(look, data(), summary(c1=39, c2=29))
    changed = (lines[0].model_copy(update={"column": "c2", "source": "data"}),
               *(line.model_copy(update={"column": name, "source": source})
                 for line, name, source in zip(lines[1:], ("n", "c1"), (SCALE, "as-is"), strict=True)))
    saved = json.loads(json.dumps(binding_of(changed)))
    assert propose_lines(look, data(), summary(c1=39), saved) == changed


def test_lists_go_to_the_column_of_lists():
    look = Look(inputs=(ModelInput("history", "int64", 20, {None: 9}),), lists=("history",))
    (line,) = propose_lines(look, data(), summary())
    assert (line.kind, line.column, line.length) == ("list", "tags", 20)
    assert binding_of([line])["inputs"]["history"] == {"column": "tags", "kind": "multi", "from": {"tags": "as-is"}}


def test_nothing_is_standardized_where_there_are_no_train_rows():
    assert SCALE in sources(Look(), data()) and SCALE not in sources(Look(), data(("test",)))


def test_rows_beyond_an_id_are_counted_over_all_splits(tmp_path):
    rows = [[str(k % 2), str(k % 10), "i", "1", "a", str(k)] for k in range(100)]
    folder = write_data(tmp_path, rows)
    from compression.data.description import load_description

    assert count_beyond(folder, load_description(folder), "user", 7) == (30, 100)


def test_an_onnx_file_and_the_mappings_beside_it_are_looked_at_in_the_sandbox(tmp_path):
    path = export(Columns(), {"cat": torch.zeros(3, 2, dtype=torch.int64), "dense": torch.zeros(3, 2)},
                  tmp_path / "m.onnx", dynamo=False)
    (tmp_path / "metadata.json").write_text(json.dumps({"n": 3, "user2idx": {"7": 0, "9": 1, "11": 2}}))
    look = look_in_sandbox({"m.onnx": path, "metadata.json": tmp_path / "metadata.json"})
    assert [item.rows for item in look.inputs] == [{0: 31, 1: 41}, {}]
    assert look.mappings == {"user2idx": Mapping(3, 0)} and look.questions == ()


@pytest.mark.slow
def test_weights_are_looked_at_with_their_open_questions(tmp_path):
    torch.save(GMF().state_dict(), tmp_path / "gmf.pth")
    look = look_in_sandbox({"gmf.pth": tmp_path / "gmf.pth"})
    assert look.title == "GMF"
    assert [(item.name, item.rows[None]) for item in look.inputs] == [("user", 30), ("item", 50)]
    torch.save(SASRec().state_dict(), tmp_path / "sas.pth")
    (tmp_path / "args.txt").write_text("num_heads,2\n")
    look = look_in_sandbox({"sas.pth": tmp_path / "sas.pth", "args.txt": tmp_path / "args.txt"})
    asked = {question.key: question for question in look.questions}
    assert look.lists == ("history",)
    assert asked["blocks.heads"].decided_by == "file" and asked["padding"].decided_by == "guess"


def test_a_child_that_answers_nonsense_is_not_believed():
    with pytest.raises((ValueError, KeyError, TypeError)):
        Look.from_plain(Look().plain() | {"inputs": [{"name": "x", "dtype": "object", "width": None, "rows": [],
                                                      "shifts": []}]})
