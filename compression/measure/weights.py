"""Count the weights of an exported file, and those that are not zero, tensor by tensor through mapped memory.

What counts as a weight is read off the graph, so that foreign files are counted by the same rule:

- a float tensor counts each value, unless it scales or shifts integer codes, or is a bare number such as 0.5;
- an integer tensor counts when its codes become numbers: by DequantizeLinear, in a quantised matrix product, or by
  arithmetic after a Cast. Row numbers, remaps, codebook indices, shapes and zero points don't count;
- codes packed into bytes count as many weights as a byte holds: the columns of the 256-row table that unpacks them,
  8 / bits of GatherBlockQuantized and MatMulNBits, two of the types INT4 and UINT4. What pads the last byte of an
  unpacked row doesn't count.

A code is zero when it equals the zero point. Where zero points vary by row or block, every code counts as non-zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from compression.spec.errors import MeasureError

_CHUNK = 1 << 22  # bytes looked at in one go
_FLOATS = {TensorProto.FLOAT: np.float32, TensorProto.DOUBLE: np.float64, TensorProto.FLOAT16: np.float16,
           TensorProto.BFLOAT16: np.uint16}
_BYTES = {TensorProto.INT8, TensorProto.UINT8}
_HALF_BYTES = {TensorProto.INT4, TensorProto.UINT4}
_CODES = _BYTES | _HALF_BYTES | {TensorProto.INT32}
_PASS = {"Gather", "Reshape", "Unsqueeze", "Squeeze", "Cast", "CastLike", "Transpose", "Identity", "Slice", "Flatten",
         "Concat", "Split", "Expand"}
_SHIFTS, _FACTORS = {"Add", "Sub"}, {"Mul", "Div"}


@dataclass(frozen=True)
class _Slots:
    """Where an operator that reads codes has its weight, the weight's zero point, scales and integer bias."""
    weight: int
    zero: int | None
    scales: tuple[int, ...] = ()
    bias: int | None = None


_READERS = {
    "DequantizeLinear": _Slots(0, 2, (1,)),
    "MatMulInteger": _Slots(1, 3),
    "ConvInteger": _Slots(1, 3),
    "DynamicQuantizeMatMul": _Slots(1, 3, (2,)),
    "MatMulIntegerToFloat": _Slots(1, 5, (2, 3)),
    "QLinearMatMul": _Slots(3, 5, (1, 4, 6)),
    "QLinearConv": _Slots(3, 5, (1, 4, 6), 8),
    "QGemm": _Slots(3, 5, (1, 4, 7), 6),
    "GatherBlockQuantized": _Slots(0, 3, (2,)),
    "MatMulNBits": _Slots(1, 3, (2,)),
}


@dataclass(frozen=True)
class WeightCount:
    parameters: int
    nonzeros: int


@dataclass
class _Use:
    """What the graph says about a stored tensor."""
    counts: bool  # floats do from the start, codes once they become numbers
    zero: int | None = 0  # the code that means 0; None where it isn't one number
    bits: int = 8
    unpacked: TensorProto | None = None  # (256, values in a byte) int8 levels
    width: int | None = None  # values kept of each unpacked row


@dataclass(frozen=True)
class _Trail:
    """The stored tensors that flow into a value, by what they are."""
    codes: frozenset[str] = field(default=frozenset())
    floats: frozenset[str] = field(default=frozenset())


def read_graph(path: Path) -> onnx.ModelProto:
    """The file without its external data. Raises MeasureError if it is no ONNX file."""
    try:
        return onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's errors share no base class
        raise MeasureError(f"{path.name} can't be read as ONNX: {' '.join(str(error).split())[:300]}") from None


def external_files(path: Path, model: onnx.ModelProto) -> tuple[Path, ...]:
    """Files beside `path` that hold tensors of the model. Raises MeasureError if one is missing."""
    names = {_place(tensor)["location"] for tensor in model.graph.initializer
             if tensor.data_location == TensorProto.EXTERNAL}
    files = tuple(path.parent / name for name in sorted(names))
    for file in files:
        if not file.is_file():
            raise MeasureError(f"{path.name} needs {file.name} beside it, which is missing.")
    return files


def count_weights(path: Path, model: onnx.ModelProto) -> WeightCount:
    """Weights and non-zero weights of the file; memory stays small whatever the tables weigh."""
    tensors = {tensor.name: tensor for tensor in _tensors(model)}
    uses = _uses(model, tensors)
    parameters = zeros = 0
    for name, tensor in tensors.items():
        if uses[name].counts:
            counted = _count_floats if tensor.data_type in _FLOATS else _count_codes
            n_values, n_zeros = counted(path, tensor, uses[name])
            parameters += n_values
            zeros += n_zeros
    return WeightCount(parameters, parameters - zeros)


def _tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Initializers, and what Constant and ConstantOfShape nodes make (the latter as one number), by output name."""
    yield from model.graph.initializer
    for node in model.graph.node:
        if node.op_type in {"Constant", "ConstantOfShape"}:
            value = next((item.t for item in node.attribute if item.name == "value"), None)
            if value is None and node.op_type == "ConstantOfShape":
                value = numpy_helper.from_array(np.zeros((), np.float32))
            if value is not None:
                tensor = TensorProto()
                tensor.CopyFrom(value)
                tensor.name = node.output[0]
                if node.op_type == "ConstantOfShape":
                    tensor.ClearField("dims")
                yield tensor


def _uses(model: onnx.ModelProto, tensors: dict[str, TensorProto]) -> dict[str, _Use]:
    """Follow every stored tensor through the graph to the operator that says what it is."""
    uses, trails = {}, {}
    for name, tensor in tensors.items():
        is_float = tensor.data_type in _FLOATS
        uses[name] = _Use(counts=is_float and len(tensor.dims) > 0, bits=4 if tensor.data_type in _HALF_BYTES else 8)
        if is_float:
            trails[name] = _Trail(floats=frozenset({name}))
        elif tensor.data_type in _CODES:
            trails[name] = _Trail(codes=frozenset({name}))
    for node in model.graph.node:
        given = [trails.get(name, _Trail()) for name in node.input]
        made = _walk(node, given, uses, tensors)
        trails.update({name: made for name in node.output if name not in tensors})
    return uses


def _walk(node: onnx.NodeProto, given: list[_Trail], uses: dict[str, _Use], tensors: dict[str, TensorProto]) -> _Trail:
    """Note what this operator says about the tensors that flow into it; gives the trail of its output."""
    kind = node.op_type
    if kind in _READERS:
        return _read_codes(node, given, uses, tensors)
    if kind == "Gather" and given[1].codes:  # codes choose rows: of a table that unpacks bytes, or of a codebook
        table = tensors.get(node.input[0])
        if table is None or table.data_type != TensorProto.INT8 or len(table.dims) != 2 or table.dims[0] != 256:
            return given[0]
        for name in given[1].codes:
            uses[name].unpacked = table
        return given[1]
    if kind == "Slice" and len(node.input) > 2:
        ends = _whole(tensors, node.input[2])
        for name in given[0].codes:
            if uses[name].unpacked is not None and ends is not None and ends.size == 1:
                uses[name].width = int(ends.flat[0])
    if kind in _PASS:
        return _join(given) if kind == "Concat" else given[0]
    if kind in _FACTORS | _SHIFTS and len(given) == 2:
        return _arithmetic(node, given, uses, tensors)
    return _Trail()


def _read_codes(node: onnx.NodeProto, given: list[_Trail], uses: dict[str, _Use],
                tensors: dict[str, TensorProto]) -> _Trail:
    slots = _READERS[node.op_type]
    bits = next((item.i for item in node.attribute if item.name == "bits"), None)
    zero: int | None = 0
    if slots.zero is not None and slots.zero < len(node.input) and node.input[slots.zero]:
        points = _whole(tensors, node.input[slots.zero])
        zero = int(points.flat[0]) if points is not None and points.size and (points == points.flat[0]).all() else None
        if bits and bits < 8:
            zero = None  # the zero points are packed too
    elif node.op_type in {"GatherBlockQuantized", "MatMulNBits"}:
        bits = bits or 4
        zero = 1 << (bits - 1)
    for place in {slots.weight, slots.bias} - {None}:
        for name in given[place].codes if place < len(given) else ():
            uses[name].counts = True
            uses[name].zero = zero if place == slots.weight else 0
            if bits and tensors[name].data_type in _BYTES:
                uses[name].bits = bits
    for place in slots.scales:
        _not_weights(given[place] if place < len(given) else _Trail(), uses)
    is_product = node.op_type in {"MatMulInteger", "ConvInteger"}  # whole numbers, scaled by a later Mul
    return _Trail(codes=given[slots.weight].codes) if is_product else _Trail()


def _arithmetic(node: onnx.NodeProto, given: list[_Trail], uses: dict[str, _Use],
                tensors: dict[str, TensorProto]) -> _Trail:
    if not (given[0].codes or given[1].codes):
        return _join(given) if node.op_type in _FACTORS else _Trail()
    coded, other = (0, 1) if given[0].codes else (1, 0)
    _not_weights(given[other], uses)
    for name in given[coded].codes:
        if node.op_type in _SHIFTS and not uses[name].counts:  # codes less a zero point, before they are scaled
            shift = _whole(tensors, node.input[other])
            single = shift is not None and shift.size == 1 and coded == 0
            uses[name].zero = int(shift.flat[0]) * (1 if node.op_type == "Sub" else -1) if single else None
        uses[name].counts = True
    return given[coded] if node.op_type in _SHIFTS else _Trail()


def _join(given: list[_Trail]) -> _Trail:
    return _Trail(frozenset().union(*(trail.codes for trail in given)),
                  frozenset().union(*(trail.floats for trail in given)))


def _not_weights(trail: _Trail, uses: dict[str, _Use]) -> None:
    for name in trail.floats:
        uses[name].counts = False


def _whole(tensors: dict[str, TensorProto], name: str) -> np.ndarray | None:
    """The values of a stored tensor, where they are few and inside the file."""
    tensor = tensors.get(name)
    if tensor is None or tensor.data_location == TensorProto.EXTERNAL or _size(tensor) > 65_536:
        return None
    return numpy_helper.to_array(tensor)


def _count_floats(path: Path, tensor: TensorProto, use: _Use) -> tuple[int, int]:
    zeros = 0
    for chunk in _chunks(path, tensor, 8):
        values = chunk.view(_FLOATS[tensor.data_type])
        nonzero = values & 0x7FFF if tensor.data_type == TensorProto.BFLOAT16 else values
        zeros += len(values) - int(np.count_nonzero(nonzero))
    return _size(tensor), zeros


def _count_codes(path: Path, tensor: TensorProto, use: _Use) -> tuple[int, int]:
    if tensor.data_type == TensorProto.INT32:
        return _size(tensor), sum(int((chunk.view(np.int32) == 0).sum()) for chunk in _chunks(path, tensor, 4))
    is_zero = _zero_of_byte(path, tensor, use)  # (256, values in a byte)
    row_bytes, per_byte = int(tensor.dims[-1]) if tensor.dims else 1, is_zero.shape[1]
    kept = use.width if use.width is not None else row_bytes * per_byte
    full, leftover = divmod(kept, per_byte)
    rows = zeros = 0
    if tensor.data_type in _HALF_BYTES:  # packed over the whole tensor, not by rows
        counts = sum(np.bincount(chunk, minlength=256) for chunk in _chunks(path, tensor, 1))
        padding = _size(tensor) % 2
        return _size(tensor), int(counts @ is_zero.sum(1)) - padding * int(is_zero[0, 1])
    for chunk in _chunks(path, tensor, row_bytes):
        table = chunk.reshape(-1, row_bytes)
        rows += len(table)
        zeros += int(np.bincount(table[:, :full].ravel(), minlength=256) @ is_zero.sum(1))
        if leftover:
            zeros += int(np.bincount(table[:, full], minlength=256) @ is_zero[:, :leftover].sum(1))
    return rows * kept, zeros


def _zero_of_byte(path: Path, tensor: TensorProto, use: _Use) -> np.ndarray:
    """Which of the values in each byte are zero, (256, values in a byte) bool."""
    byte = np.arange(256, dtype=np.uint8)
    if use.unpacked is not None:
        levels = np.concatenate(list(_chunks(path, use.unpacked, 1))).view(np.int8).reshape(256, -1)
    elif use.bits < 8:
        levels = (byte[:, None] >> np.arange(0, 8, use.bits, dtype=np.uint8)) & ((1 << use.bits) - 1)
    else:
        levels = byte.view(np.int8 if tensor.data_type == TensorProto.INT8 else np.uint8)[:, None]
    return levels == use.zero if use.zero is not None else np.zeros(levels.shape, bool)


def _chunks(path: Path, tensor: TensorProto, multiple: int) -> Iterator[np.ndarray]:
    """The tensor's bytes (n,) uint8, a few megabytes at a time, each chunk but the last a multiple of `multiple`."""
    if tensor.data_location == TensorProto.EXTERNAL:
        place = _place(tensor)
        file, offset = path.parent / place["location"], int(place.get("offset") or 0)
        length = int(place.get("length") or file.stat().st_size - offset)
        if length == 0:
            return
        if offset + length > file.stat().st_size:
            raise MeasureError(f"{file.name} is shorter than {path.name} says for {tensor.name!r}.")
        stored = np.memmap(file, np.uint8, "r", offset, (length,))
    elif tensor.raw_data:
        stored = np.frombuffer(tensor.raw_data, np.uint8)
    else:
        stored = np.frombuffer(numpy_helper.to_array(tensor).tobytes(), np.uint8)
    step = max(multiple, 1) * max(1, _CHUNK // max(multiple, 1))
    for start in range(0, len(stored), step):
        yield np.asarray(stored[start:start + step])


def _size(tensor: TensorProto) -> int:
    return int(np.prod(tensor.dims, dtype=np.int64))


def _place(tensor: TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}
