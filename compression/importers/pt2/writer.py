"""Write the checked graph of a `.pt2` as ONNX, by our own exporter."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import onnx_ir as ir
import torch

from compression.importers.pt2.file import Pt2, Pt2Input
from compression.spec.errors import ModelError

OPSET = 21
_ROWS, _LENGTH = 3, 7  # of the example the graph is traced with; free axes stay free
_INPUT_DTYPES = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool, torch.float64,
                 torch.float32, torch.float16)


def write_onnx(program: Pt2, path: Path, name: str) -> None:
    """The program as an ONNX file; weights above a few bytes lie beside it. Raises ModelError."""
    for item in program.inputs:
        if item.dtype not in _INPUT_DTYPES:
            dtype = str(item.dtype).removeprefix("torch.")
            raise ModelError(f"Input {item.name!r} of {name} is {dtype}; columns can be bound to whole numbers and to "
                             "floats of 16, 32 and 64 bits.")
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.getLogger("torch.onnx").setLevel(logging.ERROR)
            converted = torch.onnx.export(
                program.module, tuple(_example(item) for item in program.inputs), dynamo=True, optimize=True,
                verbose=False, opset_version=OPSET, input_names=[item.name for item in program.inputs],
                dynamic_shapes=tuple({place: torch.export.Dim.DYNAMIC for place, length in enumerate(item.axes)
                                      if length is None} for item in program.inputs))
            _name_outputs(converted.model.graph, program.outputs)
            converted.save(str(path), external_data=True)
    except ModelError:
        raise
    except Exception as error:  # the exporter raises whatever its passes raise
        reason = str(error.__cause__ or error).strip().splitlines()[0][:300]
        raise ModelError(f"{name} was read, but its graph can't be written as ONNX ({reason}). Export the model to "
                         "ONNX instead.") from None


def _name_outputs(graph: ir.Graph, names: tuple[str, ...]) -> None:
    """Give the outputs the program's own names, as far as these are free in the graph."""
    taken = {value.name for value in (*graph.inputs, *graph.initializers.values())}
    taken |= {value.name for node in graph for value in node.outputs}
    for value, name in zip(graph.outputs, names, strict=False):
        if name not in taken:
            value.name = name
            taken.add(name)


def _example(item: Pt2Input) -> torch.Tensor:
    """Zeros of the input's shape: no id is out of range."""
    axes = [(_ROWS if place == 0 else _LENGTH) if length is None else length for place, length in enumerate(item.axes)]
    return torch.zeros(axes, dtype=item.dtype)
