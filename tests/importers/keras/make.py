"""Models of Keras 3 in its file formats, written by hand with h5py: Keras is not needed."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np

Arrays = dict[str, list[np.ndarray]]
DRAW = np.random.default_rng(0)


def numbers(*shape: int, low: float = -1.0) -> np.ndarray:
    return DRAW.uniform(low, 1.0, shape).astype(np.float32)


def tensor(layer: str, node: int = 0) -> dict[str, Any]:
    return {"class_name": "__keras_tensor__", "config": {"shape": [None, 1], "dtype": "float32",
                                                         "keras_history": [layer, node, 0]}}


def layer(kind: str, name: str, *reads: str | list[str] | tuple[str, int], **settings: Any) -> dict[str, Any]:
    """A layer and its calls: each of `reads` is what one call of it reads."""
    nodes = [{"args": [[tensor(one) for one in read]] if isinstance(read, list) else
              [tensor(*((read,) if isinstance(read, str) else read))], "kwargs": {}} for read in reads]
    return {"module": "keras.layers", "class_name": kind, "registered_name": None, "name": name,
            "config": {"name": name, "trainable": True} | settings, "inbound_nodes": nodes}


def given(name: str, length: int | None = 1, dtype: str = "int32") -> dict[str, Any]:
    return layer("InputLayer", name, batch_shape=[None, length], dtype=dtype)


def functional(layers: list[dict[str, Any]], output: str) -> dict[str, Any]:
    inputs = [[one["name"], 0, 0] for one in layers if one["class_name"] == "InputLayer"]
    return {"module": "keras.src.models.functional", "class_name": "Functional", "registered_name": "Functional",
            "config": {"name": "functional", "trainable": True, "layers": layers, "input_layers": inputs,
                       "output_layers": [output, 0, 0]}}


def weights_h5(arrays: Arrays, change: Callable[[h5py.File], Any] = lambda file: None, **options: Any) -> bytes:
    """model.weights.h5: the arrays of a layer as 0, 1, … under `vars`, which has the layer's name as an attribute."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for place, (name, values) in enumerate(arrays.items()):
            held = file.create_group(f"layers/kind_{place}/vars")
            held.attrs["name"] = name
            for number, value in enumerate(values):
                held.create_dataset(str(number), data=value, **options)
        file.create_group("optimizer/vars").create_dataset("0", data=np.int32(3))
        change(file)
    return buffer.getvalue()


def keras_zip(config: dict[str, Any] | bytes, weights: bytes, **more: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1", "date_saved": "2026-01-01"}))
        archive.writestr("config.json", config if isinstance(config, bytes) else json.dumps(config))
        archive.writestr("model.weights.h5", weights)
        for name, content in more.items():
            archive.writestr(name.replace("__", "/"), content)
    return buffer.getvalue()


def legacy_h5(config: dict[str, Any], arrays: Arrays) -> bytes:
    """A whole model as .h5: the description as an attribute, arrays under names that another attribute lists."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        plain = json.loads(json.dumps(config))
        for one in plain["config"]["layers"]:
            del one["module"], one["registered_name"]
        file.attrs["model_config"] = json.dumps(plain)
        for name, values in arrays.items():
            held = file.create_group(f"model_weights/{name}")
            held.attrs["weight_names"] = [f"{name}/array_{place}" for place in range(len(values))]
            for place, value in enumerate(values):
                held.create_dataset(f"{name}/array_{place}", data=value)
    return buffer.getvalue()


def save_weights_h5(layers: dict[str, dict[str, np.ndarray]]) -> bytes:
    """What save_weights of Keras 1 and 2 writes: a group a layer, each array under the name that an attribute lists."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in layers]
        file.attrs["keras_version"] = b"2.15.0"
        for layer_name, arrays in layers.items():
            held = file.create_group(layer_name)
            held.attrs["weight_names"] = [name.encode() for name in arrays]
            for name, value in arrays.items():
                held.create_dataset(name, data=value)
    return buffer.getvalue()


def named(arrays: Arrays) -> dict[str, dict[str, np.ndarray]]:
    """The arrays under the names of Keras 2: embeddings; kernel and bias; gamma, beta and the moving averages."""
    last = {1: ("embeddings",), 2: ("kernel", "bias"), 4: ("gamma", "beta", "moving_mean", "moving_variance")}
    return {layer_name: {f"{layer_name}/{name}:0": value for name, value in zip(last[len(values)], values, strict=True)}
            for layer_name, values in arrays.items()}


def ranker() -> tuple[dict[str, Any], Arrays]:
    """Two fields, a list, a number, batch normalisation, and a sigmoid at the end."""
    config = functional([
        given("user"), given("item"), given("tags", 3), given("age", 1, "float32"),
        layer("Embedding", "user_table", "user", input_dim=30, output_dim=4, mask_zero=False),
        layer("Embedding", "item_table", "item", input_dim=20, output_dim=4, mask_zero=False),
        layer("Embedding", "tag_table", "tags", input_dim=7, output_dim=3, mask_zero=True),
        layer("Flatten", "u", "user_table"), layer("Reshape", "i", "item_table", target_shape=[-1]),
        layer("GlobalAveragePooling1D", "t", "tag_table", data_format="channels_last", keepdims=False),
        layer("Concatenate", "joined", ["u", "i", "t", "age"], axis=-1),
        layer("Dense", "first", "joined", units=6, activation="linear", use_bias=False),
        layer("BatchNormalization", "norm", "first", axis=-1, epsilon=0.001, center=True, scale=True),
        layer("Activation", "act", "norm", activation="tanh"), layer("Dropout", "drop", "act", rate=0.2),
        layer("Dense", "deep", "drop", units=1, activation="linear", use_bias=True),
        layer("Dot", "product", ["u", "i"], axes=1, normalize=False),
        layer("Add", "sum", ["deep", "product"]), layer("Activation", "score", "sum", activation="sigmoid")], "score")
    arrays = {"user_table": [numbers(30, 4)], "item_table": [numbers(20, 4)], "tag_table": [numbers(7, 3)],
              "first": [numbers(12, 6)], "deep": [numbers(6, 1), numbers(1)],
              "norm": [numbers(6), numbers(6), numbers(6), numbers(6, low=0.2)]}
    return config, arrays


def ranker_scores(arrays: Arrays, user: np.ndarray, item: np.ndarray, tags: np.ndarray, age: np.ndarray) -> np.ndarray:
    """What `ranker` gives, in numpy: logits."""
    u, i = arrays["user_table"][0][user], arrays["item_table"][0][item]
    there = (tags != 0)[..., None]
    t = (arrays["tag_table"][0][tags] * there).sum(1) / there.sum(1)
    x = np.concatenate([u, i, t, age[:, None]], 1) @ arrays["first"][0]
    gamma, beta, mean, variance = arrays["norm"]
    x = np.tanh((x - mean) / np.sqrt(variance + 1e-3) * gamma + beta)
    return (x @ arrays["deep"][0] + arrays["deep"][1]).squeeze(1) + (u * i).sum(1)


def two_fields() -> tuple[dict[str, Any], Arrays]:
    """A user and an item through a network."""
    config = functional([
        given("user"), given("item"), layer("Embedding", "user_table", "user", input_dim=9, output_dim=4),
        layer("Embedding", "item_table", "item", input_dim=7, output_dim=4),
        layer("Concatenate", "joined", ["user_table", "item_table"], axis=-1), layer("Flatten", "flat", "joined"),
        layer("Dense", "first", "flat", units=5, activation="relu", use_bias=True),
        layer("Dense", "score", "first", units=1, activation="sigmoid", use_bias=True)], "score")
    return config, {"user_table": [numbers(9, 4)], "item_table": [numbers(7, 4)], "first": [numbers(8, 5), numbers(5)],
                    "score": [numbers(5, 1), numbers(1)]}
