"""Read a Keras model: its layers are written as ONNX, which goes the way of every ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compression.importers.keras.file import read_keras
from compression.importers.keras.graph import write_onnx
from compression.spec.records import ModelDescription


def read_keras_model(files: dict[str, Path], name: str, out: Path, *, given: dict[str, Any],
                     vocabularies: dict[str, list[str]], data_folder: Path | None) -> ModelDescription:
    """Check, convert and bind a model of Keras, and write the model folder. Raises ModelError."""
    from compression.importers.onnx.reader import read_onnx

    graph = out.parent / "converted.onnx"
    write_onnx(read_keras(files, name, out.parent / "keras"), graph, name)
    data = {file.name: file for file in out.parent.glob("converted.onnx.data")}
    return read_onnx(graph, "converted.onnx", {"converted.onnx": graph, **data}, out, given=given,
                     vocabularies=vocabularies, data_folder=data_folder)
