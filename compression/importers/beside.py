"""What comes beside a model: vocabularies, a signature, mappings in JSON. Text of a stranger, bounded and checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from compression.data.cells import repeated
from compression.importers.inspection import Mapping
from compression.spec.errors import ModelError
from compression.spec.plain_text import unique_keys

CONFIG, VOCABULARIES = "config.json", "vocabularies.json"
MAX_JSON_BYTES = 256 << 20  # vocabularies of millions of ids
MOST_KEYS = 200  # of an uploaded JSON that are looked at
_SIGNATURES = ("binding.json", "signature.json")


def signature_beside(files: dict[str, Path]) -> dict[str, Any]:
    """The signature or binding that came with a graph; {} where none did."""
    extras = [json_of(files[name], name) for name in _SIGNATURES if name in files]
    came = extras[0] if extras else {}
    return came.get("signature", came) if isinstance(came, dict) else {}


def vocabularies_of(files: dict[str, Path]) -> dict[str, list[str]]:
    """vocabularies.json: column → values; {} where it did not come."""
    if VOCABULARIES not in files:
        return {}
    plain = json_of(files[VOCABULARIES], VOCABULARIES)
    lists = list(plain.values()) if isinstance(plain, dict) else [None]
    if not all(isinstance(values, list) and all(isinstance(value, str) for value in values) for values in lists):
        raise ModelError("vocabularies.json must map each column to a list of texts, in the order of the table's rows "
                         "from row 1 on.")
    if twice := repeated(plain):
        raise ModelError(twice)
    return plain


def with_vocabularies(files: dict[str, Path], built: dict[str, list[str]], folder: Path) -> dict[str, Path]:
    """The files with the built lists in their vocabularies.json; what was uploaded is never written to."""
    if not built:
        return files
    there = json.loads(files[VOCABULARIES].read_bytes()) if VOCABULARIES in files else {}
    written = folder / "built" / VOCABULARIES
    written.parent.mkdir(parents=True, exist_ok=True)
    written.write_text(json.dumps((there if isinstance(there, dict) else {}) | built), encoding="utf-8")
    return files | {VOCABULARIES: written}


def sizes_of_vocabularies(files: dict[str, Path]) -> dict[str, int]:
    """How many values vocabularies.json lists, by column."""
    return {column: len(values) for column, values in vocabularies_of(files).items()}


def mappings_beside(files: dict[str, Path]) -> dict[str, Mapping]:
    """How many values each mapping value → row in the JSON files has, by its key."""
    return {key: Mapping(len(found), min(found.values())) for name, path in sorted(files.items())
            if name.endswith(".json") and name not in (CONFIG, VOCABULARIES)
            for key, found in mappings_in(path).items()}


def mappings_in(path: Path) -> dict[str, dict[str, int]]:
    """The mappings value → row number in a JSON file: the whole of it, or those under its keys; {} where there is none.

    {"user2idx": {"17": 0, …}, "movie2idx": {…}} gives both; a list of values counts from row 0. What names
    a value twice is no mapping.
    """
    if path.stat().st_size > MAX_JSON_BYTES:
        return {}
    try:
        plain = json.loads(path.read_bytes(), object_pairs_hook=unique_keys)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(plain, dict):
        return {}
    if _is_mapping(plain):
        return {path.name.rsplit(".", 1)[0]: plain}
    found = {}
    for key, value in list(plain.items())[:MOST_KEYS]:
        if isinstance(value, list) and value and all(isinstance(one, str | int) for one in value):
            listed = {str(one): place for place, one in enumerate(value)}
            value = listed if len(listed) == len(value) else {}  # a value that stands twice has no row of its own
        if isinstance(value, dict) and _is_mapping(value):
            found[key] = value
    return found


def json_of(path: Path, name: str) -> Any:
    """The plain values of a JSON file. Raises ModelError for one that is too large or none."""
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ModelError(f"{name} has {path.stat().st_size:,} bytes; at most {MAX_JSON_BYTES:,} are read.")
    return parsed_json(path.read_bytes(), name)


def parsed_json(text: bytes | str, what: str) -> Any:
    """The plain values of a JSON text. Raises ModelError."""
    try:
        return json.loads(text, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{what} is not valid JSON ({error}).") from None


def _is_mapping(plain: dict[Any, Any]) -> bool:
    rows = plain.values()
    return len(plain) > 1 and len(set(rows)) == len(plain) if all(
        isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in rows) else False
