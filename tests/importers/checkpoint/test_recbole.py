"""RecBole's checkpoints: the settings name the model, fields and rows are told, and the scores are RecBole's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from compression.importers.reader import look_at, read_upload
from compression.models.files import load_model
from compression.models.folder import LoadedModel
from compression.spec.errors import ModelError
from compression.spec.records import ModelDescription
from tests.importers.checkpoint.make import NCF, apart
from tests.importers.checkpoint.recbole import (
    CONTEXT,
    KINDS,
    WORDS,
    Context,
    context_rows,
    recbole_checkpoint,
    recbole_dataset,
)

DATASET = {"made-Dataset.pth": recbole_dataset(KINDS, WORDS)}


def read(content: bytes, folder: Path, files: dict[str, bytes] | None = None, **options
         ) -> tuple[LoadedModel, ModelDescription]:
    paths = {}
    for name, held in {"m.pth": content, **(files or {})}.items():
        paths[name] = folder / f"up-{name}"
        paths[name].write_bytes(held)
    description = read_upload(paths, folder / "model", **options)
    return load_model(folder / "model"), description


def context(model: str, **settings) -> tuple[Context, bytes]:
    torch.manual_seed(0)
    made = Context(model)
    for norm in (one for one in made.modules() if isinstance(one, nn.BatchNorm1d)):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return made.eval(), recbole_checkpoint(model, made.state_dict(), CONTEXT | {"structure": "parallel"} | settings)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["LR", "FM", "DeepFM", "WideDeep", "DCNV2"])
def test_a_click_model_scores_as_recbole_with_the_fields_of_its_dataset(model, tmp_path):
    made, content = context(model)
    loaded, description = read(content, tmp_path, DATASET)
    assert [(one.column, one.kind, one.cardinality) for one in loaded.signature.inputs] == [
        ("tags", "multi", 5), ("uid", "category", 20), ("iid", "category", 15), ("city", "category", 4),
        ("age", "number", None), ("income", "number", None)]
    assert apart(loaded, made, *context_rows()) < 1e-5
    assert loaded.vocabularies["iid"][:2] == ["i14", "i13"] and not description.questions
    assert {one.ids for one in loaded.signature.inputs if one.kind != "number"} == {"vocabulary"}


@pytest.mark.slow
def test_vectors_that_an_lr_never_reads_and_first_orders_that_a_dcn_never_reads_are_left_out(tmp_path):
    shapes = {model: {layer.name for layer in read(context(model)[1], tmp_path, DATASET)[1].layers}
              for model in ("LR", "DCNV2")}
    assert not any(name.startswith("tables") for name in shapes["LR"])
    assert not any(name.startswith("first_order") for name in shapes["DCNV2"])


@pytest.mark.slow
def test_rows_of_fields_are_told_by_vocabularies_or_by_the_person(tmp_path):
    made, content = context("FM")
    loaded, _ = read(content, tmp_path, {"vocabularies.json": json.dumps(WORDS).encode()})
    assert apart(loaded, made, *context_rows()) < 1e-5
    answers = {"lists": ["tags"], "field_sizes": [20, 15, 4]}
    loaded, _ = read(content, tmp_path, binding={"answers": answers})
    assert apart(loaded, made, *context_rows()) < 1e-5


@pytest.mark.slow
def test_rows_of_fields_are_told_by_the_data(tmp_path):
    made, content = context("DCNV2", structure="parallel")
    draw = torch.Generator().manual_seed(0)
    rows = [{"uid": f"u{row % 19}", "iid": f"i{row % 14}", "city": f"c{row % 3}", "tags": f"t{row % 4}|t0",
             "age": row / 9, "income": row / 3, "click": int(torch.randint(0, 2, (), generator=draw))}
            for row in range(400)]
    data = tmp_path / "data"
    data.mkdir()
    (data / "rows.csv").write_text("\n".join([",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]))
    roles = {"uid": "user", "iid": "item", "city": "category", "tags": "multi", "age": "number", "income": "number",
             "click": "label"}
    columns = [{"name": name, "role": role} | ({"separator": "|"} if role == "multi" else {})
               for name, role in roles.items()]
    (data / "data.yaml").write_text(json.dumps({
        "version": 1, "name": "made", "files": {"all": "rows.csv"}, "format": "csv", "label": {"column": "click"},
        "columns": columns,
        "split": {"kind": "random", "valid": 0.1, "test": 0.1}}))
    loaded, description = read(content, tmp_path, data_folder=data)
    assert "told by the values in the data: uid 20, iid 15, city 4" in " ".join(description.notes)
    assert apart(loaded, made, *context_rows()) < 1e-5


def test_a_look_gives_the_inputs_or_the_columns_that_will_tell_them(tmp_path):
    (tmp_path / "m").write_bytes(context("FM")[1])
    (tmp_path / "d").write_bytes(next(iter(DATASET.values())))
    look = look_at({"m.pth": tmp_path / "m"}, tmp_path / "model")
    assert not look.inputs and look.reads == ("uid", "iid", "city", "tags")
    look = look_at({"m.pth": tmp_path / "m", "d.pth": tmp_path / "d"}, tmp_path / "model")
    assert [one.name for one in look.inputs] == ["tags", "uid", "iid", "city", "age", "income"]
    assert look.lists == ("tags",) and look.vocabularies["city"] == 3


def test_rows_that_nothing_tells_are_asked_for(tmp_path):
    _, content = context("FM")
    with pytest.raises(ModelError, match=r"which of uid, iid, city, tags they are.*lists"):
        read(content, tmp_path)
    with pytest.raises(ModelError, match=r"one table of 39 rows for uid, iid, city.*dataset file.*field_sizes"):
        read(content, tmp_path, binding={"answers": {"lists": ["tags"]}})
    with pytest.raises(ModelError, match=r"field_sizes is a list of the rows of uid, iid, city, which sum to 39"):
        read(content, tmp_path, binding={"answers": {"lists": ["tags"], "field_sizes": [20, 15, 5]}})


@pytest.mark.parametrize(("model", "settings", "said"), [
    ("Caser", {}, r"RecBole's Caser, which RecPress can't rebuild. Read from RecBole are BPR, DCNV2"),
    (7, {}, r"RecBole's 7, which"), ("DCNV2", {"mixed": True}, r"DCNV2 with mixed: True"),
    ("DeepFM", {"discretization": {"age": {"method": "LD"}}}, "numbers in buckets"),
    ("FM", {"numerical_features": ["age"]}, "reads 2 columns of numbers, and its settings name 1"),
    ("FM", {"load_col": None, "numerical_features": []}, "reads 2 columns of numbers, and its settings name 0")])
def test_models_and_settings_that_can_not_be_rebuilt_are_named(model, settings, said, tmp_path):
    made, _ = context(model if model in ("DCNV2", "DeepFM") else "FM")
    with pytest.raises(ModelError, match=said):
        read(recbole_checkpoint(model, made.state_dict(), CONTEXT | settings), tmp_path)


def test_weights_of_another_model_than_the_settings_name_are_refused(tmp_path):
    made, _ = context("FM")
    with pytest.raises(ModelError, match=r"says it holds RecBole's DeepFM, but its weights are not those of one"):
        read(recbole_checkpoint("DeepFM", made.state_dict(), CONTEXT), tmp_path, DATASET)


@pytest.mark.parametrize("part", ["mf", "mlp"])
def test_the_half_of_a_neumf_that_was_switched_off_is_left_out(part, tmp_path):
    torch.manual_seed(0)
    state = {f"{side}_{kind}_embedding.weight": torch.randn(rows, dim) for side, rows in (("user", 20), ("item", 15))
             for kind, dim in (("mf", 3), ("mlp", 4))}
    network = nn.Sequential(nn.Dropout(0.1), nn.Linear(8, 6), nn.ReLU())
    last = nn.Linear(3 if part == "mf" else 6, 1)
    state |= {f"mlp_layers.mlp_layers.{name}": tensor for name, tensor in network.state_dict().items()}
    state |= {f"predict_layer.{name}": tensor for name, tensor in last.state_dict().items()}

    def expected(user, item):
        vectors = [state[f"{side}_{part}_embedding.weight"][ids] for side, ids in (("user", user), ("item", item))]
        return last(vectors[0] * vectors[1] if part == "mf" else network.eval()(torch.cat(vectors, 1))).squeeze(1)

    content = recbole_checkpoint("NeuMF", state, CONTEXT | {"mf_train": part == "mf", "mlp_train": part == "mlp"})
    loaded, _ = read(content, tmp_path)
    assert [one.column for one in loaded.signature.inputs] == ["uid", "iid"]
    assert apart(loaded, expected, torch.arange(9), torch.arange(9) % 15) < 1e-5


@pytest.mark.slow
def test_the_items_of_a_history_are_those_of_the_candidate(tmp_path):
    state = {"item_embedding.weight": torch.randn(15, 8), "gru_layers.weight_ih_l0": torch.randn(30, 8),
             "gru_layers.weight_hh_l0": torch.randn(30, 10), "dense.weight": torch.randn(8, 10),
             "dense.bias": torch.randn(8)}
    settings = CONTEXT | {"MAX_ITEM_LIST_LENGTH": 7}
    loaded, description = read(recbole_checkpoint("GRU4Rec", state, settings), tmp_path, DATASET)
    assert [(one.column, one.max_length) for one in loaded.signature.inputs] == [("iid_list", 7), ("iid", None)]
    assert loaded.vocabularies["iid_list"] == loaded.vocabularies["iid"]
    assert {one.key: (one.answer, one.decided_by) for one in description.questions} == {
        "length": (7, "file"), "padding": ("end", "file")}


def test_a_dataset_alone_or_a_broken_one_is_refused_with_a_sentence(tmp_path):
    with pytest.raises(ModelError, match="Upload one model at a time"):
        (tmp_path / "d").write_bytes(next(iter(DATASET.values())))
        read_upload({"made-Dataset.pth": tmp_path / "d"}, tmp_path / "model")
    with pytest.raises(ModelError, match="not a dataset as RecBole saves it"):
        read(context("FM")[1], tmp_path, {"d.pth": recbole_dataset({}, {})})
    with pytest.raises(ModelError, match=r"pickle in the file is broken|ends before"):
        read(context("FM")[1], tmp_path, {"d.pth": next(iter(DATASET.values()))[:600]})


def test_a_value_that_stands_twice_in_the_dataset_is_refused(tmp_path):
    column, words = next(iter(WORDS.items()))
    twice = WORDS | {column: [*words[:-1], words[1]]}
    with pytest.raises(ModelError, match=f"The vocabulary of '{column}' lists '{words[1]}' twice"):
        read(context("FM")[1], tmp_path, {"made-Dataset.pth": recbole_dataset(KINDS, twice)})


@pytest.mark.slow
def test_names_of_another_tool_go_on_being_recognised_by_shapes(tmp_path):
    model = NCF().eval()
    torch.save({"config": {"model": "Caser"}, "state_dict": model.state_dict()}, tmp_path / "m")
    read_upload({"m.pth": tmp_path / "m"}, tmp_path / "model")
    assert load_model(tmp_path / "model").architecture == "pair"
