"""Bind the inputs of a foreign file to dataset columns: by what the person said, else by name, type and width.

A binding is {"inputs": {input name: {"column": …} or {"columns": [...]}, …}, "output": …, "output_form": …}; each input
may also have kind, ids, first_id, max_length, cardinality, offsets, transform, mean and std; of these, first_id,
transform, mean and std may be one for each column, as {column: value}. A whole Signature is taken as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from compression.spec.data_description import DataDescription, Role
from compression.spec.errors import ModelError
from compression.spec.signature import Input, Signature
from compression.spec.task import DEFAULT_TASK, TASKS

DEFAULT_LENGTH = 50  # values kept of a list whose length is free
MAX_WIDTH = 1000
DERIVED = ("mask", "padding", "length")  # of a list: where it has ids, where it has none, how many
_ALLOWED = {"column", "columns", "kind", "reads", "ids", "first_id", "max_length", "cardinality", "offsets",
            "transform", "mean", "std"}
_ID_ROLES = (Role.USER, Role.ITEM, Role.CATEGORY)
_SAME = {"uid": "user", "iid": "item", "movie": "item", "product": "item", "ad": "item", "customer": "user"}


@dataclass(frozen=True)
class ModelInput:
    """An input as the file declares it. `width`: F of (batch, F), None of (batch,), 0 where the second axis is free."""

    name: str
    dtype: Literal["int64", "int32", "float32"]
    width: int | None
    rows: dict[int | None, int]  # column → rows of the smallest table it reads; None stands for the whole input
    shifts: tuple[int, ...] = ()  # what the model adds to each column before it looks up a shared table

    def __str__(self) -> str:
        shape = "batch" if self.width is None else f"batch, {self.width or 'any'}"
        return f"{self.name!r} ({shape}) {self.dtype}"


def bind(inputs: list[ModelInput], given: dict[str, Any] | None, *, description: DataDescription | None,
         vocabularies: dict[str, list[str]]) -> Signature:
    """The signature of a file. Raises ModelError naming every input that can't be bound, and what could be chosen."""
    given = given or {}
    if isinstance(given.get("inputs"), list | tuple):
        return _whole_signature(inputs, given)
    unknown = set(given) - {"inputs", "output", "output_form", "task"}
    choices = given.get("inputs") or {}
    if unknown or not isinstance(choices, dict) or not all(isinstance(choice, dict) for choice in choices.values()):
        raise ModelError("A binding has inputs (input name → its columns), output, output_form and task; got "
                         f"{', '.join(sorted(given))}.")
    strangers = sorted(set(choices) - {item.name for item in inputs})
    if strangers:
        raise ModelError(f"The binding names an input {strangers[0]!r} that the model doesn't have; it has: "
                         f"{', '.join(str(item) for item in inputs)}.")
    taken = {column for choice in choices.values() for column in _columns_of(choice)}
    bound, failed = [], []
    for item in inputs:
        choice = choices.get(item.name, {})
        columns = _columns_of(choice) or _proposed(item, inputs, description, taken)
        if columns is None:
            failed.append(item)
            continue
        taken |= set(columns)
        if choice.get("reads"):  # computed in the graph from the list of that column
            continue
        bound.append(_bound(item, columns, choice, description, vocabularies))
    if failed:
        raise ModelError(_cannot_bind(failed, description))
    derived_inputs(given, tuple(bound))
    task = given.get("task") or (description.task if description else DEFAULT_TASK)
    if task not in list(TASKS):
        raise ModelError(f"task of a binding must be one of {', '.join(TASKS)}; got {str(task)[:40]!r}.")
    return Signature(inputs=tuple(bound), output_form=TASKS[task].output_form, task=task)


def derived_inputs(given: dict[str, Any], bound: tuple[Input, ...]) -> dict[str, tuple[str, str]]:
    """Input → (the input that reads the list it follows from, which of `DERIVED` it is). Raises ModelError."""
    found = {}
    choices = given.get("inputs") if isinstance(given.get("inputs"), dict) else {}
    for name, choice in choices.items():
        if not (what := choice.get("reads")):
            continue
        columns = _columns_of(choice)
        sources = [one.name for one in bound if one.kind == "multi" and [one.column] == columns]
        if what not in DERIVED or len(sources) != 1:
            lists = ", ".join(one.column for one in bound if one.kind == "multi") or "none"
            read = ", ".join(columns) or "no column"
            raise ModelError(f"Input {name!r} reads {str(what)[:40]!r} of {read}; it may be "
                             f"{', '.join(DERIVED)} of a column that another input reads as a list: {lists}.")
        found[name] = (sources[0], what)
    return found


def propose(inputs: list[ModelInput], description: DataDescription, *, largest: dict[str, int] | None = None,
            counts: dict[str, int] | None = None) -> dict[str, list[str]]:
    """Columns for each input, for a person to correct; an input without a guess is left out.

    By name, type and width; where that says nothing, by the table: the one free column whose largest id is its last
    row, else the only free one that fits in and fills more than half of it, else the one whose `counts` of values
    fills most of it. Numbers are taken in the order of the data.
    """
    found: dict[str, list[str]] = {}
    taken: set[str] = set()
    for item in inputs:
        columns = _proposed(item, inputs, description, taken)
        if columns:
            found[item.name] = columns
            taken |= set(columns)
    for item in inputs:
        rows = item.rows.get(None)
        if item.name in found or item.width not in (None, 1) or rows is None:
            continue
        free = {name: last for name, last in (largest or {}).items()
                if name not in taken and name != description.label.column}
        fitting = [name for name, last in free.items() if last == rows - 1] or [
            name for name, last in free.items() if rows // 2 < last < rows]
        if len(fitting) == 1:
            found[item.name] = fitting
            taken.add(fitting[0])
    _by_counts(inputs, description, counts or {}, found, taken)
    left = [item for item in inputs if item.name not in found]
    numbers = _free(description, (Role.NUMBER,), taken)
    if left and all(item.dtype == "float32" and item.width in (None, 1) for item in left) and \
            len(left) == len(numbers):
        found |= {item.name: [name] for item, name in zip(left, numbers, strict=True)}
    elif len(left) == 1 and left[0].width and left[0].width > 1:  # the only one without columns reads what is left
        free_columns = _free(description, (Role.NUMBER,) if left[0].dtype == "float32" else _ID_ROLES, taken)
        if len(free_columns) == left[0].width:
            found[left[0].name] = free_columns
    return found


def _by_counts(inputs: list[ModelInput], description: DataDescription, counts: dict[str, int],
               found: dict[str, list[str]], taken: set[str]) -> None:
    """Give each single input of a table, the largest first, the free column of ids that fills most of it."""
    left = [item for item in inputs if item.name not in found and item.width in (None, 1) and item.rows.get(None)]
    for item in sorted(left, key=lambda one: -one.rows[None]):
        fitting = [name for name in _free(description, _ID_ROLES, taken) if 0 < counts.get(name, 0) <= item.rows[None]]
        if fitting:
            best = max(fitting, key=counts.__getitem__)
            found[item.name] = [best]
            taken.add(best)


def _free(description: DataDescription, roles: tuple[Role, ...], taken: set[str]) -> list[str]:
    return [column.name for column in description.columns if column.name not in taken
            and column.role in roles and column.name != description.label.column]


def _whole_signature(inputs: list[ModelInput], given: dict[str, Any]) -> Signature:
    known = {key: value for key, value in given.items() if key in Signature.model_fields}
    try:
        signature = Signature.model_validate(known)
    except ValidationError as error:
        where = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()[:3])
        raise ModelError(f"The signature that came with the model can't be read: {where}.") from None
    here, said = [item.name for item in inputs], [item.name for item in signature.inputs]
    if sorted(here) != sorted(said):
        raise ModelError(f"The signature names the inputs {', '.join(said)}, but the model has {', '.join(here)}.")
    return signature.model_copy(update={"inputs": tuple(signature.input(name) for name in here)})


def _columns_of(choice: dict[str, Any]) -> list[str]:
    columns = choice.get("columns") or ([choice["column"]] if choice.get("column") else [])
    if not isinstance(columns, list | tuple) or not all(isinstance(column, str) for column in columns):
        raise ModelError(f"The columns of an input are a list of names; got {str(columns)[:80]}.")
    return list(columns)


def _proposed(item: ModelInput, inputs: list[ModelInput], description: DataDescription | None,
              taken: set[str]) -> list[str] | None:
    """Columns for an input: the one of its name, else all of its type where the count fits, else the only one left."""
    if description is None:
        return [item.name] if item.width in (None, 0, 1) else None
    columns = [column for column in description.columns if column.name != description.label.column]
    free = [column for column in columns if column.name not in taken]
    is_number = item.dtype == "float32"
    roles = (Role.NUMBER,) if is_number else (Role.MULTI,) if item.width == 0 else _ID_ROLES
    if item.width in (None, 0, 1):
        usable = [column for column in free if column.role in (*roles, *_ID_ROLES, Role.NUMBER)]
        named = [column.name for column in usable if _same_name(column.name, item.name)] or [
            column.name for column in usable if column.role in (Role.USER, Role.ITEM)
            and _plain(item.name) == str(column.role)]
        if len(named) == 1:
            return named
        fitting = [column.name for column in free if column.role in roles]
        alike = [other for other in inputs if (other.dtype == "float32") == is_number and other.width in (None, 0, 1)]
        return fitting if len(fitting) == 1 and len(alike) == 1 else None
    fitting = [column.name for column in columns if column.role in roles]
    return fitting if len(fitting) == item.width else None


def _bound(item: ModelInput, columns: list[str], choice: dict[str, Any], description: DataDescription | None,
           vocabularies: dict[str, list[str]]) -> Input:
    extra = sorted(set(choice) - _ALLOWED)
    if extra:
        raise ModelError(f"The binding of input {item.name!r} has {extra[0]!r}; allowed are "
                         f"{', '.join(sorted(_ALLOWED))}.")
    if description is not None:
        names = [column.name for column in description.columns]
        missing = [column for column in columns if column not in names]
        if missing:
            raise ModelError(f"Input {item.name!r} is bound to the column {missing[0]!r}, which the data does not "
                             f"have; it has: {', '.join(names[:50])}.")
    is_multi = choice.get("kind") == "multi" or item.width == 0
    wanted = 1 if item.width is None or is_multi else item.width
    if len(columns) != wanted:
        raise ModelError(f"Input {item} needs {wanted} column(s), but the binding gives {len(columns)}: "
                         f"{', '.join(columns[:20])}.")
    if item.width is not None and item.width > MAX_WIDTH:
        raise ModelError(f"Input {item} is wider than the {MAX_WIDTH} columns that can be bound.")
    if is_multi and item.width is None:
        raise ModelError(f"Input {item} takes one value a row and can't be of kind multi.")
    if item.width in (None, 0) or is_multi:
        single = _single(item, item.name, columns[0], choice, None, vocabularies, is_multi=is_multi)
        length = item.width or choice.get("max_length") or DEFAULT_LENGTH
        return _copy(single, max_length=length, fixed_length=bool(item.width)) if is_multi else single
    offsets = choice.get("offsets") or [0] * len(columns)
    if not isinstance(offsets, list | tuple) or any(type(one) is not int for one in offsets):
        raise ModelError(f"Input {item} needs {len(columns)} offsets, one a column, in a list of whole numbers; the "
                         f"binding gives {str(offsets)[:80]}.")
    if len(offsets) != len(columns):
        raise ModelError(f"Input {item} needs {len(columns)} offsets, one a column; the binding gives {len(offsets)}.")
    shifts = item.shifts if len(item.shifts) == len(columns) else [0] * len(columns)
    parts = []
    for place, column in enumerate(columns):
        single = _single(item, f"{item.name}[{place}]", column, choice, place, vocabularies)
        offset, rows = offsets[place], single.cardinality
        if rows is not None and any(offsets):  # the rows of a shared table up to the next column's
            rows = min([other for other in offsets if other > offset] + [rows]) - offset
        parts.append(_copy(single, offset=offset, shift=shifts[place], cardinality=rows))
    return Input(name=item.name, kind=parts[0].kind, column=", ".join(columns), parts=tuple(parts), dtype=item.dtype,
                 cardinality=None if item.dtype == "float32" else max(
                     (part.cardinality or 1) + part.offset + part.shift for part in parts),
                 ids="as-is" if any(part.ids == "as-is" for part in parts) else "vocabulary")


def _single(item: ModelInput, name: str, column: str, choice: dict[str, Any], place: int | None,
            vocabularies: dict[str, list[str]], *, is_multi: bool = False) -> Input:
    is_number = item.dtype == "float32"
    kind = "number" if is_number else "multi" if is_multi else "category"
    fields: dict[str, Any] = {"name": name, "kind": kind, "column": column, "dtype": item.dtype}
    if is_number:
        fields |= _settings(choice, column, ("transform", "mean", "std"))
    else:
        said = _settings(choice, column, ("cardinality",)).get("cardinality")
        rows = said or item.rows.get(place) or item.rows.get(None)
        if rows is None:
            raise ModelError(f"Input {item} has whole numbers, but reads no table of rows, so nothing says which ids "
                             f"are allowed. Give its cardinality in the binding, or cast it to float in the model.")
        fields |= {"cardinality": rows, "ids": choice.get("ids") or (
            "vocabulary" if column in vocabularies else "as-is")}
        if fields["ids"] == "vocabulary" and kind == "category":
            fields |= _settings(choice, column, ("first_id",))
    return _input(fields)


def _settings(choice: dict[str, Any], column: str, keys: tuple[str, ...]) -> dict[str, Any]:
    """Those of the choice's settings that are said for this column, or for all of the input's."""
    found = {key: choice[key].get(column) if isinstance(choice[key], dict) else choice[key]
             for key in keys if key in choice}
    return {key: value for key, value in found.items() if value is not None}


def _copy(item: Input, **changes: Any) -> Input:
    return _input(item.model_dump() | changes)


def _input(fields: dict[str, Any]) -> Input:
    try:
        return Input.model_validate(fields)
    except ValidationError as error:
        where = "; ".join(f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors()[:3])
        raise ModelError(f"The binding of input {fields['name']!r} can't be read: {where}.") from None


def _same_name(column: str, name: str) -> bool:
    return column == name or _plain(column) == _plain(name)


def _plain(name: str) -> str:
    """A name without case, marks and the usual endings: "User_IDX" → "user"."""
    words = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
    plain = re.sub(r"[^a-z0-9]+", "_", words).strip("_")
    plain = re.sub(r"_?(ids?|idx|index|input|feature|feat)$", "", plain) or plain
    return _SAME.get(plain, plain)


def _cannot_bind(failed: list[ModelInput], description: DataDescription | None) -> str:
    what = "; ".join(str(item) for item in failed)
    if description is None:
        there = "Choose the dataset to bind to"
    else:
        columns = ", ".join(f"{column.name} ({column.role})" for column in description.columns[:60])
        there = f"The data has: {columns}. Name its columns"
    return (f"Can't tell which columns the model's inputs are: {what}. {there}, or give a binding such as "
            f'{{"inputs": {{"{failed[0].name}": {{"columns": ["…"]}}}}}}.')
