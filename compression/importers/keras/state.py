"""Weights of Keras 1 and 2 without the text of their layers, under the names that torch has for such layers.

    state, notes = keras_state(path, "model_weights.h5")      # {"dense_1.weight": (out, in), …}

What a layer is, its weights' names say: embeddings, kernel and bias, gamma, beta and moving averages. Which layer
reads which is then told by names and shapes, as of any weights, and asked where these don't decide.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compression.importers.keras.weights import legacy_arrays, open_weights
from compression.spec.errors import ModelError

MOST_LAYERS = 5000
EPSILON, OURS = 1e-3, 1e-5  # of batch normalisation, in Keras and in torch
_ROLES = {"embeddings": "table", "kernel": "kernel", "W": "matrix", "bias": "bias", "b": "bias", "gamma": "gamma",
          "beta": "beta", "moving_mean": "mean", "running_mean": "mean", "moving_variance": "variance",
          "running_std": "variance"}  # what Keras 1 called a deviation is the variance
_WHOLE = 'Load the weights into the model with Keras 3, and save it whole: model.save("model.keras").'


def is_keras_weights(path: Path, name: str) -> bool:
    """Whether an HDF5 file is what save_weights of Keras 1 and 2 writes: layers by name, and no description of them."""
    with open_weights(path, name) as file:
        return "layer_names" in file.attrs and "model_config" not in file.attrs


def keras_state(path: Path, name: str) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors by name, and what was assumed. Raises ModelError for a layer whose weights don't say what it is."""
    state: dict[str, Tensor] = {}
    has_norm = False
    with open_weights(path, name) as file:
        for layer in _texts(file.attrs["layer_names"])[:MOST_LAYERS]:
            if layer not in file:
                raise ModelError(f"{name} lacks the layer {layer[:60]!r} that it lists. Save the weights again.")
            parts: dict[str, dict[str, np.ndarray]] = {}
            for listed, array in legacy_arrays(file[layer], f"/{layer}", name):
                branch, _, last = listed.rpartition("/")
                last = last.partition(":")[0].removeprefix(f"{layer}_")
                parts.setdefault(branch.rpartition("/")[2] or layer, {})[_ROLES.get(last, last)] = array
            for part, arrays in parts.items():
                state |= _tensors(re.sub(r"\W", "_", part), arrays, name)
                has_norm |= "variance" in arrays
    notes = [f"Batch normalisation is taken with the epsilon that Keras has by default, {EPSILON}."] if has_norm else []
    return state, notes


def _tensors(layer: str, arrays: dict[str, np.ndarray], name: str) -> dict[str, Tensor]:
    """The weights of one layer as torch keeps them. Raises ModelError for a layer of another kind."""
    roles = set(arrays)
    if roles == {"matrix"}:  # Keras 1: of a table and of a dense layer without a bias
        roles = {"table"} if re.search("embed|lookup", layer) else {"kernel"} if "dense" in layer else roles
        arrays = dict.fromkeys(roles, arrays["matrix"])
    if roles == {"matrix", "bias"}:
        arrays = {"kernel": arrays["matrix"], "bias": arrays["bias"]}
    found: dict[str, Any] = {}
    if set(arrays) == {"table"} and arrays["table"].ndim == 2:
        return {f"{layer}.embedding.weight": _tensor(arrays["table"])}
    if "kernel" in arrays and set(arrays) <= {"kernel", "bias"} and arrays["kernel"].ndim in (2, 3):
        kernel = arrays["kernel"].transpose()  # (in, out) and (length, in, out)
        found = {"weight": kernel, "bias": arrays.get("bias", np.zeros(len(kernel), np.float32))}
    if {"mean", "variance"} <= set(arrays) <= {"mean", "variance", "gamma", "beta"} and arrays["variance"].ndim == 1:
        found = {"weight": arrays.get("gamma", np.ones_like(arrays["mean"])), "running_mean": arrays["mean"],
                 "bias": arrays.get("beta", np.zeros_like(arrays["mean"])),
                 "running_var": arrays["variance"] + np.float32(EPSILON - OURS)}
    if not found:
        held = ", ".join(f"{role} {tuple(array.shape)}" for role, array in arrays.items())
        raise ModelError(f"Nothing in {name} says what the layer {layer[:60]!r} is that holds {held[:200]}. {_WHOLE}")
    return {f"{layer}.{last}": _tensor(array) for last, array in found.items()}


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))


def _texts(listed: Any) -> list[str]:
    return [one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one) for one in np.ravel(listed).tolist()]
