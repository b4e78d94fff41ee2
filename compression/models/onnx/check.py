"""Look at an ONNX file before anything is allocated or run: what it claims has to fit what is there.

Checked on the parsed graph alone: operators and their domains, sub-graphs, functions, inputs, and of every tensor its
type, shape, bytes and where they lie. The values are read afterwards, in pieces, for NaN and infinity.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import Message
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from compression.models.onnx.bags import Bag, find_bags, with_plain_bags
from compression.models.onnx.branches import is_squeeze, without_squeezes
from compression.models.onnx.labels import without_labels
from compression.models.onnx.plain_inputs import fixed_batch, with_batch_first, with_free_batch, with_plain_types
from compression.models.onnx.settings import check_settings
from compression.spec.errors import ModelError
from compression.spec.names import PLAIN_NAME

MAX_NODES = 20_000
MAX_GRAPH_BYTES = 2**31 - 1  # protobuf can't hold more
OPSETS = range(7, 25)
BITS = {TensorProto.FLOAT: 32, TensorProto.DOUBLE: 64, TensorProto.FLOAT16: 16, TensorProto.BFLOAT16: 16,
        TensorProto.INT8: 8, TensorProto.UINT8: 8, TensorProto.INT16: 16, TensorProto.UINT16: 16,
        TensorProto.INT32: 32, TensorProto.UINT32: 32, TensorProto.INT64: 64, TensorProto.UINT64: 64,
        TensorProto.BOOL: 8, TensorProto.INT4: 4, TensorProto.UINT4: 4}
MICROSOFT_OPERATORS = {
    "BiasGelu", "DequantizeLinear", "DynamicQuantizeMatMul", "FastGelu", "FusedGemm", "FusedMatMul",
    "GatherBlockQuantized", "Gelu", "MatMulInteger16", "MatMulIntegerToFloat", "MatMulNBits", "QAttention", "QGemm",
    "QLinearAdd", "QLinearConcat", "QLinearLeakyRelu", "QLinearMul", "QLinearReduceMean", "QLinearSigmoid",
    "QLinearSoftmax", "QuantizeLinear", "QuickGelu", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization",
}
_GRAPHS = (AttributeProto.GRAPH, AttributeProto.GRAPHS)
_TENSORS = (AttributeProto.TENSOR, AttributeProto.TENSORS)
_CHUNK = 1 << 22  # values


def read_checked(path: Path, data: dict[str, Path], *, name: str = "model.onnx") -> ModelProto:
    """The graph of an ONNX file, checked; `data` are the external data files that came with it, by name;
    `name` is what messages call the file.

    External tensors are left where they are. Raises ModelError for the first thing that is wrong.
    """
    size = path.stat().st_size
    if size > MAX_GRAPH_BYTES:
        raise ModelError(f"{name} has {size:,} bytes; an ONNX file holds at most 2 GB. "
                         "Save its large tensors as external data and upload both files.")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception:  # protobuf's errors share no base class
        raise ModelError(f"{name} is not a whole ONNX file: it is truncated or of another format. Export it again and "
                         "upload it.") from None
    if not _is_text(model):
        raise ModelError(f"{name} has a name that is no text (UTF-8). It was damaged or changed; export it again.")
    _check_frame(model, name)
    model = without_labels(model)
    bags = find_bags(model)
    for node in model.graph.node:
        _check_node(node, name, is_known=(bool(node.output) and node.output[0] in bags) or is_squeeze(node))
    held = size + sum(file.stat().st_size for file in data.values())
    claimed = 0
    for tensor in stored_tensors(model):
        claimed += _check_tensor(tensor, data, name)
        if claimed > held:
            raise ModelError(f"The tensors of {name} claim more than the {held:,} bytes that were uploaded: "
                             "several of them lie over one another. Export the model with each tensor stored once.")
    for tensor in stored_tensors(model):
        _check_values(tensor, data, name)
    model = with_batch_first(with_plain_types(_without_control_flow(model, bags, name)))
    if batch := fixed_batch(graph_inputs(model)):
        model = with_free_batch(model, batch)
    check_inputs(model, name)
    return model


def _is_text(message: Message) -> bool:
    """Whether every text in it, at any depth, is UTF-8: protobuf gives other bytes as they are, or raises."""
    try:
        fields = message.ListFields()
    except UnicodeDecodeError:
        return False
    for field, value in fields:
        values = value if field.is_repeated else (value,)
        if field.type == field.TYPE_MESSAGE and not all(map(_is_text, values)):
            return False
        if field.type == field.TYPE_STRING and not all(isinstance(text, str) for text in values):
            return False
    return True


def stored_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor in the file: initializers and constants in attributes."""
    yield from model.graph.initializer
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.type in _TENSORS:
                yield from (attribute.t, *attribute.tensors) if attribute.HasField("t") else attribute.tensors


def graph_inputs(model: ModelProto) -> list[ValueInfoProto]:
    """What a caller has to give: the inputs that no initializer fills."""
    filled = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in filled]


def check_inputs(model: ModelProto, file: str) -> None:
    """Inputs are numbers or ids of one or two axes, the first of them a free batch."""
    inputs = graph_inputs(model)
    if not inputs:
        raise ModelError(f"{file} has no inputs, so there is nothing to bind to the columns of a dataset.")
    if not model.graph.output:
        raise ModelError(f"{file} has no output.")
    for value in inputs:
        kind = value.type.tensor_type
        if kind.elem_type not in (TensorProto.INT64, TensorProto.INT32, TensorProto.FLOAT):
            name = TensorProto.DataType.Name(kind.elem_type) if kind.elem_type in TensorProto.DataType.values() else "?"
            raise ModelError(f"Input {value.name!r} of {file} is {name}; ids (INT64, INT32) and numbers (FLOAT) can be "
                             "bound to columns. Cast it inside the model.")
        axes = list(kind.shape.dim)
        if not kind.HasField("shape"):
            raise ModelError(f"Input {value.name!r} of {file} declares no shape, so nothing says how many columns it "
                             "reads. Export the model with shapes: (batch) or (batch, columns).")
        if len(axes) not in (1, 2):
            raise ModelError(f"Input {value.name!r} of {file} has {len(axes)} axes; (batch) or (batch, columns) can be "
                             "bound to a dataset.")
        if axes[0].HasField("dim_value") and len(axes) == 2 and not axes[1].HasField("dim_value"):
            raise ModelError(f"Input {value.name!r} of {file} has a first axis of {axes[0].dim_value} and a free "
                             "second one. Rows come first here. If the batch is the second axis, declare the input as "
                             "(batch, columns), transpose it inside the model, and export again; if it is the first, "
                             "export with a dynamic first axis.")
        if axes[0].HasField("dim_value"):
            raise ModelError(f"Input {value.name!r} of {file} has a fixed batch of {axes[0].dim_value}. Export the "
                             "model with a dynamic first axis, so that one row and a thousand can be scored.")


def _check_frame(model: ModelProto, file: str) -> None:
    graph = model.graph
    if not graph.node:
        raise ModelError(f"{file} is not a whole ONNX file: its graph has no operators. "
                         "It is truncated or of another format; export it again and upload it.")
    if len(graph.node) > MAX_NODES:
        raise ModelError(f"{file} has {len(graph.node):,} operators; at most {MAX_NODES:,} are read.")
    if model.functions:
        names = ", ".join(sorted({function.name for function in model.functions})[:5])
        raise ModelError(f"{file} defines functions of its own ({names}). Export it with functions inlined "
                         "(onnx.inliner.inline_local_functions).")
    if model.training_info or graph.sparse_initializer:
        raise ModelError(f"{file} holds training graphs or sparse tensors, which are not read. Export it for "
                         "inference.")
    opset = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), None)
    if opset is None:  # operators of another domain alone, as CatBoost writes its trees
        for node in graph.node:
            _check_node(node, file)
    if opset not in OPSETS:
        raise ModelError(f"{file} uses ONNX opset {opset or 'none'}; {OPSETS[0]} to {OPSETS[-1]} are read. "
                         "Export it with opset 21.")


def _without_control_flow(model: ModelProto, bags: dict[str, Bag], file: str) -> ModelProto:
    """The model with its bags and squeezes as plain operators. Raises ModelError for a branch that stays."""
    if bags:
        opset = next(item.version for item in model.opset_import if item.domain in ("", "ai.onnx"))
        model = with_plain_bags(model, bags, opset)
    model = without_squeezes(model)
    for node in model.graph.node:
        _check_node(node, file)
    return model


def _check_node(node: NodeProto, file: str, *, is_known: bool = False) -> None:
    """`is_known`: its sub-graphs have been recognised as ones that only compute."""
    where = f"Operator {node.op_type} (node {node.name or node.output[0] if node.output else '?'!r}) of {file}"
    if node.domain == "com.microsoft":
        if node.op_type not in MICROSOFT_OPERATORS:
            raise ModelError(f"{where} is none of the com.microsoft operators that are allowed: "
                             f"{', '.join(sorted(MICROSOFT_OPERATORS))}.")
    elif node.domain == "ai.onnx.ml":
        raise ModelError(f"{where} {_of_machine_learning(node.op_type)}")
    elif node.domain not in ("", "ai.onnx"):
        raise ModelError(f"{where} comes from the domain {node.domain!r}: custom operators need code that is not in "
                         "the file. Export the model with standard operators.")
    elif not onnx.defs.has(node.op_type):
        raise ModelError(f"{where} is not a standard ONNX operator. Export the model with standard operators.")
    check_settings(node, where)
    if not is_known and any(attribute.type in _GRAPHS for attribute in node.attribute):
        raise ModelError(f"{where} holds a sub-graph: control flow (If, Loop, Scan) is not read. "
                         "Export the model without branches and loops that depend on the data.")


def _of_machine_learning(operator: str) -> str:
    """What an operator of ai.onnx.ml is, and what would help, after "Operator … of …"."""
    if operator.startswith("TreeEnsemble"):
        return ("is a tree ensemble, as scikit-learn, LightGBM, XGBoost and CatBoost export it. Trees have no tables "
                "and dense layers that could be compressed; train a model on the same data instead.")
    if operator in ("LinearRegressor", "LinearClassifier"):
        return ("is a linear model of scikit-learn, with nothing that could be compressed. Train logistic regression "
                "on the same data instead.")
    if operator.startswith("SVM"):
        return "is a support vector machine, which has no tables and dense layers. Train a model on the data instead."
    return ("prepares or labels values as scikit-learn's pipelines do (ai.onnx.ml). Export the network alone, from its "
            "ids and numbers on and up to its score; where ids come from a list of values, upload that list as "
            "vocabularies.json beside it.")


def _check_tensor(tensor: TensorProto, data: dict[str, Path], file: str) -> int:
    """Bytes the tensor takes. Raises ModelError unless exactly as many are there."""
    name = tensor.name or "a constant"
    if tensor.data_type not in BITS:
        known = tensor.data_type in TensorProto.DataType.values()
        kind = TensorProto.DataType.Name(tensor.data_type) if known else str(tensor.data_type)
        raise ModelError(f"Tensor {name!r} of {file} has the type {kind}, which is not read; numbers are.")
    if any(length < 0 for length in tensor.dims):
        raise ModelError(f"Tensor {name!r} of {file} has a negative length: {_times(tensor)}.")
    n_bytes = -(-math.prod(tensor.dims) * BITS[tensor.data_type] // 8)
    if tensor.data_location == TensorProto.EXTERNAL:
        _check_place(tensor, n_bytes, data, file)
    elif tensor.HasField("raw_data"):
        if len(tensor.raw_data) != n_bytes:
            raise ModelError(f"Tensor {name!r} of {file} ({_times(tensor)}) needs {n_bytes:,} bytes, but "
                             f"{len(tensor.raw_data):,} are there. The file is truncated or was changed.")
    else:
        n_values = max(len(tensor.float_data), len(tensor.int32_data), len(tensor.int64_data), len(tensor.double_data),
                       len(tensor.uint64_data))
        expected = n_bytes if BITS[tensor.data_type] == 4 else math.prod(tensor.dims)
        if n_values != expected:
            raise ModelError(f"Tensor {name!r} of {file} ({_times(tensor)}) needs {expected:,} values, but "
                             f"{n_values:,} are there. The file is truncated or was changed.")
    return n_bytes


def _check_place(tensor: TensorProto, n_bytes: int, data: dict[str, Path], file: str) -> None:
    place = {entry.key: entry.value for entry in tensor.external_data}
    location = place.get("location", "")
    if not PLAIN_NAME.fullmatch(location):
        raise ModelError(f"Tensor {tensor.name!r} of {file} points to {location!r}. External data has to be a file of "
                         "a plain name beside the model; paths are not followed.")
    if location not in data:
        raise ModelError(f"{file} needs the external data file {location!r}, which was not uploaded. "
                         "Upload it together with the model.")
    numbers = []
    for key in ("offset", "length"):
        text = place.get(key, "0" if key == "offset" else str(n_bytes))
        if not re.fullmatch(r"[0-9]{1,15}", text):
            raise ModelError(f"Tensor {tensor.name!r} of {file} has the {key} {text[:40]!r}; a whole number is needed.")
        numbers.append(int(text))
    offset, length = numbers
    size = data[location].stat().st_size
    if length != n_bytes:
        raise ModelError(f"Tensor {tensor.name!r} of {file} ({_times(tensor)}) needs {n_bytes:,} bytes, but its entry "
                         f"says {length:,}.")
    if offset + length > size:
        raise ModelError(f"Tensor {tensor.name!r} of {file} ends at byte {offset + length:,} of {location}, which has "
                         f"{size:,}. The data file is truncated or belongs to another model.")


def _check_values(tensor: TensorProto, data: dict[str, Path], file: str) -> None:
    """No NaN anywhere, and no infinity but in a single number (a mask's −∞). Reads in pieces."""
    kinds = {TensorProto.FLOAT: np.float32, TensorProto.DOUBLE: np.float64, TensorProto.FLOAT16: np.float16}
    if tensor.data_type not in kinds:
        return
    values = read_array(tensor, data)
    flat = values.reshape(-1)
    broken = sum(int((~np.isfinite(flat[start:start + _CHUNK])).sum()) for start in range(0, len(flat), _CHUNK))
    if broken and not (len(flat) == 1 and np.isinf(flat[0])):
        raise ModelError(f"Tensor {tensor.name or 'a constant'!r} of {file} has {broken} of {len(flat)} values that "
                         "are NaN or infinite. Its training diverged: take an earlier checkpoint.")


def read_array(tensor: TensorProto, data: dict[str, Path]) -> np.ndarray:
    """The tensor as an array; external data is mapped, changes to it stay in memory. Call after the checks."""
    if tensor.data_location != TensorProto.EXTERNAL:
        return onnx.numpy_helper.to_array(tensor)
    place = {entry.key: entry.value for entry in tensor.external_data}
    shape = tuple(tensor.dims)
    if not math.prod(shape):
        return np.zeros(shape, onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
    if BITS[tensor.data_type] == 4 or tensor.data_type == TensorProto.BFLOAT16:
        n_bytes = -(-math.prod(shape) * BITS[tensor.data_type] // 8)
        stored = np.memmap(data[place["location"]], np.uint8, "r", int(place.get("offset", 0)), (n_bytes,))
        inline = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, raw_data=stored.tobytes())
        return onnx.numpy_helper.to_array(inline)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return np.memmap(data[place["location"]], dtype, "c", int(place.get("offset", 0)), shape)


def _times(tensor: TensorProto) -> str:
    return " × ".join(str(length) for length in tensor.dims) or "one number"
