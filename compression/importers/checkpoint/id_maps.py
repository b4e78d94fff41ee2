"""Mappings value → row that a checkpoint holds beside its weights, such as user2id: found, matched to tables, used.

    maps = mappings_in_values(values)          # {"u2i": {"17": 0, …}, "m2i": {…}}
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from compression.importers.binding.vocabularies import no_mapping, ordered, values_of
from compression.importers.checkpoint.recognised import Field
from compression.spec.errors import DataError
from compression.spec.signature import Signature

MAX_DEPTH = 3
MAX_FOUND = 20
MOST_KEYS = 1000  # of an object that are looked at for more
_SKIPPED = re.compile(r"optim|scheduler|state_dict|param_groups|loops|callbacks|hyper_parameters|^state$")
_NAMES = re.compile(r"(^|_)(ids?|tokens?|vocab\w*|index|idx|map(ping)?|encoder|classes_?|categories|dict)($|_)|2")
_SIDES = {"user": r"user|uid|customer|member|^u(2|_|to|$)", "item": r"item|iid|movie|product|book|song|^[im](2|_|to|$)"}


def mappings_in_values(values: Any) -> dict[str, dict[str, int]]:
    """Mappings from text to rows, by the key they stand under: objects value → row or row → value, and lists of values.

    Only those that number their values from 0 or 1 on without gaps.
    """
    found: dict[str, dict[str, int]] = {}

    def walk(plain: Any, depth: int) -> None:
        if not isinstance(plain, dict) or depth > MAX_DEPTH or len(found) >= MAX_FOUND:
            return
        for key, value in list(plain.items())[:MOST_KEYS]:
            if not isinstance(key, str) or _SKIPPED.search(key):
                continue
            mapping = _mapping(value, key)
            if mapping is not None and len(found) < MAX_FOUND:
                found.setdefault(key, mapping)
            else:
                walk(value, depth + 1)

    walk(values, 0)
    return found


def _mapping(value: Any, key: str) -> dict[str, int] | None:
    if isinstance(value, list) and len(value) > 1 and _NAMES.search(key.lower()):
        pairs = [(_text(one), place) for place, one in enumerate(value)]
    elif isinstance(value, dict) and len(value) > 1:
        pairs = [(_text(one), row) for one, row in value.items()]
        if not _is_numbering(pairs):
            pairs = [(_text(one), row) for row, one in value.items()]
    else:
        return None
    return dict(pairs) if _is_numbering(pairs) else None


def _is_numbering(pairs: list[tuple[str | None, Any]]) -> bool:
    """Whether these are different texts with the rows from 0 or 1 on."""
    rows = [row for _, row in pairs]
    if any(text is None for text, _ in pairs) or not all(type(row) is int for row in rows) or \
            len({text for text, _ in pairs}) < len(pairs):
        return False
    first = min(rows)
    return first in (0, 1) and sorted(rows) == list(range(first, first + len(rows)))


def _text(value: Any) -> str | None:
    """A value as the data's columns have it; None for what is no id."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else None
    return str(value) if isinstance(value, str | int) else None


def side_of(name: str) -> str | None:
    """ "user" or "item", where a mapping's name says so: u2i, user2idx, idx2item."""
    turned = re.fullmatch(r"(?:i|ix|idx|id|index)_?(?:2|to)_?(.+)", name.lower())
    if turned and turned[1] not in ("i", "ix", "idx", "id", "index"):
        name = turned[1]
    sides = [side for side, words in _SIDES.items() if re.search(words, name.lower())]
    return sides[0] if len(sides) == 1 else None


def mapping_of(field: Field, maps: dict[str, dict[str, int]], *, known: Iterable[str] | None) -> str | None:
    """The one mapping that numbers the rows of this field's table; None where none does, or several.

    `known`: values of the column it reads, half of which have to be in the mapping. Row 0 of a list is its padding.
    """
    side = side_of(field.name)
    fitting = []
    for name, mapping in maps.items():
        first = min(mapping.values())
        fits = field.rows is not None and field.rows - 1 <= first + len(mapping) <= field.rows
        if not fits or (field.kind == "multi" and first == 0) or {side, side_of(name)} == {"user", "item"}:
            continue
        if known is None or _share(known, mapping) >= 0.5:
            fitting.append(name)
    same_side = [name for name in fitting if side is not None and side_of(name) == side]
    chosen = same_side or fitting
    return chosen[0] if len(chosen) == 1 else None


def _share(values: Iterable[str], mapping: dict[str, int]) -> float:
    values = list(values)
    return sum(value in mapping for value in values) / max(1, len(values))


def with_mappings(given: dict[str, Any], maps: dict[str, dict[str, int]]
                  ) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """(the binding with its "file:KEY" columns as vocabularies, their values). Raises ModelError for an unknown key."""
    inputs, found = given.get("inputs"), {}
    if not isinstance(inputs, dict):
        return given, found
    changed = {}
    for name, choice in inputs.items():
        sources = choice.get("from") if isinstance(choice, dict) else None
        if not isinstance(sources, dict):
            changed[name] = choice
            continue
        first_ids = dict(choice.get("first_id") or {}) if isinstance(choice.get("first_id") or {}, dict) else {}
        for column, source in sources.items():
            key = str(source).partition(":")[2]
            if key not in maps:
                raise no_mapping(key, column, maps)
            found[column], first_ids[column] = ordered(maps[key], key)
        changed[name] = {key: value for key, value in choice.items() if key != "from"} | {"first_id": first_ids}
    return given | {"inputs": changed}, found


def matched(fields: tuple[Field, ...], signature: Signature, given: dict[str, Any], maps: dict[str, dict[str, int]],
            vocabularies: dict[str, list[str]], data_folder: Path | None
            ) -> tuple[dict[str, Any], dict[str, list[str]], tuple[str, ...]]:
    """Mappings put to the inputs whose rows they number: (binding, vocabularies by column, sentences on every mapping).

    An input whose ids the binding or a vocabulary settles is left as it is.
    """
    if not maps:
        return given, {}, ()
    inputs = dict(given.get("inputs") or {}) if isinstance(given.get("inputs") or {}, dict) else {}
    found: dict[str, list[str]] = {}
    used: dict[str, list[str]] = {}
    for field, bound in zip(fields, signature.inputs, strict=True):
        choice = inputs.get(field.name) or {}
        if bound.kind == "number" or bound.column in vocabularies or {"ids", "first_id"} & set(choice):
            continue
        name = mapping_of(field, maps, known=_values(bound.column, data_folder))
        if name is not None:
            found[bound.column], first = ordered(maps[name], name)
            inputs[field.name] = choice | {"column": bound.column, "ids": "vocabulary"} | (
                {"first_id": {bound.column: first}} if field.kind == "category" else {})
            used.setdefault(name, []).append(bound.column)
    said = [f"The rows of {' and '.join(columns)} are read by the mapping {name} in the file "
            f"({len(maps[name]):,} values)." for name, columns in used.items()]
    left = [f"{name} ({len(maps[name]):,} values)" for name in maps if name not in used]
    settled = {bound.column for bound in signature.inputs if bound.column in vocabularies}
    if left and not settled:
        said.append(f"The file holds mappings of values to rows that no input was matched to: {', '.join(left)}. "
                    "If one of them numbers the ids of a column, choose it where the inputs are bound.")
    return (given | {"inputs": inputs} if found else given), found, tuple(said)


def _values(column: str, data_folder: Path | None) -> list[str] | None:
    """The values of a column over all splits; None where no data says them."""
    if data_folder is None:
        return None
    import polars as pl

    from compression.data.description import load_description
    from compression.data.ingest import read_splits

    try:
        splits = read_splits(data_folder, load_description(data_folder))
        return values_of(pl.concat([one.select(column) for one in splits.values()]), column)
    except (DataError, pl.exceptions.PolarsError):
        return None
