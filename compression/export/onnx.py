"""Write a model as an ONNX file that ONNX Runtime runs as it is.

    exported = export_onnx(model, signature, folder / "model.onnx")

Named inputs in the order of the signature, a free batch length (and list length), opset 21, IR 10. The
exporter's optimiser stays off, because it folds small quantised tensors back into float. What the exporter
notes down about its own work is removed: in a small model it would outweigh the weights.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from compression.export.fewer_nodes import fewer_nodes
from compression.models.example import example_batch, fixed_width
from compression.models.structure import read_signature
from compression.models.watch import evaluating
from compression.spec.errors import ExportError
from compression.spec.names import PRODUCER
from compression.spec.signature import Input, Signature

if TYPE_CHECKING:
    import onnx
    import onnx_ir

OPSET = 21
IR_VERSION = 10
DATA_SUFFIX = ".data"
EXTERNAL_FROM_BYTES = 1024  # smaller tensors stay in the graph's file
PREFIX = "model."  # of every weight inside Scored


@dataclass(frozen=True)
class Exported:
    """An exported model on disk. `graph_bytes`: what the files weigh beyond the model's own tensors."""

    path: Path
    files: tuple[Path, ...]  # the graph first, then its data
    size_bytes: int
    graph_bytes: int

    @classmethod
    def of(cls, path: Path) -> Exported:
        """An ONNX file that was exported elsewhere, as it stands; all initializers count as tensors."""
        import onnx

        graph = onnx.load(path, load_external_data=False).graph
        held = sum(_tensor_bytes(tensor) for tensor in graph.initializer)
        data = sorted({path.parent / entry.value for tensor in graph.initializer for entry in tensor.external_data
                       if entry.key == "location"})
        files = (path, *data)
        size_bytes = sum(file.stat().st_size for file in files)
        return cls(path, files, size_bytes, max(0, size_bytes - held))


def _tensor_bytes(tensor: "onnx.TensorProto") -> int:
    import onnx

    width = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return math.prod(tensor.dims) * width


class Scored(nn.Module):
    """The model with its logits turned into what the signature promises.

    A model says what it gives in `output_form`; without it, logits. `keys` name the inputs in the batch, in the order
    of the signature, where they aren't the model's own names.
    """

    def __init__(self, model: nn.Module, signature: Signature, *, keys: Sequence[str] | None = None) -> None:
        super().__init__()
        self.model = model
        self.keys = keys and dict(zip(keys, (item.name for item in signature.inputs), strict=True))
        gives = getattr(model, "output_form", "logit")
        if gives != signature.output_form and gives != "logit":
            raise ExportError(f"The model gives a {gives}, but its signature promises a {signature.output_form}. "
                              "Correct output_form in the signature.")
        self.squash = gives != signature.output_form == "probability"

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        if self.keys:
            batch = {name: batch[key] for key, name in self.keys.items()}
        result = self.model(batch)
        return torch.sigmoid(result) if self.squash else result


def export_onnx(model: nn.Module, signature: Signature, path: Path) -> Exported:
    """Write `model` to `path` and its large tensors beside it; the model itself is left as it was.

    The file has the inputs of the signature that the model still reads (`read_signature`).
    Raises ExportError with the exporter's reason.
    """
    import onnx_ir

    signature = read_signature(model, signature)
    if signature.output in [item.name for item in signature.inputs]:
        raise ExportError(f"The output is named {signature.output!r} like an input. Give it another name in the "
                          "signature.")
    path = Path(path)
    device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
    with evaluating(model), quiet():
        scored = Scored(model, signature, keys=_plain_keys(signature))
        program = _convert(scored, signature, device)
        own = _tidy(program.model, signature, set(scored.state_dict()))
        path.parent.mkdir(parents=True, exist_ok=True)
        data = path.with_name(path.name + DATA_SUFFIX)
        for file in (path, data):
            file.unlink(missing_ok=True)
        onnx_ir.save(program.model, path, external_data=data.name, size_threshold_bytes=EXTERNAL_FROM_BYTES,
                     max_workers=1)
    if data.exists() and data.stat().st_size == 0:
        data.unlink()
    files = tuple(file for file in (path, data) if file.exists())
    size_bytes = sum(file.stat().st_size for file in files)
    return Exported(path, files, size_bytes, size_bytes - own)


def _free_axes(item: Input) -> dict[int, object]:
    axes: dict[int, object] = {0: torch.export.Dim.DYNAMIC}
    if item.kind == "multi" and not fixed_width(item):
        axes[1] = torch.export.Dim.DYNAMIC
    return axes


def _plain_keys(signature: Signature) -> list[str]:
    """Names for the inputs while they are exported: torch writes code with them, and columns may be called anything."""
    return [f"input_{place}" for place in range(len(signature.inputs))]


def _convert(scored: Scored, signature: Signature, device: torch.device) -> torch.onnx.ONNXProgram:
    from compression.layers.onnx_ops import TRANSLATIONS

    keys = _plain_keys(signature)
    batch = dict(zip(keys, example_batch(signature, device).values(), strict=True))
    try:
        return torch.onnx.export(
            scored, kwargs={"batch": batch}, dynamo=True, optimize=False, verbose=False, opset_version=OPSET,
            input_names=keys, output_names=[signature.output], custom_translation_table=TRANSLATIONS,
            dynamic_shapes={"batch": {key: _free_axes(item) for key, item in zip(keys, signature.inputs, strict=True)}})
    except Exception as error:  # the exporter raises whatever its passes raise
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise ExportError(f"The model can't be written as ONNX: {reason} "
                          "Leave out the last step of the recipe to find the layer.") from error


def _tidy(model: "onnx_ir.Model", signature: Signature, stored: set[str]) -> int:
    """Strip notes, write each constant once, shorten names. Gives the bytes of the model's own (`stored`) tensors."""
    from onnx_ir.passes import common

    graph = model.graph
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    own = {name for name in graph.initializers if name in stored}
    _share_constants(graph, own)
    fewer_nodes(model)
    _share_constants(graph, own)
    common.CommonSubexpressionEliminationPass()(model)
    common.RemoveUnusedNodesPass()(model)
    common.ClearMetadataAndDocStringPass()(model)
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = PRODUCER, None
    model.metadata_props.clear()
    graph.name = "model"
    _shorten_names(graph, own, signature)
    _name_axes(graph, signature)
    _widest_first(graph)
    return sum(value.const_value.nbytes for name, value in graph.initializers.items() if f"{PREFIX}{name}" in own)


def _share_constants(graph: "onnx_ir.Graph", own: set[str]) -> None:
    """One initializer for equal constants of the exporter; weights are never merged, so that their bytes add up.

    Nor are zero points of weights: ONNX Runtime, on a CPU without VNNI, shifts each once, and refuses a second time.
    """
    first: dict[tuple, Any] = {}
    for name, value in list(graph.initializers.items()):
        if name in own:
            continue
        array = value.const_value.numpy()
        if str(array.dtype) == "int8" and array.ndim < 2:
            continue
        kept = first.setdefault((str(array.dtype), array.shape, array.tobytes()), value)
        if kept is not value:
            value.replace_all_uses_with(kept)
            del graph.initializers[name]


def _shorten_names(graph: "onnx_ir.Graph", own: set[str], signature: Signature) -> None:
    """Inputs are named as in the signature, weights by their path; other values get a number, nodes go unnamed."""
    taken = {signature.output, *(item.name for item in signature.inputs)}
    for name in sorted(own & set(graph.initializers)):
        short = name.removeprefix(PREFIX)
        if short not in taken:
            graph.initializers[name].name = short
    taken |= set(graph.initializers)
    numbers = (str(number) for number in count() if str(number) not in taken)
    for name, value in list(graph.initializers.items()):
        if name not in own and f"{PREFIX}{name}" not in own:
            value.name = next(numbers)
    for value, item in zip(graph.inputs, signature.inputs, strict=True):
        value.name = item.name
    for value in (*graph.inputs, *graph.outputs, *graph.initializers.values()):
        value.metadata_props.clear()
    for node in graph:
        node.name = None
        for value in node.outputs:
            if not value.is_graph_output():
                value.name, value.shape, value.type = next(numbers), None, None
                value.metadata_props.clear()


def _name_axes(graph: "onnx_ir.Graph", signature: Signature) -> None:
    import onnx_ir

    for value, item in zip(graph.inputs, signature.inputs, strict=True):
        width = fixed_width(item) or (f"{item.length_of or item.name}_length" if item.kind == "multi" else None)
        value.shape = onnx_ir.Shape(["batch", width] if width else ["batch"])
    if signature.output_form != "vector":  # its width is known to the exporter
        graph.outputs[0].shape = onnx_ir.Shape(["batch"])
        return
    graph.outputs[0].shape = onnx_ir.Shape(["batch", *list(graph.outputs[0].shape or [None])[1:]])


def _widest_first(graph: "onnx_ir.Graph") -> None:
    """Tensors are packed without gaps; with the widest first, every number lies where its width divides."""
    values = sorted(graph.initializers.values(), key=lambda value: -value.const_value.dtype.itemsize)
    graph.initializers.clear()
    for value in values:
        graph.register_initializer(value)


@contextmanager
def quiet() -> Iterator[None]:
    """The exporter's remarks about packages that aren't needed and names that it drops stay off the screen."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)
