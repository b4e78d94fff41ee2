"""What decides whether a checkpoint belongs to a training: a digest of everything that the training starts from.

Whatever changes the outcome has to change the digest, so objects are walked down to their values: weights and plain
attributes of modules (a dropout rate is no weight), settings of hooks with the teachers and tables they hold, the rows
themselves. What can't be described is never equal to anything: then a checkpoint is not used, which costs time only.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import uuid
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_BOOKKEEPING = frozenset(vars(nn.Module()))  # mode, registries, handles: what every module has
_PLAIN = (type(None), bool, int, float, complex, str, bytes)


def fingerprint(*things: Any) -> str:
    """sha256 over the values of `things`; equal in another process, and wherever their tensors are."""
    walk = _Walk()
    for thing in things:
        walk.add(thing)
    return walk.digest.hexdigest()


class _Walk:
    """One pass over objects that may share parts, or hold one another."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.seen: dict[int, tuple[int, Any]] = {}  # id → its number; the object is held, so that no id is used again

    def add(self, thing: Any) -> None:
        if isinstance(thing, _PLAIN) and not isinstance(thing, Enum):
            self._write(type(thing).__name__, repr(thing))
        elif isinstance(thing, type) or inspect.isbuiltin(thing):
            self._write("name", f"{thing.__module__}.{thing.__qualname__}")
        elif id(thing) in self.seen:
            self._write("again", str(self.seen[id(thing)][0]))  # tied weights train unlike equal ones
        else:
            self.seen[id(thing)] = (len(self.seen), thing)
            self._add_object(thing)

    def _add_object(self, thing: Any) -> None:
        if isinstance(thing, Tensor) and thing.layout is torch.strided and not thing.is_quantized:
            self._add_array(thing.detach().cpu(), f"{thing.dtype} {tuple(thing.shape)} {thing.requires_grad}")
        elif isinstance(thing, np.ndarray) and thing.dtype != object:
            self._add_array(torch.from_numpy(np.frombuffer(thing.tobytes(), np.uint8).copy()),
                            f"{thing.dtype} {thing.shape}")
        elif isinstance(thing, nn.Module):
            self._write("module", _name(thing))
            self._add_pairs("parameters", thing._parameters.items())
            self._add_pairs("buffers", thing._buffers.items())
            self._add_pairs("modules", thing._modules.items())
            self._add_pairs("attributes", sorted(_own(thing).items()))
        elif isinstance(thing, Mapping):
            self._add_pairs("mapping", thing.items())
        elif isinstance(thing, list | tuple):
            self._write("sequence", str(len(thing)))
            for one in thing:
                self.add(one)
        elif isinstance(thing, set | frozenset):
            self._write("set", " ".join(sorted(fingerprint(one) for one in thing)))
        elif isinstance(thing, os.PathLike | torch.dtype | torch.device | Enum):
            self._write(_name(thing), str(thing))
        elif isinstance(thing, torch.Generator):
            self._add_array(thing.get_state(), "generator")
        elif isinstance(thing, functools.partial):
            self._add_pairs("partial", zip("faw", (thing.func, thing.args, thing.keywords), strict=True))
        elif inspect.isfunction(thing):
            held = [cell.cell_contents for cell in thing.__closure__ or ()]
            self._write("function", f"{thing.__module__}.{thing.__qualname__}")
            self._add_pairs("held", zip("cdk", (held, thing.__defaults__, thing.__kwdefaults__), strict=True))
        elif inspect.ismethod(thing):
            self._add_pairs("method", zip("fs", (thing.__func__, thing.__self__), strict=True))
        elif hasattr(thing, "__dict__"):  # dataclasses, records, hooks
            self._write("object", _name(thing))
            self._add_pairs("attributes", sorted(vars(thing).items()))
        else:
            self._write("unknown", uuid.uuid4().hex)

    def _add_array(self, tensor: Tensor, kind: str) -> None:
        self._write("array", kind)
        self.digest.update(memoryview(tensor.contiguous().reshape(-1).view(torch.uint8).numpy()))

    def _add_pairs(self, kind: str, pairs: Iterable[tuple[Any, Any]]) -> None:
        pairs = list(pairs)
        self._write(kind, str(len(pairs)))
        for key, value in pairs:
            self.add(key)
            self.add(value)

    def _write(self, kind: str, text: str) -> None:
        """A kind and a text, each with its length before it, so that no two rows of them read the same."""
        for part in (kind.encode(), text.encode("utf-8", "surrogatepass")):
            self.digest.update(len(part).to_bytes(8, "little") + part)


def _own(module: nn.Module) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if name not in _BOOKKEEPING}


def _name(thing: Any) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"
