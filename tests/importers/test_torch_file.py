"""Files of torch.save are read as torch reads them, and without running what they hold."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from compression.importers.checkpoint.torch_file import read_torch_file, weights_of
from compression.importers.format_sniffing import is_torch_file
from compression.importers.reader import read_upload
from compression.models.files import load_model, save_model
from compression.models.folder import LoadedModel
from compression.testing.tiny import tiny_dataset, tiny_model

MODELS = Path(__file__).parents[3] / "shared" / "data" / "models"


@pytest.fixture(params=[True, False], ids=["zip", "legacy"])
def saved(request, tmp_path):
    """Save an object in one of torch's two forms; give the path."""
    def save(value):
        path = tmp_path / "model.pth"
        torch.save(value, path, _use_new_zipfile_serialization=request.param)
        return path
    return save


def test_every_kind_of_tensor_comes_back_as_torch_loads_it(saved):
    shared = torch.arange(24.0)
    given = {"plain": torch.randn(3, 4), "transposed": torch.randn(3, 4).t(), "view": shared[4:16].view(3, 4),
             "other view": shared[::2], "half": torch.randn(5).half(), "bf16": torch.randn(5).bfloat16(),
             "double": torch.randn(2).double(), "long": torch.arange(4), "bool": torch.tensor([True, False]),
             "scalar": torch.tensor(3.5), "empty": torch.zeros(0, 4)}
    path = saved(given)
    assert is_torch_file(path)
    found = read_torch_file(path, path.name).tensors
    expected = torch.load(path, weights_only=True)
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) and found[name].dtype == expected[name].dtype for name in found)


def test_settings_beside_the_weights_come_as_plain_values(saved):
    path = saved({"epoch": 3,
                  "config": {"lr": 0.1, "layers": [64, 32], "name": "DeepFM", "device": torch.device("cpu")},
                  "state_dict": OrderedDict(a=torch.ones(2))})
    found = read_torch_file(path, path.name)
    assert found.values["epoch"] == 3
    config = found.values["config"]
    assert (config["lr"], config["layers"], config["name"]) == (0.1, [64, 32], "DeepFM")
    assert config["device"] == {"__class__": "torch.device", "args": ["cpu"]}


@pytest.mark.parametrize("wrap", [
    lambda state: state, lambda state: {"state_dict": state, "epoch": 1},
    lambda state: {"model_state_dict": state, "optimizer": {"lr": 0.1}},
    lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    lambda state: {"state_dict": {f"model.{name}": tensor for name, tensor in state.items()}},
], ids=["plain", "Lightning", "tutorial", "data parallel", "Lightning module"])
def test_the_state_dict_is_found_in_its_wrappers(saved, wrap):
    state = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).state_dict()
    path = saved(wrap(state))
    found = weights_of(read_torch_file(path, path.name))
    assert list(found) == list(state)
    assert all(torch.equal(found[name], state[name]) for name in state)


def test_a_whole_module_that_was_saved_gives_its_state_dict(saved):
    module = nn.Sequential(nn.Embedding(4, 3), nn.Linear(3, 2), nn.BatchNorm1d(2))
    path = saved(module)
    found = weights_of(read_torch_file(path, path.name))
    assert set(found) == set(module.state_dict())
    assert all(torch.equal(found[name], tensor) for name, tensor in module.state_dict().items())


@pytest.mark.slow
def test_a_checkpoint_with_its_config_becomes_the_model_it_was(saved, tmp_path):
    dataset = tiny_dataset()
    model = tiny_model("deepfm", dataset)
    save_model(tmp_path / "ours", LoadedModel(model, dataset.signature, dataset.vocabularies, "deepfm", model.config))
    path = saved({"state_dict": model.state_dict(), "epoch": 7})
    files = {"model.pth": path, **{name: tmp_path / "ours" / name for name in ("config.json", "vocabularies.json")}}
    description = read_upload(files, tmp_path / "read")
    assert description.architecture == "deepfm"
    read = load_model(tmp_path / "read").module.state_dict()
    assert all(torch.equal(read[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.realdata
@pytest.mark.parametrize("pattern", ["ncf_gmf_pytorch/*.model", "sasrec_state_dict/*.pth"])
def test_checkpoints_from_elsewhere_give_the_weights_torch_reads(pattern):
    paths = list(MODELS.glob(pattern))
    if not paths:
        pytest.skip("the models for trials are not beside the project")
    expected = torch.load(paths[0], map_location="cpu", weights_only=True)
    found = read_torch_file(paths[0], paths[0].name).tensors
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
