"""A foreign ONNX model as RecPress keeps it: model.onnx with its data, binding.json, vocabularies.json.

What is kept gives one probability a row: of several outputs one is chosen, and a logit gets a Sigmoid. A file whose
operators the interpreter doesn't know is kept as it is and can be measured; binding.json says so, with the reason.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Literal

from onnx import ModelProto, TensorProto, helper
from pydantic import ValidationError

from compression.models.folder import ONNX, VOCABULARIES, LoadedModel, read_vocabularies
from compression.models.onnx.check import graph_inputs, read_checked
from compression.models.onnx.names import names_in
from compression.models.onnx.values import Unsupported
from compression.spec.errors import ModelError
from compression.spec.names import free_name
from compression.spec.records import Layer, ModelDescription, Part, Record, Tensor
from compression.spec.signature import OUTPUT, Signature

BINDING = "binding.json"
ARCHITECTURE = "onnx"
RESERVED = {ONNX, BINDING, VOCABULARIES, "config.json", "model.safetensors"}
_MAX_BINDING_BYTES = 2_000_000
_DTYPES = {TensorProto.FLOAT: "float32", TensorProto.DOUBLE: "float32", TensorProto.FLOAT16: "float16",
           TensorProto.BFLOAT16: "float16", TensorProto.INT8: "int8", TensorProto.UINT8: "uint8",
           TensorProto.INT32: "int32", TensorProto.INT64: "int64", TensorProto.BOOL: "bool",
           TensorProto.INT4: "int8", TensorProto.UINT4: "uint8"}


class Binding(Record):
    """What binding.json holds. `reason` says why a file that is not readable can only be measured as it is."""

    format: Literal["recpress-onnx"] = "recpress-onnx"
    version: Literal[1] = 1
    signature: Signature
    readable: bool = True
    reason: str = ""


def score_name(model: ModelProto) -> str:
    """What the output is named in the file that is kept: `score`, or another name where an input has that one."""
    return free_name(OUTPUT, [value.name for value in graph_inputs(model)])


def with_one_score(model: ModelProto, output: str, *, is_probability: bool) -> ModelProto:
    """The model with one output, the probability (`score_name`): the very same where it has that, else a copy.

    Operators that only other outputs need stay; the runtime drops them.
    """
    name = score_name(model)
    if is_probability and [value.name for value in model.graph.output] == [name]:
        return model
    wanted, kept = output, ModelProto()
    kept.CopyFrom(model)
    graph = kept.graph
    taken = names_in(graph)
    if name in taken and (output != name or not is_probability):  # an inner value of that name steps aside
        aside = free_name(name, taken)
        for node in graph.node:
            node.input[:] = [aside if one == name else one for one in node.input]
            node.output[:] = [aside if one == name else one for one in node.output]
        for tensor in graph.initializer:
            tensor.name = aside if tensor.name == name else tensor.name
        output = aside if output == name else output
    if not is_probability or output != name:
        graph.node.append(helper.make_node("Identity" if is_probability else "Sigmoid", [output], [name]))
    declared = next(value for value in model.graph.output if value.name == wanted)
    del graph.output[:]
    graph.output.append(declared)
    graph.output[0].name = name
    shapes = [value for value in graph.value_info if value.name != name]
    del graph.value_info[:]
    graph.value_info.extend(shapes)
    return kept


def write_onnx_folder(folder: Path, model: ModelProto, data: dict[str, Path], binding: Binding,
                      vocabularies: dict[str, list[str]]) -> None:
    """Write a checked model, the data files it uses, its binding and vocabularies."""
    folder.mkdir(parents=True, exist_ok=True)
    used = {entry.value for tensor in model.graph.initializer for entry in tensor.external_data
            if entry.key == "location"}
    for name in sorted(used):
        if name in RESERVED:
            raise ModelError(f"The external data file is named {name}, which RecPress needs for itself; rename it.")
        shutil.copyfile(data[name], folder / name)
    (folder / ONNX).write_bytes(model.SerializeToString())
    (folder / BINDING).write_text(binding.model_dump_json(indent=1), encoding="utf-8")
    (folder / VOCABULARIES).write_text(json.dumps(vocabularies, ensure_ascii=False), encoding="utf-8")


def read_onnx_folder(folder: Path) -> LoadedModel:
    """The model in a folder as written above; `module` is None where it can only be measured as it is."""
    from compression.models.onnx.graph import OnnxModel
    from compression.models.structure import declare_padding

    folder = Path(folder)
    binding = read_binding(folder / BINDING)
    vocabularies = read_vocabularies(folder / VOCABULARIES, binding.signature)
    data = {path.name: path for path in folder.iterdir() if path.is_file() and path.name not in RESERVED}
    model = read_checked(folder / ONNX, data)
    module = None
    if binding.readable:
        try:
            module = declare_padding(OnnxModel(model, data).eval())
        except Unsupported as error:
            raise ModelError(f"{ONNX} can't be read: {error}. Import the model again.") from None
    return LoadedModel(module, binding.signature, vocabularies, ARCHITECTURE, {}, folder / ONNX)


def read_binding(path: Path) -> Binding:
    """The binding of a model folder. Raises ModelError where there is none, or it isn't one."""
    if not path.is_file():
        raise ModelError(f"{ONNX} has no {BINDING} beside it, which says what its inputs are. Import the model first.")
    if path.stat().st_size > _MAX_BINDING_BYTES:
        raise ModelError(f"{path.name} has more than {_MAX_BINDING_BYTES:,} bytes.")
    try:
        return Binding.model_validate_json(path.read_bytes())
    except ValidationError as error:
        where = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()[:3])
        raise ModelError(f"{path.name} can't be read: {where}.") from None


def describe_file(path: Path, model: ModelProto, signature: Signature, reason: str) -> ModelDescription:
    """A file that is measured as it is, tensor by tensor, for the treemap."""
    tables = {node.input[0]: node.input[1] for node in model.graph.node
              if node.op_type in ("Gather", "GatherBlockQuantized") and len(node.input) > 1}
    inputs = {item.name for item in signature.inputs}
    layers, held = [], 0
    for tensor in model.graph.initializer:
        shape = tuple(tensor.dims)
        if math.prod(shape) < 2 or tensor.data_type not in _DTYPES:
            continue
        is_table = tensor.name in tables and len(shape) == 2
        record = Tensor(name=tensor.name, dtype=_DTYPES[tensor.data_type], shape=_stored(tensor))
        field = tables.get(tensor.name)
        layers.append(Layer(name=tensor.name, kind="Tensor", part=Part.EMBEDDING if is_table else Part.DENSE,
                            shape=shape, tensors=(record,), field=field if field in inputs else None, ordered=False))
        held += record.size_bytes
    files = {path, *(path.parent / entry.value for tensor in model.graph.initializer for entry in tensor.external_data
                     if entry.key == "location")}
    size_bytes = sum(file.stat().st_size for file in files)
    return ModelDescription(architecture=ARCHITECTURE, layers=tuple(layers), notes=(reason,),
                            signature=signature.model_dump(mode="json"), graph_bytes=max(0, size_bytes - held))


def _stored(tensor: TensorProto) -> tuple[int, ...]:
    """Shape in bytes for half-byte types, which the record has no name for; the shape itself otherwise."""
    if tensor.data_type in (TensorProto.INT4, TensorProto.UINT4):
        return (-(-math.prod(tensor.dims) // 2),)
    return tuple(length * (2 if tensor.data_type == TensorProto.DOUBLE and place == 0 else 1)
                 for place, length in enumerate(tensor.dims))
