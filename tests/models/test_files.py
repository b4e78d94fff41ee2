"""Zoo models on disk: what is saved comes back, and every broken file is refused with a sentence."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from compression.models.files import load_model, save_model
from compression.models.folder import LoadedModel
from compression.models.structure import replace
from compression.spec.errors import ModelError
from compression.spec.method import copy_structure
from compression.testing.tiny import tiny_dataset, tiny_model

DATASET = tiny_dataset(rows=300)


@pytest.fixture
def saved(tmp_path):
    model = tiny_model("deepfm", DATASET)
    save_model(tmp_path, LoadedModel(model, DATASET.signature, DATASET.vocabularies, "deepfm", model.config))
    return tmp_path


def change_config(folder, **changes):
    plain = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(plain | changes))


def change_weights(folder, change):
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors")


@pytest.mark.parametrize("architecture", ["lr", "fm", "widedeep", "deepfm", "dcnv2", "dlrm"])
def test_a_saved_model_comes_back_with_the_same_scores(architecture, tmp_path):
    model = tiny_model(architecture, DATASET)
    save_model(tmp_path, LoadedModel(model, DATASET.signature, DATASET.vocabularies, architecture, model.config))
    loaded = load_model(tmp_path)
    batch = {name: torch.from_numpy(values) for name, values in DATASET.splits["test"].inputs.items()}
    assert torch.equal(loaded.module(batch), model(batch))
    assert loaded.signature == DATASET.signature
    assert loaded.vocabularies == DATASET.vocabularies
    assert (loaded.architecture, loaded.config) == (architecture, model.config)
    assert all(weight.requires_grad for weight in loaded.module.parameters())


def test_a_model_whose_layers_were_replaced_is_not_saved_as_the_zoo_s(tmp_path):
    model = copy_structure(tiny_model("deepfm", DATASET))
    replace(model, "tables.user", nn.Embedding(3, 4))
    with pytest.raises(ModelError, match="no longer has the layers of deepfm"):
        save_model(tmp_path, LoadedModel(model, DATASET.signature, DATASET.vocabularies, "deepfm", model.config))


def test_loaded_weights_do_not_write_through_to_the_file(saved):
    before = (saved / "model.safetensors").read_bytes()
    with torch.no_grad():
        load_model(saved).module.tables.user.weight.zero_()
    assert (saved / "model.safetensors").read_bytes() == before


@pytest.mark.security
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_truncated_file_is_refused(saved, share):
    whole = (saved / "model.safetensors").read_bytes()
    (saved / "model.safetensors").write_bytes(whole[:int(len(whole) * share)])
    with pytest.raises(ModelError, match="truncated"):
        load_model(saved)


@pytest.mark.security
def test_a_pickle_under_the_name_of_safetensors_is_refused_and_not_run(saved, tmp_path):
    class Touch:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"weights": Touch(), "filling": torch.zeros(20_000)}, saved / "model.safetensors")
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        load_model(saved)
    assert not (tmp_path / "ran").exists()


@pytest.mark.security
def test_a_table_far_larger_than_the_file_is_refused_before_memory_is_taken(saved):
    signature = DATASET.signature.model_dump(mode="json")
    signature["inputs"][0]["cardinality"] = 10**15
    change_config(saved, signature=signature)
    with pytest.raises(ModelError, match=r"too few for the 1,000,000,000,000,048 table rows"):
        load_model(saved)


def test_missing_and_unknown_tensors_are_named(saved):
    def change(state):
        state["mlp.99.weight"] = state.pop("mlp.0.weight")

    change_weights(saved, change)
    with pytest.raises(ModelError, match=r"misses mlp\.0\.weight and has mlp\.99\.weight, which the architecture"):
        load_model(saved)


def test_a_wrong_shape_is_named_with_both_shapes(saved):
    change_weights(saved, lambda state: state.update({"tables.user.weight": torch.zeros(30, 4)}))
    with pytest.raises(ModelError, match=r"tables\.user\.weight .* has shape 30 × 4; config\.json asks for 31 × 4"):
        load_model(saved)


def test_a_wrong_dtype_is_named(saved):
    change_weights(saved, lambda state: state.update({"tables.user.weight": torch.zeros(31, 4, dtype=torch.float16)}))
    with pytest.raises(ModelError, match=r"tables\.user\.weight .* stored as F16; it must be F32"):
        load_model(saved)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_counted(saved, value):
    change_weights(saved, lambda state: state["mlp.0.weight"][0, :2].fill_(value))
    with pytest.raises(ModelError, match=r"mlp\.0\.weight .* has 2 of 256 values that are NaN or infinite"):
        load_model(saved)


@pytest.mark.parametrize(("changes", "message"), [
    ({"architecture": "gpt"}, r"no architecture 'gpt' in the zoo"),
    ({"architecture": ["deepfm"]}, r"architecture must be a name"),
    ({"config": {"width": 7}}, r"width of deepfm must be"),
    ({"config": []}, r"config an object of settings"),
    ({"format": "other"}, r"must say format 'recpress-model', version 1; got 'other'"),
    ({"version": 2}, r"version 1; got 'recpress-model', version 2"),
    ({"signature": {"inputs": [{"name": "a"}]}}, r"signature in config.json can't be read: inputs\.0\.kind"),
    ({"signature": {"inputs": []}}, r"needs at least one input"),
    ({"surprise": 1}, r"must be an object with architecture, config, format, signature, version; got .*surprise"),
])
def test_a_broken_configuration_says_what_is_wrong(saved, changes, message):
    change_config(saved, **changes)
    with pytest.raises(ModelError, match=message):
        load_model(saved)


def test_an_input_named_twice_or_without_rows_is_refused(saved):
    signature = DATASET.signature.model_dump(mode="json")
    change_config(saved, signature=signature | {"inputs": signature["inputs"] * 2})
    with pytest.raises(ModelError, match="names the input 'age' twice"):
        load_model(saved)
    signature["inputs"][1]["cardinality"] = None
    change_config(saved, signature=signature)
    with pytest.raises(ModelError, match=r"'item' .* needs a cardinality"):
        load_model(saved)


@pytest.mark.parametrize(("text", "message"), [
    ("{", "vocabularies.json is not valid JSON"),
    ("[]", "must map each column to a list of texts"),
    ('{"user": [1]}', "must map each column to a list of texts"),
    ('{"user": ["a"]}', "no vocabulary for the column 'item'"),
    ('{"user": ["a", "b", "a"]}', "The vocabulary of 'user' lists 'a' twice, as value 1 and 3"),
    ('{"user": ["a"], "user": ["b"]}', "the key 'user' is given twice"),
])
def test_broken_vocabularies_say_what_is_wrong(saved, text, message):
    (saved / "vocabularies.json").write_text(text)
    with pytest.raises(ModelError, match=message):
        load_model(saved)


def test_a_vocabulary_longer_than_its_table_is_refused(saved):
    longer = DATASET.vocabularies | {"user": [f"u{k}" for k in range(31)]}
    (saved / "vocabularies.json").write_text(json.dumps(longer))
    with pytest.raises(ModelError, match="'user' has 31 values, but the table of 'user' has 31 rows"):
        load_model(saved)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vocabularies.json"])
def test_a_missing_file_is_named(saved, name):
    (saved / name).unlink()
    with pytest.raises(ModelError, match=f"has no {name}"):
        load_model(saved)


def test_a_huge_configuration_is_refused_unread(saved):
    (saved / "config.json").write_text(" " * 3_000_000)
    with pytest.raises(ModelError, match=r"config\.json has 3,000,000 bytes; at most 2,000,000"):
        load_model(saved)
