"""Zoo weights, bundles and a real foreign model come in through the sandbox."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from compression.data.dataset import Rows
from compression.export.bundle.files import write_bundle
from compression.export.onnx import export_onnx
from compression.importers import import_model
from compression.importers.beside import vocabularies_of
from compression.importers.reader import read_upload
from compression.models.files import load_model, save_model
from compression.models.folder import LoadedModel
from compression.runtimes.onnxruntime import open_session
from compression.spec.errors import ModelError
from compression.spec.records import Measurement, Recipe, Result, RunSpec
from compression.testing.tiny import tiny_dataset, tiny_model
from tests.importers.graphs import files_of, of_a_stranger

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "models" / "mf_onnx"


@pytest.fixture(scope="module")
def dataset():
    return tiny_dataset()


@pytest.fixture
def saved(dataset, tmp_path) -> Path:
    model = tiny_model("deepfm", dataset)
    save_model(tmp_path / "saved", LoadedModel(model, dataset.signature, dataset.vocabularies, "deepfm", model.config))
    return tmp_path / "saved"


def same_weights(a: Path, b: Path) -> bool:
    first, second = load_file(a / "model.safetensors"), load_file(b / "model.safetensors")
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_a_zoo_model_comes_through_the_sandbox_as_it_was(saved, dataset, tmp_path):
    description = import_model({path.name: path for path in saved.iterdir()}, tmp_path / "model")
    assert description.architecture == "deepfm" and same_weights(saved, tmp_path / "model")
    exported = export_onnx(load_model(tmp_path / "model").module, dataset.signature, tmp_path / "out" / "model.onnx")
    assert exported.size_bytes == description.size_bytes


@pytest.mark.slow
def test_config_and_vocabularies_may_lie_in_the_metadata(saved, tmp_path):
    metadata = {name: (saved / f"{name}.json").read_text() for name in ("config", "vocabularies")}
    alone = tmp_path / "weights.safetensors"
    save_file(load_file(saved / "model.safetensors"), alone, metadata=metadata)
    read_upload({alone.name: alone}, tmp_path / "model")
    assert same_weights(saved, tmp_path / "model")
    assert load_model(tmp_path / "model").vocabularies == load_model(saved).vocabularies


def test_nan_in_zoo_weights_is_a_sentence(saved, tmp_path):
    state = load_file(saved / "model.safetensors")
    state["tables.user.weight"][2, 1] = torch.nan
    save_file(state, saved / "model.safetensors")
    with pytest.raises(ModelError, match=r"tables.user.weight in model.safetensors has 1 of 124 values that are NaN"):
        read_upload({path.name: path for path in saved.iterdir()}, tmp_path / "model")


@pytest.mark.slow
def test_a_bundle_comes_back_with_its_signature_and_gives_the_same_scores(dataset, tmp_path):
    model = tiny_model("dcnv2", dataset)
    exported = export_onnx(model, dataset.signature, tmp_path / "out" / "model.onnx")
    spec = RunSpec(model="m", data="d", recipe=Recipe())
    result = Result(spec=spec, baseline=(Measurement(metric="auc", value=0.7),),
                    measurements=(Measurement(metric="auc", value=0.7),))
    bundle, _ = write_bundle(tmp_path / "bundle.zip", exported=exported, signature=dataset.signature,
                             vocabularies=dataset.vocabularies, recipe="steps: []\n", result=result,
                             description=dataset.description, architecture="dcnv2")
    read_upload({"bundle.zip": bundle}, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.vocabularies == dataset.vocabularies and loaded.signature == dataset.signature
    rows = dataset.splits["test"]
    np.testing.assert_array_equal(open_session(tmp_path / "model" / "model.onnx").score(rows.inputs),
                                  open_session(exported.path).score(rows.inputs))
    again = export_onnx(loaded.module, loaded.signature, tmp_path / "again" / "model.onnx")
    np.testing.assert_allclose(open_session(again.path).score(rows.inputs),
                               open_session(exported.path).score(rows.inputs), atol=1e-6)


@pytest.mark.slow
def test_a_folder_whose_binding_is_broken_is_a_sentence(dataset, tmp_path):
    exported = export_onnx(tiny_model("lr", dataset), dataset.signature, tmp_path / "out" / "model.onnx")
    read_upload(files_of(of_a_stranger(exported.path)), tmp_path / "model")
    binding = tmp_path / "model" / "binding.json"
    plain = json.loads(binding.read_text())
    binding.write_text(json.dumps(plain | {"code": "import os"}))
    with pytest.raises(ModelError, match=r"binding.json can't be read: code: Extra inputs are not permitted"):
        load_model(tmp_path / "model")
    binding.unlink()
    with pytest.raises(ModelError, match=r"model.onnx has no binding.json beside it"):
        load_model(tmp_path / "model")


@pytest.mark.realdata
def test_a_rating_model_exported_elsewhere_is_read_and_written_again(tmp_path):
    if not REAL.is_dir():
        pytest.skip("the private data folder is not beside the project")
    description = import_model({name: REAL / name for name in ("recommender.onnx", "recommender.onnx.data")},
                               tmp_path / "model")
    assert {layer.name: layer.shape for layer in description.layers} == {
        "user_emb": (6040, 32), "movie_emb": (3706, 32), "user_bias": (6040, 1), "movie_bias": (3706, 1)}
    loaded = load_model(tmp_path / "model")
    assert [item.cardinality for item in loaded.signature.inputs] == [6040, 3706]
    random = np.random.default_rng(0)
    rows = Rows({"user_idx": random.integers(0, 6040, 500), "movie_idx": random.integers(0, 3706, 500)},
                np.zeros(500, np.float32), None)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    original = onnxruntime.InferenceSession(str(REAL / "recommender.onnx"), options, ["CPUExecutionProvider"])
    rating = original.run(None, rows.inputs)[0]
    exported = export_onnx(loaded.module, loaded.signature, tmp_path / "again" / "model.onnx")
    np.testing.assert_allclose(open_session(exported.path).score(rows.inputs), 1 / (1 + np.exp(-rating)), atol=1e-5)


def test_an_uploaded_vocabulary_that_lists_a_value_twice_is_refused(tmp_path):
    path = tmp_path / "vocabularies.json"
    path.write_text(json.dumps({"item": ["a", "b", "a"]}))
    with pytest.raises(ModelError, match="The vocabulary of 'item' lists 'a' twice, as value 1 and 3"):
        vocabularies_of({"vocabularies.json": path})
