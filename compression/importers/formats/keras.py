"""A model of Keras 3, or weights of one beside the text of its layers: its layers are written as ONNX."""

from __future__ import annotations

from pathlib import Path

from compression.importers.format import Format, Upload, importer
from compression.importers.format_sniffing import is_keras_file

ENDINGS = (".keras", ".h5", ".hdf5")


def converted(upload: Upload) -> dict[str, Path]:
    """The layers as ONNX, with their data and what came beside the model."""
    from compression.importers.keras.file import read_keras
    from compression.importers.keras.graph import write_onnx

    graph = upload.scratch / "converted.onnx"
    write_onnx(read_keras(upload.files, upload.name, upload.scratch / "keras"), graph, upload.name)
    return upload.beside | {path.name: path for path in upload.scratch.glob("converted.onnx*")}


importer(Format(key="keras", title="Keras model", endings=ENDINGS, companions=(".json",),
                helpers=("{stem}.json",), opens=converted, admits=dict.fromkeys(ENDINGS, is_keras_file),
                refusal='is not a model as Keras 3 saves it. Save it again: model.save("model.keras").'))
