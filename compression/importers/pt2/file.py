"""A `.pt2` of torch.export.save as a graph, read as zip, JSON and raw numbers: torch.export.load is never called.

    graph = read_pt2(path, "model.pt2")      # torch.fx.GraphModule of allowed ATen calls, and its inputs

Loading one the usual way can run code from it: pickled constants, sample inputs, symbolic expressions, operators
looked up by name. Here pickled members stay closed, expressions are not evaluated, and only operators of the
list in pt2_operators are called.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from compression.importers.checkpoint.raw_tensors import tensor_from
from compression.importers.pt2.graph import Graph
from compression.spec.errors import ModelError

MAX_JSON_BYTES = 64 << 20
MAX_MEMBERS = 20_000
MAX_NODES = 20_000
_NAME = re.compile(r"[A-Za-z_]\w{0,600}")  # of a value in the graph
MAX_PATH_CHARS = 500  # of a tensor's dotted path, whose parts may be any keys of a ModuleDict
_MEMBER = re.compile(
    r"(data/weights/(weight_\d+|\w+_weights_config\.json)|data/constants/(tensor_\d+|\w+_constants_config\.json)"
    r"|models/\w+\.json|data/sample_inputs/\w+\.pt|archive_format|archive_version|byteorder"
    r"|\.data/(version|serialization_id)|extra/\w+)")
_DICTIONARIES = ("builtins.dict", "collections.OrderedDict")
_TENSOR_FILE = re.compile(r"(weight|tensor)_\d+")
DTYPES = {1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 6: torch.float16,
          7: torch.float32, 8: torch.float64, 12: torch.bool, 13: torch.bfloat16}  # numbers of torch's schema


@dataclass(frozen=True)
class Pt2Input:
    """An input: its name, type, and each axis as a length, or None where it is free."""

    name: str
    dtype: torch.dtype
    axes: tuple[int | None, ...]


@dataclass(frozen=True)
class Pt2:
    """The graph as a module that computes the outputs from the inputs, in order."""

    module: fx.GraphModule
    inputs: tuple[Pt2Input, ...]
    outputs: tuple[str, ...] = ()  # what the program calls them; () where it gives a tensor or a tuple


def read_pt2(path: Path, name: str) -> Pt2:
    """The exported program. Raises ModelError naming the member, operator or argument that is not read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(_Archive(archive, name, path.stat().st_size))
    except ModelError:
        raise
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, ValueError, KeyError, TypeError, IndexError,
            AttributeError, RecursionError, StopIteration) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise ModelError(f"{name} is not an exported program as torch.export.save writes it ({reason}). "
                         "Export and save it again.") from None


class _Archive:
    """The members of the zip, each allowed by name and stored without compression."""

    def __init__(self, archive: zipfile.ZipFile, name: str, size: int) -> None:
        self.archive, self.name = archive, name
        infos = archive.infolist()
        if len(infos) > MAX_MEMBERS:
            raise ModelError(f"{name} holds {len(infos):,} files; at most {MAX_MEMBERS:,} are read.")
        self.prefix = infos[0].filename.split("/")[0] + "/"
        self.members = {}
        for info in infos:
            member = info.filename.removeprefix(self.prefix)
            if not info.filename.startswith(self.prefix) or not _MEMBER.fullmatch(member):
                raise ModelError(f"{name} holds a file that no exported program has ({info.filename[:80]!r}). "
                                 "Export and save it again.")
            if info.compress_type != zipfile.ZIP_STORED or info.file_size > size:
                raise ModelError(f"{name} is compressed, which torch.export.save never does. Save it again.")
            self.members[member] = info
        if self.read("byteorder") != b"little":
            raise ModelError(f"{name} was written on a big-endian machine; save it again on another.")

    def read(self, member: str) -> bytes:
        if member not in self.members:
            raise ModelError(f"{self.name} lacks {member}. It is truncated or of another format; save it again.")
        return self.archive.read(self.members[member])

    def json(self, member: str) -> Any:
        if member in self.members and self.members[member].file_size > MAX_JSON_BYTES:
            raise ModelError(f"{member} in {self.name} has more than {MAX_JSON_BYTES:,} bytes; it is no model.")
        return json.loads(self.read(member))


def _read(archive: _Archive) -> Pt2:
    models = [member for member in archive.members if member.startswith("models/")]
    if len(models) != 1:
        raise ModelError(f"{archive.name} holds {len(models)} models; save one program in a file.")
    program = archive.json(models[0])["graph_module"]
    graph, signature = program["graph"], program["signature"]
    if len(graph["nodes"]) > MAX_NODES:
        raise ModelError(f"{archive.name} has {len(graph['nodes']):,} operators; at most {MAX_NODES:,} are read.")
    title = models[0].removeprefix("models/").removesuffix(".json")
    tensors = _tensors(archive, "weights", title) | _tensors(archive, "constants", title)

    built = Graph(archive.name)
    inputs = []
    for spec in signature["input_specs"]:
        (kind, said), = spec.items()
        if kind == "user_input":
            inputs.append(_input(said, graph["tensor_values"], archive.name))
            built.add_input(inputs[-1].name)
        elif kind in ("parameter", "buffer", "tensor_constant"):
            path = said.get("parameter_name") or said.get("buffer_name") or said.get("tensor_constant_name")
            if path not in tensors:
                raise ModelError(f"{archive.name} names a tensor {str(path)[:80]!r} that it doesn't hold.")
            built.add_tensor(_checked(said["arg"]["name"], archive.name), path, tensors[path])
        else:
            raise ModelError(f"{archive.name} has an input of kind {str(kind)[:40]!r}, which is not read. Export the "
                             "model with tensors as its only inputs.")
    for node in graph["nodes"]:
        built.add_call(node)
    outputs = []
    for spec in signature["output_specs"]:
        (kind, said), = spec.items()
        if kind not in ("user_output", "loss_output"):
            raise ModelError(f"{archive.name} changes its own state when it is run ({str(kind)[:40]}): it was exported "
                             "while training. Call model.eval() before the export.")
        outputs.append(said["arg"])
    widths = {item.name: item.axes[1] for item in inputs if len(item.axes) == 2}
    return Pt2(built.finish(outputs, widths), tuple(inputs), _keys(program.get("module_call_graph", ()), len(outputs)))


def _keys(calls: Iterable[dict[str, Any]], n_outputs: int) -> tuple[str, ...]:
    """The keys of the dictionary of tensors that the program gives; () where it gives something else."""
    signature = next((call["signature"] for call in calls if call["fqn"] == ""), None) or {}
    _, tree = json.loads(signature.get("out_spec") or "[0, {}]")
    if tree.get("type") not in _DICTIONARIES or any(child["children_spec"] for child in tree["children_spec"]):
        return ()
    keys = json.loads(tree["context"])
    keys = keys if isinstance(keys, list) and len(keys) == n_outputs else []
    fit = all(isinstance(key, str) and 0 < len(key) <= MAX_PATH_CHARS and key.isprintable() for key in keys)
    return tuple(keys) if fit else ()


def _input(said: dict[str, Any], values: dict[str, Any], name: str) -> Pt2Input:
    (kind, argument), = said["arg"].items()
    if kind != "as_tensor":
        raise ModelError(f"{name} takes an input of kind {kind[:40]!r}; only tensors can be bound to columns.")
    meta = values[argument["name"]]
    axes = tuple(int(size["as_int"]) if "as_int" in size else None for size in meta["sizes"])
    return Pt2Input(_checked(argument["name"], name), DTYPES[meta["dtype"]], axes)


def _tensors(archive: _Archive, folder: str, title: str) -> dict[str, Tensor]:
    """Path in the model → tensor; one stored piece of memory seen in one way is one tensor, so that tied ones stay."""
    config = archive.json(f"data/{folder}/{title}_{folder}_config.json")["config"]
    blobs: dict[str, bytes] = {}
    views: dict[tuple, Tensor] = {}
    found = {}
    for path, entry in config.items():
        file, meta = entry["path_name"], entry["tensor_meta"]
        if entry["use_pickle"] or not meta or not _TENSOR_FILE.fullmatch(file):
            raise ModelError(f"The tensor {path[:80]!r} of {archive.name} is pickled, and pickles are not opened. Save "
                             "the program with plain tensors as weights.")
        if file not in blobs:
            blobs[file] = archive.read(f"data/{folder}/{file}")
        size, stride = ([int(one["as_int"]) for one in meta[key]] for key in ("sizes", "strides"))
        offset, dtype = int(meta["storage_offset"]["as_int"]), DTYPES[meta["dtype"]]
        view = (file, dtype, tuple(size), tuple(stride), offset)
        if view not in views:
            tensor = tensor_from(blobs[file], dtype, size, stride, offset, what=f"{path[:80]} in {archive.name}")
            views[view] = nn.Parameter(tensor) if dtype.is_floating_point and entry["is_param"] else tensor
        found[_path(path, archive.name)] = views[view]
    return found


def _path(path: str, file: str) -> str:
    if not path.isprintable() or len(path) > MAX_PATH_CHARS:
        raise ModelError(f"{file} names a tensor {path[:80]!r}; names are printable and have at most {MAX_PATH_CHARS} "
                         "characters. Rename the module and export it again.")
    return path


def _checked(name: Any, file: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ModelError(f"{file} names something {str(name)[:80]!r}, which no exported program does.")
    return name
