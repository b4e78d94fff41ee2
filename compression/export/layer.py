"""Write one dense layer as an ONNX file of its own, in the very nodes it has inside an exported model."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from compression.export.fewer_nodes import fewer_nodes
from compression.export.onnx import IR_VERSION, OPSET, quiet
from compression.models.example import EXAMPLE_ROWS
from compression.models.watch import evaluating
from compression.spec.errors import ExportError

INPUT, OUTPUT = "x", "y"


def export_layer(layer: nn.Module, in_features: int, path: Path) -> Path:
    """x (B, in) float32 → y (B, out). Raises ExportError with the exporter's reason."""
    import onnx_ir
    from onnx_ir.passes import common

    from compression.layers.onnx_ops import TRANSLATIONS

    device = next((tensor.device for tensor in (*layer.parameters(), *layer.buffers())), torch.device("cpu"))
    with evaluating(layer), quiet():
        try:
            program = torch.onnx.export(
                layer, (torch.zeros(EXAMPLE_ROWS, in_features, device=device),), dynamo=True, optimize=False,
                verbose=False, opset_version=OPSET, input_names=[INPUT], output_names=[OUTPUT],
                custom_translation_table=TRANSLATIONS, dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
        except Exception as error:  # the exporter raises whatever its passes raise
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            raise ExportError(f"A layer can't be written as ONNX to be timed: {reason}") from error
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(program.model)
    fewer_nodes(program.model)
    program.model.ir_version = IR_VERSION
    onnx_ir.save(program.model, path)
    return path
