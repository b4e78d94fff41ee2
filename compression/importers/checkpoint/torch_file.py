"""A file of torch.save as tensors and plain values, read without running anything it holds.

    found = read_torch_file(path, "model.pth")
    found.tensors["mlp.0.weight"]; found.values["config"]

Both forms are read: the zip of torch 1.6 and later, and the older row of pickles with raw numbers behind them.
Every tensor is checked against its storage before it is looked at.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from compression.importers.checkpoint.inert_pickle import (
    MAX_PICKLE_BYTES,
    Inert,
    Named,
    plain,
    read_first_pickle,
    read_pickle,
)
from compression.importers.checkpoint.raw_tensors import tensor_from
from compression.importers.format_sniffing import LEGACY_MAGIC, is_root_pickle
from compression.spec.errors import ModelError

MAX_MEMBERS = 100_000
MAX_TENSORS = 100_000
MAX_PATH = 12  # names in the path of a tensor
DTYPES = {f"torch.{name}Storage": dtype for name, dtype in {
    "Float": torch.float32, "Double": torch.float64, "Half": torch.float16, "BFloat16": torch.bfloat16,
    "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
    "Bool": torch.bool}.items()}
_TENSOR = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor")
_PARAMETER = ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")


@dataclass
class TorchFile:
    """Named tensors (the path in the file joined by dots) and every other value, as plain as JSON."""

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    values: Any = None


@dataclass(frozen=True)
class _Storage:
    dtype: torch.dtype
    key: str
    n_elements: int


def read_torch_file(path: Path, name: str) -> TorchFile:
    """Tensors and values of a checkpoint. Raises ModelError for a broken one, with what to do."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    try:
        root, load = _read_zip(path, name) if zipped else _read_legacy(path, name)
        return _collect(root, load, name)
    except ModelError:
        raise
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, ValueError, struct.error, zlib.error) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{name} is a broken file of torch.save ({reason}). Save it again.") from None


def _read_zip(path: Path, name: str) -> tuple[Any, Callable[[_Storage], bytes]]:
    archive = zipfile.ZipFile(path)
    members = {item.filename: item for item in archive.infolist()}
    if len(members) > MAX_MEMBERS:
        raise ModelError(f"{name} holds {len(members):,} files; at most {MAX_MEMBERS:,} are read.")
    if sum(item.file_size for item in members.values()) > path.stat().st_size:
        raise ModelError(f"{name} unpacks to more than it weighs; torch.save never compresses. Save it again.")
    roots = [member for member in members if is_root_pickle(member)]
    if len(roots) != 1:
        raise ModelError(f"{name} is no file of torch.save: it holds {len(roots)} data.pkl instead of one.")
    prefix = roots[0].removesuffix("data.pkl")
    if f"{prefix}byteorder" in members and archive.read(f"{prefix}byteorder") != b"little":
        raise ModelError(f"{name} was written on a big-endian machine; save it again on another.")
    if members[roots[0]].file_size > MAX_PICKLE_BYTES:
        raise ModelError(f"The pickle in {name} has {members[roots[0]].file_size:,} bytes; at most "
                         f"{MAX_PICKLE_BYTES:,} are read. Save the weights alone: torch.save(model.state_dict(), …).")

    def load(storage: _Storage) -> bytes:
        member = f"{prefix}data/{storage.key}"
        if member not in members:
            raise ModelError(f"{name} lacks the numbers {storage.key!r} of a tensor. It is truncated; upload it again.")
        return archive.read(member)

    return read_pickle(archive.read(roots[0]), persistent=_storage_named), load


def _read_legacy(path: Path, name: str) -> tuple[Any, Callable[[_Storage], bytes]]:
    """Five pickles (magic, protocol, system, object, storage keys), then each storage: its length, its numbers."""
    data = path.read_bytes()
    parts, place = [], 0
    for _ in range(5):
        part, used = read_first_pickle(data[place:place + MAX_PICKLE_BYTES], persistent=_storage_named)
        parts.append(part)
        place += used
    magic, _, system, root, keys = parts
    if magic != LEGACY_MAGIC or not isinstance(keys, list) or not isinstance(system, dict):
        raise ModelError(f"{name} is no file of torch.save. Save the weights again.")
    if system.get("little_endian") is not True:
        raise ModelError(f"{name} was written on a big-endian machine; save it again on another.")
    sizes = {found.key: found.dtype.itemsize for found in _storages(root)}
    starts: dict[str, tuple[int, int]] = {}
    for key in map(str, keys):
        count = int.from_bytes(data[place:place + 8], "little", signed=True)
        length = count * sizes.get(key, 0)
        if key not in sizes or count < 0 or place + 8 + length > len(data):
            raise ModelError(f"{name} ends before its tensors do. It is truncated; upload it again.")
        starts[key] = (place + 8, length)
        place += 8 + length

    def load(storage: _Storage) -> bytes:
        if storage.key not in starts:
            raise ModelError(f"{name} lacks the numbers {storage.key!r} of a tensor. It is truncated; upload it again.")
        start, length = starts[storage.key]
        return data[start:start + length]

    return root, load


def _storage_named(key: Any) -> Any:
    """The storage a persistent id names: ("storage", type, key, place, count, …).

    Old files name the source of each class they hold as ("module", class, path, text); the class stays a name.
    """
    if isinstance(key, tuple) and len(key) == 4 and key[0] == "module" and isinstance(key[1], Named):
        return key[1]
    if not isinstance(key, tuple) or len(key) < 5 or key[0] != "storage" or not isinstance(key[1], Named):
        raise ModelError("The file refers to something outside itself, which torch.save never does. It was refused.")
    if key[1].path not in DTYPES or not isinstance(key[2], str) or type(key[4]) is not int or key[4] < 0:
        raise ModelError(f"The file holds numbers of a kind that is not read ({key[1].path[:80]}). Convert the "
                         "weights to float32 and save them again.")
    return _Storage(DTYPES[key[1].path], key[2], key[4])


def _storages(root: Any) -> Iterator[_Storage]:
    found: list[_Storage] = []
    plain(root, lambda leaf: found.append(leaf) if isinstance(leaf, _Storage) else leaf)
    return iter(found)


def weights_of(found: TorchFile) -> dict[str, torch.Tensor]:
    """The state dict inside a checkpoint, as float32 and int64: without the wrappers that training tools put around it.

    Lightning and RecBole keep it under `state_dict`; data-parallel training puts `module.` before every name.
    """
    tensors = found.tensors
    for wrapper in ("state_dict.", "model_state_dict.", "model_state.", "model."):
        inside = {name.removeprefix(wrapper): tensor for name, tensor in tensors.items() if name.startswith(wrapper)}
        if inside and isinstance(found.values, dict) and wrapper[:-1] in found.values:
            tensors = inside
            break
    for prefix in ("module.", "model.", "_orig_mod."):
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return as_plain_types(tensors)


def as_plain_types(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Fractions as float32, whole numbers as int64."""
    return {name: tensor.float() if tensor.is_floating_point() else tensor.long() for name, tensor in tensors.items()}


def _collect(root: Any, load: Callable[[_Storage], bytes], name: str) -> TorchFile:
    """Walk the file once: tensors get the path that leads to them, all else stays a plain value."""
    out = TorchFile()
    cache: dict[str, bytes] = {}

    def tensor(value: Inert) -> torch.Tensor:
        storage, offset, size, stride = value.args[:4]
        if not isinstance(storage, _Storage):
            raise ModelError(f"A tensor in {name} has no numbers. Save the weights again.")
        if storage.key not in cache:
            cache[storage.key] = load(storage)
        return tensor_from(cache[storage.key], storage.dtype, size, stride, offset, what=f"A tensor in {name}")

    def visit(value: Any, path: tuple[str, ...]) -> Any:
        while isinstance(value, Inert) and value.path in _PARAMETER and value.args:
            value = value.args[0]
        if isinstance(value, Inert) and value.path in _TENSOR and len(value.args) >= 4:
            if len(out.tensors) >= MAX_TENSORS:
                raise ModelError(f"{name} holds more than {MAX_TENSORS:,} tensors; it is no model.")
            key = ".".join(path) or "tensor"
            out.tensors[key] = tensor(value)
            return {"__tensor__": key}
        if isinstance(value, dict) and len(path) < MAX_PATH:
            return {key: visit(item, (*path, str(key))) for key, item in value.items()}
        if isinstance(value, Inert) and isinstance(value.state, dict) and "_parameters" in value.state:
            return visit(_of_module(value.state), path)
        return value

    out.values = plain(visit(root, ()), _scalar)
    return out


def _of_module(state: dict[str, Any]) -> dict[str, Any]:
    """A whole module that was saved, as the state dict it would have: parameters, buffers, then its parts."""
    found: dict[str, Any] = {}
    for place in ("_parameters", "_buffers", "_modules"):
        part = state.get(place)
        found |= {key: value for key, value in part.items() if value is not None} if isinstance(part, dict) else {}
    return found


def _scalar(value: Any) -> Any:
    if isinstance(value, str | int | float | bool | None):
        return value
    return value.decode("utf-8", "replace") if isinstance(value, bytes | bytearray) else str(type(value).__name__)
