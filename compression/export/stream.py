"""Quantise the tables of an ONNX file by rows without ever holding one in memory.

    quantize_file(path, target)    # float tables in external data → int8 rows and fp16 scales

For files far larger than memory: tables are mapped, read and written piece by piece, and pages that were used
are handed back. A table is a float32 initializer of two dimensions, in external data, that is read by
Gather nodes alone; everything else is copied as it is. The graph reads the codes, and scales after the lookup.
"""

from __future__ import annotations

import math
import mmap
import os
import shutil
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper

from compression.errors import ExportError
from compression.export.onnx import DATA_SUFFIX
from compression.layers.row_codes import Clipping, encode_chunk

PIECE_BYTES = 1 << 26  # of a table, mapped before its pages are handed back
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

    Memory: one piece of 64 MiB of mapped pages, and the scales of the table at work (2 bytes a row).
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
            for written in (tensor, *added[-1:]):
                _set_place(written, "location", data.name)
    model.graph.initializer.extend(added)
    _read_codes(model.graph, names)
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
    is_output = any(item.name == tensor.name for item in graph.output)
    return bool(readers) and gathered and not is_output and tensor.dims[0] >= min_rows


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
        raise ExportError(f"The tensor {tensor.name!r} should lie at {place.get('location')!r}, byte {offset:,}, with "
                          f"{length:,} bytes, in the folder of the model; it doesn't. Copy the model with all its files.")
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
    """Write a table's codes; the tensor then names them. Gives the tensor of its scales, written after them."""
    file, offset, _ = _span(tensor, folder)
    n_rows, dim = tensor.dims
    per_row = dim > 1
    start = _align(out)
    scales = np.empty(n_rows if per_row else 1, np.float16)
    ...
