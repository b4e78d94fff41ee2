"""Which code makes a number: part of every digest that decides whether something was computed before. No torch."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import compression
from compression.spec.registry import plug_ins
from compression.spec.runtime import RUNTIMES

ENGINES = ("torch", "onnx", "numpy")  # beside the packages of the runtimes


@lru_cache(maxsize=1)
def code_version() -> str:
    """A digest of the engine's source and of the libraries that make its numbers, as this process started with them."""
    versions = {}
    for name in (*ENGINES, *(package for one in RUNTIMES.values() for package in one.packages)):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    versions |= {f"{one.group}: {one.name} = {one.value}": one.dist.version for one in plug_ins()}
    folder = Path(compression.__file__).parent
    sources = {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
               for file in sorted(folder.rglob("*.py"))}
    return hashlib.sha256(json.dumps([versions, sources], sort_keys=True).encode()).hexdigest()[:16]
