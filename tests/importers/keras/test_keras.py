"""Models of Keras become ordinary layers with the same scores; what can't be mapped is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from compression.importers import import_model
from compression.importers.reader import look_at, read_upload
from compression.models.files import load_model
from compression.models.structure import leaves
from compression.spec.errors import ModelError
from tests.importers.keras.make import (
    functional,
    given,
    keras_zip,
    layer,
    legacy_h5,
    numbers,
    ranker,
    ranker_scores,
    two_fields,
    weights_h5,
)

LISTS = {"inputs": {"tags": {"kind": "multi", "column": "tags"}}}


def read(files: dict[str, bytes], folder: Path, **options: Any):
    paths = {name: folder / f"up-{name}" for name in files}
    for name, path in paths.items():
        path.write_bytes(files[name])
    read_upload(paths, folder / "model", **options)
    return load_model(folder / "model")


def rows(n: int = 9) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(1)
    return {"user": draw.integers(0, 30, n), "item": draw.integers(0, 20, n),
            "tags": np.concatenate([draw.integers(1, 7, (n, 1)), draw.integers(0, 7, (n, 2))], 1),
            "age": draw.normal(size=n).astype(np.float32)}


def scores(loaded, batch: dict[str, np.ndarray]) -> np.ndarray:
    with torch.no_grad():
        return loaded.module({name: torch.from_numpy(value) for name, value in batch.items()}).numpy()


def one_layer(made: dict[str, Any], arrays: list[np.ndarray] = (), *, width: int = 4) -> dict[str, bytes]:
    """Numbers through one layer, and a sum of what it gives."""
    config = functional([given("x", width, "float32"), made, layer("Flatten", "flat", made["name"]), layer(
        "Dense", "end", "flat", units=1, activation="linear", use_bias=False)], "end")
    return {"m.keras": keras_zip(config, weights_h5({made["name"]: list(arrays), "end": [np.ones((width, 1))]}))}


FORMS = {"keras": lambda config, arrays: {"m.keras": keras_zip(config, weights_h5(arrays))},
         "packed": lambda config, arrays: {"m.keras": keras_zip(config, weights_h5(arrays, compression="gzip"))},
         "h5": lambda config, arrays: {"m.h5": legacy_h5(config, arrays)},
         "weights and JSON": lambda config, arrays: {"m.weights.h5": weights_h5(arrays),
                                                     "m.json": json.dumps(config).encode()}}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_layers_and_the_scores(form, tmp_path):
    config, arrays = ranker()
    loaded = read(FORMS[form](config, arrays), tmp_path, binding=LISTS)
    assert np.abs(scores(loaded, rows()) - ranker_scores(arrays, **rows())).max() < 1e-5
    kinds = {name.partition(".")[0]: type(one) for name, one in leaves(loaded.module)}
    assert kinds["user_table"] is nn.Embedding and kinds["norm"] is nn.BatchNorm1d and kinds["deep"] is nn.Linear
    assert [(one.name, one.kind, one.cardinality) for one in loaded.signature.inputs] == [
        ("user", "category", 30), ("item", "category", 20), ("tags", "multi", 7), ("age", "number", None)]


def test_a_look_shows_the_inputs_with_the_rows_of_their_tables(tmp_path):
    (tmp_path / "up").write_bytes(FORMS["keras"](*ranker())["m.keras"])
    look = look_at({"m.keras": tmp_path / "up"}, tmp_path / "model")
    assert [(one.name, one.rows.get(None)) for one in look.inputs] == [
        ("user", 30), ("item", 20), ("tags", 7), ("age", None)]


@pytest.mark.parametrize(("made", "arrays", "expected"), [
    (layer("ReLU", "one", "x", negative_slope=0.3), (), lambda x: nn.functional.leaky_relu(x, 0.3)),
    (layer("LeakyReLU", "one", "x", negative_slope=0.1), (), lambda x: nn.functional.leaky_relu(x, 0.1)),
    (layer("ELU", "one", "x", alpha=0.5), (), lambda x: nn.functional.elu(x, 0.5)),
    (layer("Activation", "one", "x", activation="gelu"), (), nn.functional.gelu),
    (layer("Activation", "one", "x", activation="silu"), (), nn.functional.silu),
    (layer("Rescaling", "one", "x", scale=2.0, offset=0.5), (), lambda x: 2 * x + 0.5),
    (layer("Add", "one", ["x", "x"]), (), lambda x: 2 * x), (layer("Multiply", "one", ["x", "x"]), (), lambda x: x * x),
    (layer("Average", "one", ["x", "x", "x"]), (), lambda x: x),
    (layer("LayerNormalization", "one", "x", axis=-1, epsilon=0.001), [np.full(4, 2.0), np.ones(4)],
     lambda x: 2 * nn.functional.layer_norm(x, (4,), eps=1e-3) + 1),
    (layer("BatchNormalization", "one", "x", axis=-1, epsilon=0.1, scale=False, center=False),
     [np.ones(4), np.full(4, 3.0)], lambda x: (x - 1) / 3.1 ** 0.5),
], ids=lambda value: value["class_name"] if isinstance(value, dict) else "")
def test_a_layer_computes_what_it_does_in_keras(made, arrays, expected, tmp_path):
    columns = {"inputs": {"x": {"columns": ["a", "b", "c", "d"]}}, "output_form": "logit"}
    loaded = read(one_layer(made, arrays), tmp_path, binding=columns)
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(loaded.module({"x": x}), expected(x).sum(1), atol=1e-5)


def test_a_layer_called_twice_shares_its_table(tmp_path):
    config = functional([
        given("user"), given("item"), layer("Embedding", "shared", "user", "item", input_dim=9, output_dim=4),
        layer("Flatten", "u", ("shared", 0)), layer("Flatten", "i", ("shared", 1)),
        layer("Dot", "score", ["u", "i"], axes=-1, normalize=True)], "score")
    table = numbers(9, 4)
    loaded = read({"m.keras": keras_zip(config, weights_h5({"shared": [table]}))}, tmp_path,
                  binding={"output_form": "logit"})
    batch = {"user": np.arange(5), "item": np.arange(5) + 3}
    left, right = (table[ids] / np.linalg.norm(table[ids], axis=1, keepdims=True) for ids in batch.values())
    assert np.abs(scores(loaded, batch) - (left * right).sum(1)).max() < 1e-5
    assert sum(value.numel() for value in loaded.module.parameters()) == 36


def sequential(*layers: dict[str, Any]) -> dict[str, Any]:
    return {"class_name": "Sequential", "module": "keras", "config": {"name": "s", "layers": list(layers)}}


def test_a_sequential_is_read_in_its_order(tmp_path):
    config = sequential(given("ids", 3), layer("Embedding", "table", input_dim=9, output_dim=2), layer("Flatten", "f"),
                        layer("Dense", "score", units=1, activation="sigmoid", use_bias=True))
    arrays = {"table": [numbers(9, 2)], "score": [numbers(6, 1), numbers(1)]}
    loaded = read({"m.keras": keras_zip(config, weights_h5(arrays))}, tmp_path,
                  binding={"inputs": {"ids": {"kind": "multi", "column": "ids"}}})
    ids = np.array([[1, 2, 3], [0, 8, 4]])
    expected = arrays["table"][0][ids].reshape(2, 6) @ arrays["score"][0] + arrays["score"][1]
    assert np.abs(scores(loaded, {"ids": ids}) - expected.squeeze(1)).max() < 1e-6


DENSE = {"units": 1, "activation": "linear", "use_bias": True}
REFUSED = {
    "a Lambda": (layer("Lambda", "evil", "x", function={"class_name": "__lambda__", "config": {"code": "4wEA"}}),
                 r"'evil' of m.keras is a Lambda: it holds code, which is never run"),
    "a layer that is not read": (layer("LSTM", "lstm", "x", units=4), "'lstm' of m.keras is a LSTM, which is not"),
    "a nested model": (layer("Functional", "inner", "x", layers=[]), "'inner' of m.keras is a Functional"),
    "a class of another package": (layer("Dense", "own", "x", **DENSE) | {"module": "evil.layers"},
                                   "a Dense of evil.layers, not Keras's own"),
    "a registered class": (layer("Dense", "own", "x", **DENSE) | {"registered_name": "evil>Dense"}, "not Keras's own"),
    "arrays of another shape": (layer("Dense", "dense", "x", **DENSE), r"should have arrays of \(4, 1\), \(1,\)"),
    "an activation that is a class": (layer("Activation", "act", "x", activation={"class_name": "Evil"}),
                                      "has the activation .*Evil.*, which is not read"),
    "an activation by another name": (layer("Activation", "act", "x", activation="__import__"), "'__import__', which"),
    "a circle": (layer("Add", "loop", ["x", "flat"]), "read one another in a circle"),
    "a layer that is not there": (layer("Flatten", "f2", "nowhere"), "or one that isn't there"),
    "a size that is no number": (layer("Dense", "dense", "x", **(DENSE | {"units": "9"})), "units='9', which is no"),
    "a table of computed ids": (layer("Embedding", "table", "late", input_dim=9, output_dim=2),
                                "ids come from an input"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_not_be_mapped_is_named(case, tmp_path):
    made, said = REFUSED[case]
    files = one_layer(made)
    if case == "a table of computed ids":
        config = functional([given("x", 4), layer("Rescaling", "late", "x", scale=1.0, offset=0.0), made,
                             layer("Flatten", "flat", made["name"])], "flat")
        files = {"m.keras": keras_zip(config, weights_h5({made["name"]: [numbers(9, 2)]}))}
    with pytest.raises(ModelError, match=said):
        read(files, tmp_path)


@pytest.mark.parametrize(("files", "said"), [
    ({"m.weights.h5": weights_h5({})}, "weights and no description of the layers"),
    ({"m.keras": keras_zip({"class_name": "MyModel", "config": {}}, weights_h5({}))}, "of the kind 'MyModel'"),
    ({"m.keras": keras_zip(functional([given("x")], "x") | {"config": {"layers": []}}, weights_h5({}))}, "0 layers"),
    ({"m.keras": keras_zip(b"[1", weights_h5({}))}, "is not valid JSON"),
    ({"m.keras": keras_zip({}, b"\x89HDF\r\n\x1a\nnothing")}, "not a whole HDF5 file"),
    ({"m.keras": keras_zip({}, weights_h5({}), assets__vocabulary=b"a\nb")}, "holds 'vocabulary'; read are config"),
    ({"m.keras": b"PK nothing"}, "is not a model as Keras 3 saves it"),
    ({"m.h5": b"nothing"}, "is not a model as Keras 3 saves it")])
def test_broken_files_are_refused_with_a_sentence(files, said, tmp_path):
    with pytest.raises(ModelError, match=said):
        read(files, tmp_path)


@pytest.mark.slow
def test_it_is_read_in_the_sandbox(tmp_path):
    (tmp_path / "up").write_bytes(FORMS["packed"](*two_fields())["m.keras"])
    description = import_model({"m.keras": tmp_path / "up"}, tmp_path / "model")
    assert [layer.kind for layer in description.layers] == ["Embedding", "Embedding", "Linear", "Linear"]


def test_keras_2_and_several_outputs_are_named(tmp_path):
    config, arrays = ranker()
    config["config"]["output_layers"] = [["score", 0, 0], ["deep", 0, 0]]
    with pytest.raises(ModelError, match="has several outputs"):
        read(FORMS["keras"](config, arrays), tmp_path)
    config, arrays = ranker()
    config["config"]["layers"][4]["inbound_nodes"] = [[["user", 0, 0, {}]]]
    with pytest.raises(ModelError, match="or saved by Keras 2"):
        read(FORMS["keras"](config, arrays), tmp_path)
