"""Files that are no network, under the names of models: each is told for what it is, with what helps."""

from __future__ import annotations

import io
import re
import zipfile

import pytest
import torch

from compression.importers.other_files import ENDINGS, what_it_is
from compression.importers.reader import look_at
from compression.spec.errors import ModelError
from ui.server.uploads import UploadRefused, check_name

TREES = r"decision trees.*Trees have no tables and dense layers.*train a model on the same data"
PICTURE = "upload the model's own file"
WHAT = {  # the first bytes, as each tool writes them → the sentence
    "png": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", f"is a PNG picture.*{PICTURE}"),
    "jpeg": (b"\xff\xd8\xff\xe0\0\x10JFIF", f"is a JPEG picture.*{PICTURE}"),
    "gif": (b"GIF89a\1\0\1\0", f"is a GIF picture.*{PICTURE}"),
    "webp": (b"RIFF\x24\0\0\0WEBPVP8 ", f"is a WebP picture.*{PICTURE}"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3", f"is a PDF document.*{PICTURE}"),
    "page": (b"\n<!DOCTYPE html><html><head>", "is a web page.*Download the model itself"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "pointer of Git LFS.*git lfs pull"),
    "lightgbm": (b"tree\nversion=v4\nnum_class=1\n", f"is a LightGBM model.*{TREES}"),
    "catboost": (b"CBM1\x80&\0\0\x10", f"is a CatBoost model.*{TREES}"),
    "xgboost ubj": (b"{L\0\0\0\0\0\0\0\x07learner{L", f"is an XGBoost model.*{TREES}"),
    "xgboost old": (b"binf\0\0\0?\4\0\0\0", f"is an XGBoost model.*{TREES}"),
    "ranklib": (b"## LambdaMART\n## No. of trees = 10\n<ensemble>\n", f"is a RankLib model.*{TREES}"),
    "ranklib net": (b"## RankNet\n## Epochs = 100\n", "is a RankLib network.*Train a model on the same data"),
    "tflite": (b"\x1c\0\0\0TFL3\x14\0", "TensorFlow Lite model.*tf2onnx.convert --tflite"),
    "gguf": (b"GGUF\3\0\0\0", "is a GGUF file.*safetensors")}
IN_JSON = {
    "xgboost": (b'{"learner":{"attributes":{},"gradient_booster":{"model":{}}}}', "is an XGBoost model"),
    "catboost": (b'{\n"features_info":\n{\n"float_features":\n[', "is a CatBoost model"),
    "lightgbm": (b'{"name": "tree", "version": "v4", "num_class": 1}', "is a LightGBM model")}


def said_of(tmp_path, name: str, content: bytes) -> str:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ModelError) as error:
        look_at({name: tmp_path / "file"}, tmp_path / "out")
    return str(error.value)


@pytest.mark.parametrize("ending", [".pt", ".onnx", ".safetensors", ".model", ".keras", ".zip", ".bin"])
@pytest.mark.parametrize("kind", WHAT)
def test_under_the_name_of_a_model_it_is_told_for_what_it_is(kind, ending, tmp_path):
    content, sentence = WHAT[kind]
    found = said_of(tmp_path, f"m{ending}", content + bytes(200))
    assert found.startswith(f"m{ending} is ") and re.search(sentence, found)


@pytest.mark.parametrize("kind", IN_JSON)
def test_trees_in_json_are_told_for_what_they_are(kind, tmp_path):
    content, sentence = IN_JSON[kind]
    assert sentence in said_of(tmp_path, "model.json", content)
    assert sentence in said_of(tmp_path, "model.model", content)


@pytest.mark.parametrize("ending", [".pt", ".onnx", ".safetensors", ".ckpt"])
def test_text_and_nothing_are_told(ending, tmp_path):
    assert f"m{ending} holds text, and no model" in said_of(tmp_path, f"m{ending}", "état de l'art\n".encode() * 400)
    assert f"m{ending} is empty" in said_of(tmp_path, f"m{ending}", b"")


def test_weights_of_torch_under_the_name_of_hdf5_are_told_to_be_renamed(tmp_path):
    content = io.BytesIO()
    torch.save({"a.weight": torch.ones(2, 2)}, content)
    assert "is a file of torch.save in spite of its name. Rename it to DeepFM_weights.pt" in said_of(
        tmp_path, "DeepFM_weights.h5", content.getvalue())


def test_a_saved_model_of_tensorflow_is_answered_with_the_command_that_converts_it(tmp_path):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in ("m/saved_model.pb", "m/variables/variables.index", "m/fingerprint.pb"):
            archive.writestr(name, b"\x08\x01")
    found = said_of(tmp_path, "m.zip", content.getvalue())
    assert "SavedModel of TensorFlow" in found and "python -m tf2onnx.convert --saved-model FOLDER" in found


def test_settings_and_weights_of_a_model_are_taken_for_nothing_else(tmp_path):
    for content in (b'{"model": {"learner": "adam"}}', b"\x08\x07\x12\x07pytorch", bytes(64), b"name: tree\n"):
        (tmp_path / "file").write_bytes(content)
        assert what_it_is(tmp_path / "file") == ""


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_server_says_it_of_endings_that_no_model_has(ending):
    with pytest.raises(UploadRefused, match=r"no network that RecPress reads.*Convert a network to .onnx"):
        check_name(f"m{ending}", "model")
