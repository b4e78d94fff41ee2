"""Settings of training tools made to do harm: read as data or refused with a sentence, and no code runs."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compression.importers.reader import read_upload
from compression.models.files import load_model
from compression.spec.errors import ModelError
from tests.importers.checkpoint.fuxictr import FEATURES, fuxictr_files
from tests.importers.checkpoint.fuxictr import Model as FuxiCTR
from tests.importers.checkpoint.recbole import (
    CONTEXT,
    KINDS,
    WORDS,
    Context,
    recbole_checkpoint,
    recbole_dataset,
)
from tests.importers.checkpoint.tools import instance, lightning_checkpoint, lightning_sasrec, stranger
from tests.security.hostile import CANARY, Files, Payload
from tests.security.test_hostile_checkpoints import KeyedPayload

pytestmark = pytest.mark.security


@pytest.fixture
def canary(tmp_path):
    path = tmp_path / CANARY
    yield path
    assert not path.exists(), "code from an upload ran"


def read(files: Files, folder: Path, **options):
    (folder / "up").mkdir(exist_ok=True)
    paths = {name: folder / "up" / name for name in files}
    for name, path in paths.items():
        path.write_bytes(files[name])
    read_upload(paths, folder / "model", **options)
    return load_model(folder / "model")


def fm(**settings: Any) -> bytes:
    return recbole_checkpoint("FM", Context("FM").state_dict(), CONTEXT | settings)


HYPER = {"as hyper-parameters": lambda evil: evil, "as a value": lambda evil: {"num_heads": evil},
         "as a key": lambda evil: {evil: 3}, "in a list": lambda evil: {"field_dims": [evil, 3]},
         "as an activation": lambda evil: {"activation": evil},
         "deep inside": lambda evil: {"model": {"config": {"dropout": [evil]}}}}


@pytest.mark.parametrize("place", HYPER)
def test_a_payload_among_hyper_parameters_is_data(place, tmp_path, canary):
    model, _ = lightning_sasrec()
    read({"m.ckpt": lightning_checkpoint(model, HYPER[place](KeyedPayload(canary)))}, tmp_path)


SETTINGS = {"load_col": {"inter": [7, None, ["uid"]], "user": "uid", "item": {"uid": 1}}, "LABEL_FIELD": ["click"],
            "USER_ID_FIELD": {"a": 1}, "ITEM_ID_FIELD": ["iid"], "LIST_SUFFIX": 7, "threshold": 3,
            "numerical_features": "age", "layer_norm_eps": "tiny", "dropout_prob": [0.1], "TIME_FIELD": {}}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_recbole_of_another_kind_are_left_out_or_refused(name, tmp_path):
    try:
        read({"m.pth": fm(**{name: SETTINGS[name]}), "d.pth": recbole_dataset(KINDS, WORDS)}, tmp_path)
    except ModelError as refused:
        assert len(str(refused)) > 40


@pytest.mark.parametrize("name", ["model", "load_col", "LABEL_FIELD", "numerical_features", "mlp_hidden_size"])
def test_a_payload_among_settings_of_recbole_is_data(name, tmp_path, canary):
    content = recbole_checkpoint("FM", Context("FM").state_dict(), CONTEXT | {name: Payload(canary)})
    with pytest.raises(ModelError, match=r"RecBole's|settings|load_col|nothing says which|one table of"):
        read({"m.pth": content}, tmp_path)


@pytest.mark.parametrize("attribute", ["inter_feat", "field2type", "field2source", "field2id_token"])
def test_a_payload_in_a_dataset_is_data(attribute, tmp_path, canary):
    made = {"field2type": {"uid": "token"}, "field2source": {"uid": "inter"}, "field2id_token": {}}
    made[attribute] = {"uid": Payload(canary), KeyedPayload(canary): 1}
    with stranger("recbole.data.dataset.dataset.Dataset") as dataset:
        content = pickle.dumps(instance(dataset, **made), protocol=4)
    with pytest.raises(ModelError, match=r"settings|one table of|nothing says which"):
        read({"m.pth": fm(), "d.pth": content}, tmp_path)


@pytest.mark.parametrize("sixteenth", range(1, 16))
def test_a_truncated_dataset_is_refused(sixteenth, tmp_path):
    whole = recbole_dataset(KINDS, WORDS)
    with pytest.raises(ModelError, match=r"broken|ends before|a pickle"):
        read({"m.pth": fm(), "d.pth": whole[:len(whole) * sixteenth // 16]}, tmp_path)


def test_arrays_that_claim_more_than_they_hold_are_no_vocabulary(tmp_path):
    whole = recbole_dataset(KINDS, WORDS)
    assert np.array(["[PAD]", *WORDS["uid"]]).dtype.str == "<U5"
    broken = whole.replace(b"U5", b"U9")
    with pytest.raises(ModelError, match="one table of 39 rows"):
        read({"m.pth": fm(), "d.pth": broken}, tmp_path)


def test_a_pickle_is_no_dataset_for_having_its_name_somewhere(tmp_path, canary):
    content = pickle.dumps([Payload(canary), "x" * 400, "recbole.data.dataset"], protocol=4)
    with pytest.raises(ModelError, match="is a pickle"):
        read({"m.pth": fm(), "d.pth": content}, tmp_path)


def test_names_of_columns_that_lead_elsewhere_stay_names(tmp_path):
    kinds = {("../../etc/passwd" if name == "uid" else name): kind for name, kind in KINDS.items()}
    words = {("../../etc/passwd" if name == "uid" else name): values for name, values in WORDS.items()}
    loaded = read({"m.pth": fm(), "d.pth": recbole_dataset(kinds, words)}, tmp_path)
    assert "../../etc/passwd" in {one.column for one in loaded.signature.inputs}
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "config.json", "model.safetensors", "vocabularies.json"]


def test_tables_of_other_shapes_are_refused(tmp_path):
    for name, tensor in {"first_order_linear.token_embedding_table.embedding.weight": torch.ones(()),
                         "token_embedding_table.embedding.weight": torch.ones(39),
                         "first_order_linear.bias": torch.ones(3, 3),
                         "token_seq_embedding_table.0.weight": torch.ones(0, 4)}.items():
        state = Context("FM").state_dict() | {name: tensor}
        with pytest.raises(ModelError, match=r"none of RecBole's|not those of one|were taken for|negative or zero"):
            read({"m.pth": recbole_checkpoint("FM", state, CONTEXT), "d.pth": recbole_dataset(KINDS, WORDS)}, tmp_path)


MAPS = {"no list": {"features": 7}, "features of no kind": {"features": [7, [], {"a": 3}]}, "nothing": {},
        "a type of another kind": {"features": [{"user": {"type": ["categorical"]}}]},
        "far too many": {"features": [{f"f{place}": {"type": "categorical"}} for place in range(1500)]},
        "an encoder that is code": {"features": [{name: about | {"feature_encoder": "layers.__import__('os')()"}}
                                                 for name, about in FEATURES.items()]}}


@pytest.mark.parametrize("kind", MAPS)
def test_feature_maps_of_another_kind_are_refused(kind, tmp_path):
    files = fuxictr_files(FuxiCTR("FM")) | {"feature_map.json": json.dumps(MAPS[kind]).encode()}
    with pytest.raises(ModelError, match=r"feature|don't belong together"):
        read(files, tmp_path)


@pytest.mark.parametrize("text", [
    b"made: &a [*a]", b"made: !!python/object/apply:os.system ['true']", b"a: &x 1\nb: *x", b"made: {model: ["])
def test_settings_in_yaml_with_anchors_tags_or_broken_are_refused(text, tmp_path):
    with pytest.raises(ModelError, match=r"model_config\.yaml can't be read"):
        read(fuxictr_files(FuxiCTR("FM")) | {"model_config.yaml": text}, tmp_path)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"user": ' * 5000, '{"user": {"a": 1e400}}', "nul"])
def test_vocabularies_that_nest_without_end_are_refused_or_left_out(text, tmp_path):
    files = fuxictr_files(FuxiCTR("FM"), model="FM") | {"feature_vocab.json": text.encode()}
    try:
        assert not read(files, tmp_path).vocabularies
    except ModelError as refused:
        assert "feature_vocab.json can't be read" in str(refused)
