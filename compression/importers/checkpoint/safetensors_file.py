"""A safetensors file: its metadata without reading a tensor, and its tensors by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from compression.importers.beside import parsed_json
from compression.spec.errors import ModelError

MAX_METADATA_BYTES = 100_000_000  # the limit of the format itself


def safetensors_metadata(path: Path, name: str) -> dict[str, str]:
    """The text metadata in the header of a safetensors file, whose length is checked before it is read."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 10 or length > min(size - 8, MAX_METADATA_BYTES):
            raise ModelError(f"{name} is not a whole safetensors file: its header claims {length:,} bytes, and the "
                             f"file has {size:,}. It is truncated or of another format; save it with safetensors.")
        header = parsed_json(file.read(length), f"the header of {name}")
    metadata = header.get("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ModelError(f"The header of {name} is not one of safetensors; save it again with safetensors.")
    return metadata


def safetensors_state(path: Path, name: str) -> dict[str, Any]:
    """The tensors by name, with numbers in names as numbers: the format doesn't keep the order of the layers."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in sorted(file.keys(), key=_natural)}
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{name} is not a whole safetensors file ({error}). It is truncated or of another format; "
                         "save it again with safetensors.") from None


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"[._]", name)]
