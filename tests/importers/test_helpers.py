"""On the command line a model's file brings what lies beside it and describes it, as each format declares."""

from __future__ import annotations

import pytest
import torch

from compression.cli.given import model_folder
from compression.importers.checkpoint.state import state_and_told
from compression.importers.checkpoint.told import Told
from compression.importers.format import with_helpers
from compression.models.files import load_model
from compression.spec.errors import ModelError
from tests.importers.checkpoint.fuxictr import Model, fuxictr_files
from tests.importers.checkpoint.recbole import CONTEXT, KINDS, WORDS, Context, recbole_checkpoint, recbole_dataset

STRANGERS = ("other.onnx", "other.onnx.data", "other.pth", "other.yaml", "notes.txt", "data.yaml", "results.json",
             "otherDataset.pth")


@pytest.mark.parametrize(("model", "helpers"), [
    ("model.onnx", {"model.onnx.data", "model.onnx_data", "binding.json", "signature.json", "vocabularies.json"}),
    ("made.safetensors", {"config.json", "vocabularies.json", "made.json"}),
    ("DeepFM_x1_0.1.model", {"feature_map.json", "feature_vocab.json", "model_config.yaml", "DeepFM_x1_0.1.yaml"}),
    ("epoch=3.ckpt", {"hparams.yaml", "args.txt", "config.json"}),
    ("made.weights.h5", {"made.json"}), ("made.keras", {"made.json"}), ("[a].pt2", set())])
def test_files_that_describe_a_model_are_taken_along_and_no_others(model, helpers, tmp_path):
    for name in (model, *helpers, *STRANGERS):
        (tmp_path / name).write_bytes(b"{}")
    assert set(with_helpers(tmp_path / model)) == {model, *helpers}


@pytest.mark.slow
def test_a_file_of_fuxictr_is_read_with_its_map_from_the_command_line(tmp_path):
    torch.manual_seed(0)
    for name, content in fuxictr_files(Model("DeepFM").eval()).items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "work").mkdir()
    loaded = load_model(model_folder(tmp_path / "made.model", tmp_path / "work", None))
    assert set(loaded.vocabularies) == {"user", "tags", "item"}
    assert loaded.module.config["mlp"]["activation"] == "tanh"


@pytest.mark.slow
def test_a_file_of_recbole_is_read_with_its_dataset_from_the_command_line(tmp_path):
    torch.manual_seed(0)
    (tmp_path / "FM.pth").write_bytes(recbole_checkpoint("FM", Context("FM").state_dict(), CONTEXT))
    (tmp_path / "made-Dataset.pth").write_bytes(recbole_dataset(KINDS, WORDS))
    (tmp_path / "work").mkdir()
    loaded = load_model(model_folder(tmp_path / "FM.pth", tmp_path / "work", None))
    assert loaded.vocabularies["uid"] == WORDS["uid"]


def test_of_several_datasets_of_recbole_the_one_of_the_checkpoint_is_read(tmp_path):
    def told(*datasets: str) -> Told:
        for name in datasets:
            words = WORDS if name.startswith("made") else {**WORDS, "uid": WORDS["uid"][::-1]}
            (tmp_path / name).write_bytes(recbole_dataset(KINDS, words))
        (tmp_path / "m.pth").write_bytes(recbole_checkpoint("FM", Context("FM").state_dict(), CONTEXT))
        return state_and_told({name: tmp_path / name for name in ("m.pth", *datasets)}, "m.pth")[1]

    assert told("a-Dataset.pth", "made-Dataset.pth").vocabularies["uid"] == WORDS["uid"]
    assert told("a-Dataset.pth").vocabularies["uid"] == WORDS["uid"][::-1]
    with pytest.raises(ModelError, match=r"a-Dataset.pth, b-Dataset.pth are datasets .* trained on made. Leave that"):
        told("a-Dataset.pth", "b-Dataset.pth")
