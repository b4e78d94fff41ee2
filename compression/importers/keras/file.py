"""A Keras model out of its files: the description of its layers, and their arrays by layer."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compression.importers.archive import unpack
from compression.importers.keras.weights import keras_weights, open_weights, text_attribute
from compression.spec.errors import ModelError

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
MAX_CONFIG_BYTES = 16 << 20
MAX_DEPTH = 100


@dataclass(frozen=True)
class KerasModel:
    """`config`: the model as Keras serialises it. `weights`: layer's name → arrays."""

    config: dict[str, Any]
    weights: dict[str, list[np.ndarray]]


def read_keras(files: dict[str, Path], name: str, scratch: Path) -> KerasModel:
    """The model in `name`; weights alone need the JSON of model.to_json() among the files. Raises ModelError."""
    if name.lower().endswith(".keras"):
        inside = unpack(files[name], name, scratch)  # first: it says what is wrong with a broken zip
        with zipfile.ZipFile(files[name]) as archive:
            strangers = sorted({Path(member).name for member in archive.namelist()} - {CONFIG, METADATA, WEIGHTS, ""})
        if strangers:
            raise ModelError(f"{name} holds {strangers[0]!r}; read are {CONFIG}, {METADATA} and {WEIGHTS}. Layers that "
                             "keep vocabularies of their own (StringLookup, TextVectorization) are not read: leave "
                             "them out of the model.")
        if CONFIG not in inside or WEIGHTS not in inside:
            raise ModelError(f"{name} lacks {CONFIG if CONFIG not in inside else WEIGHTS}. Save the model again.")
        with open_weights(inside[WEIGHTS], name) as file:
            return KerasModel(_config(_text(inside[CONFIG], CONFIG), CONFIG), keras_weights(file, name))
    with open_weights(files[name], name) as file:
        text = text_attribute(file, "model_config", name)
        if text:
            return KerasModel(_config(text, name), keras_weights(file, name))
        configs = [(other, plain) for other, path in sorted(files.items()) if other.lower().endswith(".json")
                   for plain in [_config(_text(path, other), other)] if isinstance(plain.get("class_name"), str)]
        if len(configs) != 1:
            raise ModelError(f"{name} holds weights and no description of the layers. Save the whole model "
                             '(model.save("model.keras")), or upload the text of model.to_json() as a .json beside it.')
        return KerasModel(configs[0][1], keras_weights(file, name))


def _text(path: Path, name: str) -> str:
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise ModelError(f"{name} has {path.stat().st_size:,} bytes; at most {MAX_CONFIG_BYTES:,} are read.")
    return path.read_text(encoding="utf-8", errors="replace")


def _config(text: str, name: str) -> dict[str, Any]:
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"The description of the layers in {name} is not valid JSON ({error}).") from None
    if not isinstance(plain, dict):
        raise ModelError(f"The description of the layers in {name} is no object. Save the model with Keras again.")
    return plain
