"""FuxiCTR's weights with its feature map: fields, vocabularies and settings are taken over, and the scores are its."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from compression.importers.reader import look_at, read_upload
from compression.models.files import load_model
from compression.models.folder import LoadedModel
from compression.spec.errors import ModelError
from compression.spec.records import ModelDescription
from tests.importers.checkpoint.fuxictr import FEATURES, VOCABULARY, Model, fuxictr_files, rows
from tests.importers.checkpoint.make import apart


def read(files: dict[str, bytes], folder: Path) -> tuple[LoadedModel, ModelDescription]:
    paths = {name: folder / f"up-{name}" for name in files}
    for name, path in paths.items():
        path.write_bytes(files[name])
    description = read_upload(paths, folder / "model")
    return load_model(folder / "model"), description


def made(kind: str, **options) -> Model:
    torch.manual_seed(0)
    model = Model(kind, **options)
    for norm in (one for one in model.modules() if isinstance(one, nn.BatchNorm1d)):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["LR", "FM", "DeepFM", "WideDeep", "DCNv2", "DCNv2 stacked"])
def test_scores_are_those_of_fuxictr_and_unseen_ids_read_its_row_for_them(kind, tmp_path):
    model = made(kind)
    loaded, description = read(fuxictr_files(model, model=kind.split()[0]), tmp_path)
    assert [(one.column, one.kind, one.cardinality) for one in loaded.signature.inputs] == [
        ("user", "category", 11), ("age", "number", None), ("tags", "multi", 6), ("item", "category", 8)]
    assert loaded.vocabularies["item"] == [f"item{row}" for row in range(1, 8)]
    user, age, tags, item = rows()
    ours = user % 11, age, tags, item % 8  # row 0 is what our unknown ids read
    assert apart(loaded, lambda *_: model(user, age, tags, item), *ours) < 1e-5
    assert all(one.decided_by == "file" for one in description.questions)


@pytest.mark.slow
def test_without_a_vocabulary_ids_are_the_rows_of_fuxictr(tmp_path):
    model = made("DeepFM")
    files = fuxictr_files(model)
    del files["feature_vocab.json"]
    loaded, _ = read(files, tmp_path)
    assert {one.ids for one in loaded.signature.inputs if one.kind != "number"} == {"as-is"}
    assert apart(loaded, model, *rows()) < 1e-5


def test_a_value_that_stands_twice_in_the_vocabulary_is_refused(tmp_path):
    files = fuxictr_files(made("DeepFM"))
    files["feature_vocab.json"] = files["feature_vocab.json"].replace(b'"item2"', b'"item1"')
    with pytest.raises(ModelError, match=r"feature_vocab.json can't be read \(the key 'item1' is given twice\)"):
        read(files, tmp_path)


@pytest.mark.slow
def test_the_experiment_of_the_name_of_the_weights_is_chosen(tmp_path):
    model = made("DeepFM", activation=nn.Sigmoid)
    files = fuxictr_files(model, hidden_activations=["sigmoid", "Sigmoid"])
    files["other.yaml"] = b"other: {model: xDeepFM, hidden_activations: relu}"
    files["model_config.yaml"] = files["model_config.yaml"].replace(b"Sigmoid", b"sigmoid")
    loaded, _ = read(files, tmp_path)
    assert loaded.config["mlp"]["activation"] == "sigmoid" and loaded.config["mlp"]["dropout"] == 0.1


@pytest.mark.slow
def test_an_activation_that_no_file_says_is_asked(tmp_path):
    files = fuxictr_files(made("DeepFM"))
    del files["model_config.yaml"]
    _, description = read(files, tmp_path)
    assert [(one.key, one.decided_by) for one in description.questions] == [("mlp.activation", "guess")]


@pytest.mark.slow
def test_lists_may_be_added_up_and_features_left_unused(tmp_path):
    features = copy.deepcopy(FEATURES)
    features["tags"]["feature_encoder"] = "layers.MaskedSumPooling()"
    features["unused"] = {"type": "categorical", "vocab_size": 4}
    loaded, _ = read(fuxictr_files(made("FM"), features=features, model="FM"), tmp_path)
    assert loaded.config["pooling"] == "sum" and "unused" not in {one.column for one in loaded.signature.inputs}


def test_a_look_shows_the_fields_and_their_vocabularies(tmp_path):
    paths = {}
    for name, content in fuxictr_files(made("DeepFM")).items():
        paths[name] = tmp_path / name
        paths[name].write_bytes(content)
    look = look_at(paths, tmp_path / "model")
    assert [one.name for one in look.inputs] == ["user", "age", "tags", "item"] and look.vocabularies["user"] == 10


def _features(**changes) -> dict:
    return {name: about | changes.get(name, {}) for name, about in FEATURES.items()}


@pytest.mark.parametrize(("files", "said"), [
    ({"model": "xDeepFM"}, "FuxiCTR's xDeepFM, which RecPress can't rebuild. Read from FuxiCTR are LR, FM"),
    ({"features": _features(tags={"feature_encoder": None})}, "pooled in several ways, or by an encoder"),
    ({"features": _features(tags={"feature_encoder": "layers.DIN_Attention()"})}, "an encoder that is not read"),
    ({"features": _features(user={"type": "embedding"})}, "'user' of made.model is of the type 'embedding'"),
    ({"features": {"user": FEATURES["user"]}}, "don't belong together"),
    ({"features": {"day": FEATURES["day"]}}, "names 0 features")])
def test_what_can_not_be_rebuilt_is_named(files, said, tmp_path):
    with pytest.raises(ModelError, match=said):
        read(fuxictr_files(made("DeepFM"), **files), tmp_path)


def test_parts_that_are_known_by_no_name_are_named(tmp_path):
    model = made("DeepFM")
    model.cin = nn.ModuleDict({"layer_1": nn.Conv1d(4, 4, 1)})
    with pytest.raises(ModelError, match=r"parts of FuxiCTR that RecPress can't rebuild: cin.layer_1"):
        read(fuxictr_files(model), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("vocabulary", [{"user": {"a": 99}}, {"user": {"a": "b"}}, {"user": ["a"]}, {"user": {"a": -1}},
                                        {"user": {"__PAD__": 0, "__OOV__": 11}}, {"stranger": VOCABULARY["user"]}, {}])
def test_a_vocabulary_that_does_not_fit_the_table_leaves_its_rows_as_they_are(vocabulary, tmp_path):
    model = made("FM")
    loaded, _ = read(fuxictr_files(model, vocabulary=vocabulary, model="FM"), tmp_path)
    assert apart(loaded, model, *rows()) < 1e-5
