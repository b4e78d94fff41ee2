"""The description of a model that was read: its layers, and what its exported file weighs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from compression.export.onnx import export_onnx
from compression.models.folder import LoadedModel
from compression.models.structure import describe
from compression.spec.records import ModelDescription


def describe_read(loaded: LoadedModel, scratch: Path) -> ModelDescription:
    """The description of a model, which is exported into `scratch` for it. Raises ExportError."""
    graph_bytes = exported_graph_bytes(loaded.module, loaded.signature, scratch)
    return describe(loaded.module, loaded.signature, architecture=loaded.architecture, graph_bytes=graph_bytes)


def exported_graph_bytes(module: Any, signature: Any, scratch: Path) -> int:
    """What the exported file weighs beyond the layers' tensors, by exporting it."""
    with tempfile.TemporaryDirectory(prefix="export-", dir=scratch) as folder:
        return export_onnx(module, signature, Path(folder) / "model.onnx").graph_bytes
