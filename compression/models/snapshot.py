"""A model of any layers in one file, read back without running anything in it.

Zoo models are stored as weights beside a configuration (files.py); a model in the middle of a recipe has layers no
configuration knows. Here the whole tree of modules is written, and reading makes objects of this project's and
torch's own layer classes alone: names of anything else end the reading.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import pickle
import tempfile
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from torch import nn
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

_LAYERS = ("torch.nn.modules.", "compression.")


def write_snapshot(path: Path, model: nn.Module, notes: dict[str, Any]) -> bool:
    """Write a model with plain notes (JSON types), whole or not at all; False where it couldn't be read back.

    Raises OSError, among others when the disk is full.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".incoming-")
    try:
        with os.fdopen(handle, "wb") as file:
            torch.save({"model": model, "notes": notes}, file)
            file.flush()
            os.fsync(file.fileno())
        _classes(Path(temporary))
        os.replace(temporary, path)
        return True
    except (pickle.PicklingError, TypeError, AttributeError, RuntimeError, _UnknownClass):
        return False  # a layer that holds a lambda, a handle or a stranger's class
    finally:
        Path(temporary).unlink(missing_ok=True)


def read_snapshot(path: Path) -> tuple[nn.Module, dict[str, Any]] | None:
    """The model and its notes, or None where the file is gone, torn, or names a class that no layer of ours has."""
    try:
        with safe_globals(_classes(path)):
            found = torch.load(path, weights_only=True)
        return found["model"], found["notes"]
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, AttributeError, ValueError,
            pickle.UnpicklingError, _UnknownClass):
        return None


class _UnknownClass(Exception):
    """A file names something that is no layer of this project or of torch."""


def _classes(path: Path) -> list[type]:
    """The classes a file names beyond torch's tensors, each checked. Raises _UnknownClass."""
    return [_class(name) for name in get_unsafe_globals_in_checkpoint(path)]


def _class(name: str) -> type:
    """A layer, or one of the plain records that layers hold, by its dotted name; modules that torch or we have."""
    module, _, last = name.rpartition(".")
    if not name.startswith(_LAYERS):
        raise _UnknownClass(name)
    try:
        found = getattr(importlib.import_module(module), last)
    except (ImportError, AttributeError):
        raise _UnknownClass(name) from None
    ours = isinstance(found, type) and found.__module__ == module
    if not ours or not (issubclass(found, (nn.Module, Enum, BaseModel)) or dataclasses.is_dataclass(found)):
        raise _UnknownClass(name)
    return found
