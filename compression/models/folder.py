"""What a model folder holds, and the model read from one as everything here works on it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from compression.data.cells import repeated
from compression.spec.errors import ModelError
from compression.spec.plain_text import unique_keys
from compression.spec.signature import Signature

CONFIG, WEIGHTS, VOCABULARIES = "config.json", "model.safetensors", "vocabularies.json"
ONNX = "model.onnx"


@dataclass
class LoadedModel:
    """A model ready to work with. `module` is None for an ONNX file that can only be measured as it is."""

    module: nn.Module | None
    signature: Signature
    vocabularies: dict[str, list[str]]
    architecture: str
    config: dict[str, Any] = field(default_factory=dict)
    onnx_path: Path | None = None


def read_vocabularies(path: Path, signature: Signature) -> dict[str, list[str]]:
    """Values of each column; needed for the inputs that are looked up in a vocabulary."""
    needed = [item for item in signature.singles if item.kind != "number" and item.ids == "vocabulary"]
    if not path.exists() and not needed:
        return {}
    plain = read_json(path, None)
    lists = list(plain.values()) if isinstance(plain, dict) else [None]
    if not all(isinstance(values, list) and all(isinstance(value, str) for value in values) for values in lists):
        raise ModelError(f"{path.name} must map each column to a list of texts, in the order of the table's rows "
                         "from row 1 on.")
    if twice := repeated(plain):
        raise ModelError(twice)
    for item in needed:
        if item.column not in plain:
            raise ModelError(f"{path.name} has no vocabulary for the column {item.column!r} of input {item.name!r}; it "
                             f"has: {', '.join(plain) or 'none'}. Add it, or set ids to 'as-is' in {CONFIG}.")
        count = len(plain[item.column])
        if count + item.first_id > item.cardinality:
            raise ModelError(f"The vocabulary of {item.column!r} has {count} values, but the table of {item.name!r} "
                             f"has {item.cardinality} rows{', the first for unknown values' * item.first_id}. Every "
                             "value needs a row of its own.")
    return plain


def read_json(path: Path, limit: int | None) -> Any:
    """The plain values of a file of at most `limit` bytes. Raises ModelError with what is wrong."""
    if not path.exists():
        raise ModelError(f"The model has no {path.name}; a model of the zoo is {CONFIG}, {WEIGHTS} and {VOCABULARIES}.")
    size = path.stat().st_size
    if limit is not None and size > limit:
        raise ModelError(f"{path.name} has {size:,} bytes; at most {limit:,} are allowed.")
    try:
        return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path.name} is not valid JSON in UTF-8: {error}.") from None
