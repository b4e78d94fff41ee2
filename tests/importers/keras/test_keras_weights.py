"""Weights of Keras 1 and 2 alone: their names say what a layer is, names and shapes where it stands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from compression.importers.checkpoint.state import state_and_told
from compression.importers.format import Upload
from compression.importers.formats.keras import has_weights_alone
from compression.importers.keras.file import read_keras
from compression.importers.reader import look_at
from compression.spec.errors import ModelError
from tests.importers.checkpoint.make import apart, imported
from tests.importers.keras.make import legacy_h5, named, numbers, save_weights_h5, two_fields


def written(folder: Path, content: bytes, name: str = "m.h5") -> dict[str, Path]:
    (folder / name).write_bytes(content)
    return {name: folder / name}


def scores(arrays: dict[str, list[np.ndarray]], user: torch.Tensor, item: torch.Tensor) -> torch.Tensor:
    x = np.concatenate([arrays["user_table"][0][user], arrays["item_table"][0][item]], 1)
    x = np.maximum(x @ arrays["first"][0] + arrays["first"][1], 0)
    if "norm" in arrays:
        gamma, beta, mean, variance = arrays["norm"]
        x = (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    return torch.from_numpy(x @ arrays["score"][0] + arrays["score"][1]).squeeze(1).float()


def pair(n: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.arange(n) % 9, torch.arange(n) * 3 % 7


@pytest.mark.parametrize("has_norm", [False, True])
def test_weights_of_keras_2_score_as_the_model_did(has_norm, tmp_path):
    arrays = two_fields()[1]
    if has_norm:
        norm = [numbers(5), numbers(5), numbers(5), numbers(5, low=0.001) * 0.01 + 0.01]
        arrays = {**{name: arrays[name] for name in ("user_table", "item_table", "first")}, "norm": norm,
                  "score": arrays["score"]}
    state, told = state_and_told(written(tmp_path, save_weights_h5(named(arrays))), "m.h5")
    loaded, _ = imported(state, {"mlp.batch_norm": "after"} if has_norm else {})
    assert apart(loaded, lambda *ids: scores(arrays, *ids), *pair()) < 1e-5
    assert [one.name for one in loaded.signature.inputs] == ["user", "item"]
    assert ("epsilon that Keras has by default, 0.001" in " ".join(told.notes)) == has_norm


def test_weights_of_keras_1_have_their_layers_in_their_names(tmp_path):
    arrays = two_fields()[1]
    layers = {"embedding_1": {"embedding_1_W": arrays["user_table"][0]},
              "embedding_2": {"embedding_2_W": arrays["item_table"][0]},
              "dense_1": dict(zip(("dense_1_W", "dense_1_b"), arrays["first"], strict=True)),
              "dense_2": dict(zip(("dense_2_W", "dense_2_b"), arrays["score"], strict=True))}
    state, _ = state_and_told(written(tmp_path, save_weights_h5(layers)), "m.h5")
    loaded, _ = imported(state)
    assert apart(loaded, lambda *ids: scores(arrays, *ids), *pair()) < 1e-5


def test_what_weights_do_not_say_is_asked_before_the_import(tmp_path):
    look = look_at(written(tmp_path, save_weights_h5(named(two_fields()[1]))), tmp_path / "out")
    assert "mlp.activation" in {one.key for one in look.questions}
    assert [one.rows for one in look.inputs] == [{None: 9}, {None: 7}]


@pytest.mark.parametrize(("arrays", "sentence"), [
    ({"lone_W": np.ones((4, 3))}, r"what the layer 'lone' is that holds matrix \(4, 3\).*save it whole: model.save"),
    ({"lone/recurrent_kernel:0": np.ones((4, 3)), "lone/kernel:0": np.ones((4, 3))}, "recurrent_kernel"),
    ({"lone/gamma:0": np.ones(3), "lone/beta:0": np.ones(3)}, r"gamma \(3,\), beta")])
def test_a_layer_that_names_do_not_tell_is_named(arrays, sentence, tmp_path):
    with pytest.raises(ModelError, match=sentence):
        state_and_told(written(tmp_path, save_weights_h5({"lone": arrays})), "m.h5")


def test_a_list_of_layers_that_are_not_there_is_refused(tmp_path):
    content = save_weights_h5({"a": {"a/kernel:0": np.ones((2, 2))}, "b": {}})
    path = written(tmp_path, content)["m.h5"]
    import h5py

    with h5py.File(path, "a") as file:
        del file["a"]
    with pytest.raises(ModelError, match="lacks the layer 'a' that it lists"):
        state_and_told({"m.h5": path}, "m.h5")


def test_a_text_of_the_layers_has_the_last_word(tmp_path):
    config, arrays = two_fields()
    files = written(tmp_path, save_weights_h5(named(arrays)))
    assert has_weights_alone(Upload(files, "m.h5", tmp_path))
    (tmp_path / "m.json").write_text(json.dumps(config))
    assert not has_weights_alone(Upload(files | {"m.json": tmp_path / "m.json"}, "m.h5", tmp_path))
    found = read_keras(files | {"m.json": tmp_path / "m.json"}, "m.h5", tmp_path).weights
    assert all((found[name][0] == values[0]).all() for name, values in arrays.items())
    assert not has_weights_alone(Upload(written(tmp_path, legacy_h5(config, arrays), "w.h5"), "w.h5", tmp_path))
