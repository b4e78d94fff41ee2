"""The four ways torch writes a model, each with a dynamic batch."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.importers.architectures import Foreign


def exported_program(model: torch.nn.Module, foreign: Foreign, path: Path) -> None:
    torch.export.save(torch.export.export(model, tuple(foreign.inputs.values()), dynamic_shapes=_axes(foreign)), path)


def dynamo_onnx(model: torch.nn.Module, foreign: Foreign, path: Path) -> None:
    torch.onnx.export(model, tuple(foreign.inputs.values()), path, input_names=list(foreign.inputs), dynamo=True,
                      output_names=["logit"], dynamic_shapes=_axes(foreign), verbose=False)


def torchscript_onnx(model: torch.nn.Module, foreign: Foreign, path: Path) -> None:
    axes = {name: {0: "batch"} for name in (*foreign.inputs, "logit")}
    torch.onnx.export(model, tuple(foreign.inputs.values()), path, input_names=list(foreign.inputs), dynamo=False,
                      output_names=["logit"], dynamic_axes=axes, opset_version=17)


def state_dict(model: torch.nn.Module, foreign: Foreign, path: Path) -> None:
    torch.save(model.state_dict(), path)


FORMATS: dict[str, tuple[str, Callable[[torch.nn.Module, Foreign, Path], None]]] = {
    ".pt2": ("m.pt2", exported_program), "ONNX (dynamo)": ("m.onnx", dynamo_onnx),
    "ONNX (TorchScript)": ("m.onnx", torchscript_onnx), "state dict": ("m.pth", state_dict),
}


def write(model: torch.nn.Module, foreign: Foreign, form: str, folder: Path) -> dict[str, Path]:
    """The files of an upload, by name."""
    name, export = FORMATS[form]
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export(model.eval(), foreign, folder / name)
    return {file.name: file for file in sorted(folder.iterdir())}


def _axes(foreign: Foreign) -> tuple[dict[int, object], ...]:
    return tuple({0: torch.export.Dim.DYNAMIC} for _ in foreign.inputs)
