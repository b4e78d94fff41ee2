"""Importers: uploads become model folders. Nothing a person uploads is ever executed or unpickled.

    import_model({"model.onnx": path}, folder, data_folder=…, binding=…)   # in a sandboxed child process

What is read is a file each in `formats/`. Importing this loads neither torch nor onnx.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from compression.spec.records import ModelDescription

if TYPE_CHECKING:
    from compression.models.folder import LoadedModel


def import_model(files: dict[str, Path], out: Path, *, data_folder: Path | None = None,
                 binding: dict[str, Any] | None = None) -> ModelDescription:
    """Check uploaded files (name → path) in a sandbox and write the model folder `out`.

    `data_folder` (with data.yaml) helps to bind the inputs of an ONNX file to columns; `binding` says it outright.
    Raises ModelError with what is wrong and what to do; `out` is left untouched then.
    """
    from compression.importers.sandbox.process import read_in_sandbox

    return read_in_sandbox(files, out, data_folder=data_folder, binding=binding)


def describe_onnx(loaded: "LoadedModel") -> ModelDescription:
    """A foreign model that can only be measured as it is, tensor by tensor, with the reason in `notes`."""
    import onnx

    from compression.models.onnx.folder import BINDING, describe_file, read_binding

    graph = onnx.load(str(loaded.onnx_path), load_external_data=False)
    reason = read_binding(loaded.onnx_path.with_name(BINDING)).reason
    return describe_file(loaded.onnx_path, graph, loaded.signature, reason)
