"""Quantise the tables of an ONNX file by rows without ever holding one in memory.

    quantize_file(path, target)    # float tables in external data → int8 rows and fp16 scales

For files far larger than memory: tables are read and written piece by piece. A table is a float32 initializer
of two dimensions, in external data, that only Gather nodes read; everything else is copied as it is. The graph
looks codes and scales up and multiplies after the lookup.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper

from compression.export.onnx import DATA_SUFFIX
from compression.layers.rows.row_codes import TOP, Clipping, encode_chunk, nearest_levels
from compression.spec.errors import ExportError

PIECE_BYTES = 1 << 18  # read at a time: stays in a core's cache from reading to writing
ALIGNMENT_BYTES = 64
SMALLEST_ROWS = 256


@dataclass(frozen=True)
class Streamed:
    """What was written, and which tables it holds in int8."""

    path: Path
    files: tuple[Path, Path]
    tables: tuple[str, ...]
    bytes_before: int
    bytes_after: int


def quantize_file(path: Path, target: Path, *, clipping: Clipping = "none", min_rows: int = SMALLEST_ROWS) -> Streamed:
    """Write `target` (and its data beside it) with every large table of `path` in int8 rows.

    Memory: one piece, and the scales of the table at work (2 bytes a row).
    Raises ExportError for data outside the file's folder, beyond its end, or without any table.
    """
    path, target = Path(path), Path(target)
    if path.resolve() == target.resolve():
        raise ExportError(f"{path.name} can't be rewritten in place; give another name for the result.")
    model = onnx.load(path, load_external_data=False)
    tables = [tensor for tensor in model.graph.initializer if _is_table(tensor, model.graph, min_rows)]
    if not tables:
        raise ExportError(f"{path.name} has no float32 table of at least {min_rows} rows in external data that only "
                          "Gather reads. Export it with external data, or lower min_rows.")
    data = target.with_name(target.name + DATA_SUFFIX)
    target.parent.mkdir(parents=True, exist_ok=True)
    names = {tensor.name for tensor in tables}
    added: list[TensorProto] = []
    with data.open("wb") as out:
        for tensor in model.graph.initializer:
            if not _is_external(tensor):
                continue
            if tensor.name in names:
                added.append(_write_rows(tensor, path.parent, out, clipping))
            else:
                _copy(tensor, path.parent, out)
            _set_place(tensor, "location", data.name)
    for scale in added:
        _set_place(scale, "location", data.name)
    model.graph.initializer.extend(added)
    _look_up_codes(model.graph, names)
    target.write_bytes(model.SerializeToString())
    return Streamed(target, (target, data), tuple(sorted(names)), _size(model_files(path)), _size([target, data]))


def model_files(path: Path) -> list[Path]:
    """The graph's file and every file that holds its data."""
    graph = onnx.load(path, load_external_data=False).graph
    return [path, *sorted({path.parent / _place(tensor)["location"] for tensor in graph.initializer
                           if _is_external(tensor)})]


def _size(files: list[Path]) -> int:
    return sum(file.stat().st_size for file in files)


def _is_external(tensor: TensorProto) -> bool:
    return tensor.data_location == TensorProto.EXTERNAL


def _is_table(tensor: TensorProto, graph: onnx.GraphProto, min_rows: int) -> bool:
    if not _is_external(tensor) or tensor.data_type != TensorProto.FLOAT or len(tensor.dims) != 2:
        return False
    readers = [(node, place) for node in graph.node for place, name in enumerate(node.input) if name == tensor.name]
    gathered = all(node.op_type == "Gather" and place == 0 and _axis(node) == 0 for node, place in readers)
    elsewhere = tensor.name in {item.name for item in (*graph.input, *graph.output)} | _names_in_branches(graph)
    return bool(readers) and gathered and not elsewhere and tensor.dims[0] >= min_rows


def _names_in_branches(graph: onnx.GraphProto) -> set[str]:
    """Names that the bodies of If and Loop read."""
    bodies = [item.g for node in graph.node for item in node.attribute if item.HasField("g")]
    read = {name for body in bodies for node in body.node for name in node.input}
    return read.union(*map(_names_in_branches, bodies))


def _axis(node: onnx.NodeProto) -> int:
    return next((item.i for item in node.attribute if item.name == "axis"), 0)


def _place(tensor: TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _set_place(tensor: TensorProto, key: str, value: str) -> None:
    for entry in tensor.external_data:
        if entry.key == key:
            entry.value = value
            return
    tensor.external_data.add(key=key, value=value)


def _span(tensor: TensorProto, folder: Path) -> tuple[Path, int, int]:
    """File, offset and length of a tensor's bytes. Raises ExportError if they lie elsewhere than in the folder."""
    place = _place(tensor)
    width = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    length = math.prod(tensor.dims) * width
    file, offset = folder / place.get("location", ""), int(place.get("offset", 0))
    inside = file.resolve().parent == folder.resolve() and file.is_file()
    if not inside or offset < 0 or offset + length > file.stat().st_size:
        raise ExportError(f"The tensor {tensor.name!r} should lie at {place.get('location')!r}, byte {offset:,}, "
                          f"with {length:,} bytes, in the folder of the model; it doesn't. Copy the model with all "
                          "its files.")
    return file, offset, length


def _align(out: BinaryIO) -> int:
    out.write(b"\0" * (-out.tell() % ALIGNMENT_BYTES))
    return out.tell()


def _record(tensor: TensorProto, offset: int, length: int) -> None:
    _set_place(tensor, "offset", str(offset))
    _set_place(tensor, "length", str(length))


def _copy(tensor: TensorProto, folder: Path, out: BinaryIO) -> None:
    file, offset, length = _span(tensor, folder)
    start = _align(out)
    with file.open("rb") as source:
        source.seek(offset)
        left = length
        while left:
            piece = source.read(min(left, PIECE_BYTES))
            out.write(piece)
            left -= len(piece)
    _record(tensor, start, length)


def _write_rows(tensor: TensorProto, folder: Path, out: BinaryIO, clipping: Clipping) -> TensorProto:
    """Write a table's codes, which the tensor then names, and after them its scales, whose tensor is given back.

    Scales are (V, 1) float16; a table of one column has a single one, (1, 1) float32.
    """
    file, offset, _ = _span(tensor, folder)
    n_rows, dim = tensor.dims
    scales = np.empty((n_rows, 1), np.float16) if dim > 1 else _one_scale(file, offset, n_rows)
    start, done = _align(out), 0
    for rows in _pieces(file, offset, n_rows, dim):
        if dim > 1:
            levels, scale = encode_chunk(rows, n_bits=8, clipping=clipping)
            scales[done:done + len(rows), 0] = scale.numpy()
        else:
            levels = nearest_levels(rows, torch.from_numpy(scales), 8)
        out.write(memoryview(levels.numpy()).cast("B"))
        done += len(rows)
    tensor.data_type = TensorProto.INT8
    _record(tensor, start, n_rows * dim)
    place = _align(out)
    out.write(memoryview(scales).cast("B"))
    kind = TensorProto.FLOAT16 if dim > 1 else TensorProto.FLOAT
    scale = TensorProto(name=_scale_of(tensor.name), data_type=kind, dims=scales.shape,
                        data_location=TensorProto.EXTERNAL)
    _record(scale, place, scales.nbytes)
    return scale


def _pieces(file: Path, offset: int, n_rows: int, dim: int) -> Iterator[torch.Tensor]:
    """Rows (N, D) float32, in order. Every piece lies in the same memory: use it before asking for the next."""
    step = max(1, PIECE_BYTES // (4 * dim))
    memory = np.empty((step, dim), np.float32)
    with file.open("rb", buffering=0) as source:
        source.seek(offset)
        for start in range(0, n_rows, step):
            rows = memory[:min(step, n_rows - start)]
            _fill(source, memoryview(rows).cast("B"), file)
            yield torch.from_numpy(rows)


def _fill(source: BinaryIO, target: memoryview, file: Path) -> None:
    filled = 0
    while filled < len(target):
        got = source.readinto(target[filled:])
        if not got:
            raise ExportError(f"{file.name} became shorter while it was read. Copy the model again.")
        filled += got


def _one_scale(file: Path, offset: int, n_rows: int) -> np.ndarray:
    largest = max((float(rows.abs().max()) for rows in _pieces(file, offset, n_rows, 1)), default=0.0)
    return np.full((1, 1), largest / TOP, np.float32)


def _scale_of(name: str) -> str:
    return f"{name}.scale"


def _look_up_codes(graph: onnx.GraphProto, tables: set[str]) -> None:
    """Gather(table, ids) → Cast(Gather(codes, ids)) · Cast(Gather(scale, ids)), under the same output name."""
    kinds = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type != "Gather" or node.input[0] not in tables:
            nodes.append(node)
            continue
        table, ids, found = node.input[0], node.input[1], node.output[0]
        codes, value, step, scale = (f"{found}.{part}" for part in ("codes", "value", "step", "scale"))
        single = kinds[_scale_of(table)].data_type == TensorProto.FLOAT
        nodes += [helper.make_node("Gather", [table, ids], [codes]),
                  helper.make_node("Cast", [codes], [value], to=TensorProto.FLOAT)]
        if not single:
            nodes += [helper.make_node("Gather", [_scale_of(table), ids], [step]),
                      helper.make_node("Cast", [step], [scale], to=TensorProto.FLOAT)]
        nodes.append(helper.make_node("Mul", [value, _scale_of(table) if single else scale], [found]))
    kept = [item for item in graph.value_info if item.name not in tables]  # they said float
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.value_info.extend(kept)
