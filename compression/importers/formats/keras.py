"""A model of Keras 3, or weights of one beside the text of its layers: its layers are written as ONNX."""

from __future__ import annotations

from pathlib import Path

from compression.importers.beside import VOCABULARIES, json_of
from compression.importers.format import Format, Upload, importer
from compression.importers.format_sniffing import is_keras_file
from compression.importers.formats.weights import look, read

ENDINGS = (".keras", ".h5", ".hdf5")


def converted(upload: Upload) -> dict[str, Path]:
    """The layers as ONNX, with their data and what came beside the model."""
    from compression.importers.keras.file import read_keras
    from compression.importers.keras.graph import write_onnx

    graph = upload.scratch / f"{upload.name}.onnx"
    write_onnx(read_keras(upload.files, upload.name, upload.scratch / "keras"), graph, upload.name)
    return upload.beside | {path.name: path for path in upload.scratch.glob(f"{graph.name}*")}


def has_weights_alone(upload: Upload) -> bool:
    """Whether it holds weights of Keras 1 or 2, and no text of the layers lies beside them."""
    from compression.importers.keras.state import is_keras_weights

    described = any(name.lower().endswith(".json") and name != VOCABULARIES and isinstance(plain, dict)
                    and isinstance(plain.get("class_name"), str) for name, path in upload.beside.items()
                    if name.lower().endswith(".json") for plain in [json_of(path, name)])
    return is_keras_file(upload.path) and not described and is_keras_weights(upload.path, upload.name)


importer(Format(key="keras_weights", binary=True, title="weights of Keras 1 and 2", endings=(".h5", ".hdf5"),
                companions=(".json",),
                helpers=(VOCABULARIES,), sniff=has_weights_alone, look=look, read=read))
importer(Format(key="keras", binary=True, title="Keras model", endings=ENDINGS, companions=(".json",),
                helpers=("{stem}.json",), opens=converted, admits=dict.fromkeys(ENDINGS, is_keras_file),
                refusal='is not a model as Keras 3 saves it. Save it again: model.save("model.keras").'))
