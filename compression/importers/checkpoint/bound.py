"""Which dataset columns the recognised inputs read: as said, by name, by the count of values, by what is left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compression.importers.binding.proposal import ModelInput, bind
from compression.importers.checkpoint.recognised import Field
from compression.spec.data_description import DataDescription, Role
from compression.spec.signature import Signature

_ROLES = {"category": (Role.USER, Role.ITEM, Role.CATEGORY), "multi": (Role.MULTI,), "number": (Role.NUMBER,)}


def bound(fields: tuple[Field, ...], given: dict[str, Any], *, vocabularies: dict[str, list[str]],
          data_folder: Path | None, columns: dict[str, str] | None = None) -> Signature:
    """The signature of recognised weights; `columns` are those a training tool named. Raises ModelError for a "
    "column that the data doesn't have."""
    description = None
    if data_folder is not None:
        from compression.data.description import load_description

        description = load_description(data_folder)
    inputs = [input_of(field) for field in fields]
    said = given.get("inputs")
    if said is None or isinstance(said, dict):
        said = said or {}
        choices = {field.name: _with_kind(field, said.get(field.name, {})) for field in fields
                   if isinstance(said.get(field.name, {}), dict)}
        there = {column.name for column in description.columns} if description else None
        told = {name: column for name, column in (columns or {}).items() if there is None or column in there}
        choices = {name: {"column": told[name]} | choice if name in told and "columns" not in choice else choice
                   for name, choice in choices.items()}
        guessed = _guessed(fields, choices, description, data_folder)
        choices = {name: {"column": guessed[name]} | choice if name in guessed else choice
                   for name, choice in choices.items()}
        given = given | {"inputs": {**said, **{name: choice for name, choice in choices.items() if choice}}}
    return bind(inputs, given, description=description, vocabularies=vocabularies)


def input_of(field: Field) -> ModelInput:
    """What a field reads, as an input of a file."""
    return ModelInput(field.name, "float32" if field.kind == "number" else "int64",
                      (field.length or 0) if field.kind == "multi" else None, {None: field.rows} if field.rows else {})


def _with_kind(field: Field, choice: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "multi"} | choice if field.kind == "multi" else choice


def _guessed(fields: tuple[Field, ...], choices: dict[str, dict[str, Any]], description: DataDescription | None,
             data_folder: Path | None) -> dict[str, str]:
    """Columns for the fields that neither an answer nor a name decides."""
    open_ones = [field for field in fields if field.name in choices and not (
        choices[field.name].get("column") or choices[field.name].get("columns"))]
    if description is None:
        return {field.name: field.name for field in open_ones}
    taken = {column for choice in choices.values() for column in (choice.get("columns") or [choice.get("column")])}
    columns = [one for one in description.columns if one.name not in taken and one.name != description.label.column]
    found = {field.name: _named(field, columns) for field in open_ones}
    found = {name: column for name, column in found.items() if column}
    for kind, roles in _ROLES.items():
        left = [field for field in open_ones if field.kind == kind and field.name not in found]
        free = [one.name for one in columns if one.role in roles and one.name not in found.values()]
        if left and len(left) <= len(free):
            found |= _by_rows(left, free, description, data_folder) if kind == "category" else dict(
                zip((field.name for field in left), free, strict=False))
    return found


def _named(field: Field, columns: list[Any]) -> str | None:
    """The column of a field's name, or the one whose role is its name: user, item."""
    same = [one.name for one in columns if one.name == field.name]
    roles = [one.name for one in columns if str(one.role) == field.name and one.role in (Role.USER, Role.ITEM)]
    return (same or (roles if len(roles) == 1 else []) or [None])[0]


def _by_rows(fields: list[Field], columns: list[str], description: DataDescription, data_folder: Path | None
             ) -> dict[str, str]:
    """The largest table for the column of the most values, and so on; in the data's order where that can't be."""
    from compression.data.ingest import read_splits
    from compression.spec.errors import DataError

    in_order = dict(zip((field.name for field in fields), columns, strict=False))
    try:
        splits = read_splits(data_folder, description)
    except DataError:
        return in_order
    counts = {name: max(part[name].n_unique() for part in splits.values()) for name in columns}
    ordered = sorted(columns, key=lambda name: -counts[name])
    largest = sorted(fields, key=lambda field: -(field.rows or 0))
    found = {field.name: name for field, name in zip(largest, ordered, strict=False)}
    fits = all(counts[found[field.name]] <= (field.rows or 0) for field in fields)
    return found if fits else in_order
