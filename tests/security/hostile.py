"""Hostile and broken uploads, made on the spot: a function for each that gives files by name."""

from __future__ import annotations

import io
import json
import pickle
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

N = helper.make_node
CANARY = "canary-was-here"
Files = dict[str, bytes]


class Payload:
    """Pickled, it writes the canary wherever it is loaded."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return (exec, (f"open({str(self.canary)!r}, 'w').write('ran')",))


def pickled(canary: Path, protocol: int = 2) -> bytes:
    return pickle.dumps({"weights": Payload(canary)}, protocol=protocol)


def zipped(members: dict[str, bytes], *, compression=zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def torch_zip(canary: Path) -> bytes:
    return zipped({"archive/data.pkl": pickled(canary), "archive/version": b"3\n", "archive/data/0": b"\0" * 16})


def tarred(canary: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        content = pickled(canary)
        member = tarfile.TarInfo("pickle")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def link_in_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        member = zipfile.ZipInfo("model.onnx")
        member.create_system, member.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(member, "/etc/passwd")
    return buffer.getvalue()


def lying_zip() -> bytes:
    """The central directory says 10 bytes; far more come out."""
    content = bytearray(zipped({"model.onnx": b"\1" * 5_000_000}))
    place = content.rfind(b"PK\1\2")
    content[place + 24:place + 28] = struct.pack("<I", 10)
    return bytes(content)


def graph(nodes=None, tensors=None, inputs=None, *, opsets=(("", 21),), output="score",
          outputs=None) -> onnx.ModelProto:
    """score = sigmoid of the sum of a table's row, unless told otherwise."""
    nodes = nodes if nodes is not None else [
        N("Gather", ["table", "user"], ["row"]), N("ReduceSum", ["row", "axes"], ["sum"], keepdims=0),
        N("Sigmoid", ["sum"], [output])]
    tensors = tensors if tensors is not None else [table(), numpy_helper.from_array(np.array([1]), "axes")]
    inputs = inputs if inputs is not None else [helper.make_tensor_value_info("user", TensorProto.INT64, ["batch"])]
    made = outputs or [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch"])]
    return helper.make_model(helper.make_graph(nodes, "g", inputs, made, tensors), ir_version=10,
                             opset_imports=[helper.make_opsetid(domain, version) for domain, version in opsets])


def table(values=None) -> TensorProto:
    return numpy_helper.from_array(np.ones((8, 4), np.float32) if values is None else values, "table")


def outside(location: str, *, offset="0", length="128", dims=(8, 4)) -> TensorProto:
    """A table whose bytes lie in another file."""
    tensor = TensorProto(name="table", data_type=TensorProto.FLOAT, dims=dims)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        if value is not None:
            tensor.external_data.add(key=key, value=value)
    return tensor


def external(location: str, **place) -> Callable[[Path], Files]:
    axes = numpy_helper.from_array(np.array([1]), "axes")
    data = {location: b"\0" * 128} if "/" not in location and location[0] not in ".\\" else {}
    return lambda canary: {"m.onnx": graph(tensors=[outside(location, **place), axes]).SerializeToString(), **data}


def onnx_of(**options) -> Callable[[Path], Files]:
    return lambda canary: {"m.onnx": graph(**options).SerializeToString()}


def raw(name: str, content: bytes | Callable[[Path], bytes], **more: bytes) -> Callable[[Path], Files]:
    return lambda canary: {name: content(canary) if callable(content) else content,
                           **{key.replace("__", "."): value for key, value in more.items()}}


def branch() -> list:
    """An If with a sub-graph in each branch."""
    empty = helper.make_graph([N("Identity", ["sum"], ["b"])], "branch", [],
                              [helper.make_tensor_value_info("b", TensorProto.FLOAT, None)])
    return [N("Gather", ["table", "user"], ["row"]), N("ReduceSum", ["row", "axes"], ["sum"], keepdims=0),
            N("If", ["flag"], ["score"], name="choose", then_branch=empty, else_branch=empty)]


def with_function() -> bytes:
    model = graph(nodes=[N("Mine", ["user"], ["score"], domain="local")], opsets=(("", 21), ("local", 1)))
    model.functions.append(helper.make_function("local", "Mine", ["x"], ["y"], [N("Cast", ["x"], ["y"], to=1)],
                                                [helper.make_opsetid("", 21)]))
    return model.SerializeToString()


def overlapping() -> Files:
    """A hundred tables over the same bytes."""
    tensors = []
    for place in range(100):
        tensor = outside("m.data", length="1000000", dims=(250, 1000))
        tensor.name = f"table{place}" if place else "table"
        tensors.append(tensor)
    axes = numpy_helper.from_array(np.array([1]), "axes")
    return {"m.onnx": graph(tensors=[*tensors, axes]).SerializeToString(), "m.data": b"\0" * 1_000_000}


def short_raw() -> bytes:
    tensor = TensorProto(name="table", data_type=TensorProto.FLOAT, dims=(1 << 40, 64), raw_data=b"\0" * 64)
    return graph(tensors=[tensor]).SerializeToString()


def typed_short() -> bytes:
    tensor = TensorProto(name="table", data_type=TensorProto.FLOAT, dims=(8, 4), float_data=[1.0] * 3)
    return graph(tensors=[tensor]).SerializeToString()


def negative() -> bytes:
    tensor = TensorProto(name="table", data_type=TensorProto.FLOAT, dims=(-8, -4), raw_data=b"\0" * 128)
    return graph(tensors=[tensor]).SerializeToString()


def text_tensor() -> bytes:
    tensor = TensorProto(name="table", data_type=TensorProto.STRING, dims=(1,), string_data=[b"x"])
    return graph(tensors=[tensor]).SerializeToString()


def hidden_subgraph() -> bytes:
    """A graph attribute on an operator that has none."""
    model = graph()
    model.graph.node[0].attribute.append(AttributeProto(name="body", type=AttributeProto.GRAPH, g=model.graph))
    return model.SerializeToString()


def broken_values(value: float) -> np.ndarray:
    values = np.ones((8, 4), np.float32)
    values[3, 1] = value
    return values


def growing() -> list:
    """A row is tiled a billion times: small in the file, huge when run."""
    return [N("Gather", ["table", "user"], ["row"]), N("Tile", ["row", "times"], ["many"]),
            N("ReduceSum", ["many", "axes"], ["sum"], keepdims=0), N("Sigmoid", ["sum"], ["score"])]


def safetensors(header: dict | bytes, data: bytes = b"", *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


CONFIG = json.dumps({"format": "recpress-model", "version": 1, "architecture": "lr", "config": {}, "signature": {
    "inputs": [{"name": "u", "kind": "category", "column": "u", "cardinality": 5, "ids": "as-is"}]}}).encode()
VALUE = helper.make_tensor_value_info
