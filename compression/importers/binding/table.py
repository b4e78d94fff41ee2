"""A binding as the table a person corrects: a line for each column an input reads, what is proposed, what is checked.

    lines = propose_lines(look, description, summary)          # or from a saved binding
    binding_of(lines, answers)                                 # as the importers read it

Loads neither torch nor onnx: pages use it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from compression.data.summary import ColumnSummary, DataSummary
from compression.importers.binding.proposal import DERIVED, ModelInput, propose
from compression.importers.binding.vocabularies import AS_IS, BUNDLE, DATA, FILE
from compression.importers.inspection import Look
from compression.spec.data_description import DataDescription, Role
from compression.spec.records import Record

MASK, PADDING, LENGTH = DERIVED
SCALE = "scale"  # numbers less their mean, in units of their spread, as fitted on train rows
SOURCE_TITLES = {AS_IS: "as they are", DATA: "numbered in sorted order", FILE: "listed in the upload",
                 BUNDLE: "as its bundle says", SCALE: "standardized",
                 MASK: "1 where the list has an id", PADDING: "1 where the list has none",
                 LENGTH: "how many ids the list has"}
UNREAD = (Role.TIME, Role.IGNORE)  # the summary says nothing of their values
_LENGTH = re.compile(r"(?i)(^|[^a-z])(len|lens|length|lengths)($|[^a-z])|(?<=[a-z])(Len|Lens|Length|Lengths)$")
IDS = (Role.USER, Role.ITEM, Role.CATEGORY)


class Line(Record):
    """One column that the model reads. `place`: which of a wide input; `offset`: added to ids by us."""

    input: str
    kind: Literal["id", "list", "number", "derived"]  # derived: the mask or length of the list in the same column
    dtype: str = "int64"
    place: int | None = None
    rows: int | None = None  # of the table
    asks_rows: bool = False  # where the graph doesn't say them
    length: int | None = None  # of a list; None is free
    shares_table: bool = False  # with the other columns of its input, which the model doesn't offset
    column: str | None = None
    source: str = AS_IS
    offset: int = 0

    @property
    def title(self) -> str:
        return self.input if self.place is None else f"{self.input}[{self.place}]"


def propose_lines(look: Look, description: DataDescription, summary: DataSummary | None,
                  saved: dict[str, Any] | None = None, *, lists: Sequence[str] | None = None) -> tuple[Line, ...]:
    """The table to begin with: a saved binding as it was, else proposals. `lists`: inputs that take lists."""
    about = {one.name: one for one in summary.columns} if summary else {}
    said = (saved or {}).get("inputs") or {}
    columns = {name: choice.get("columns") or [choice.get("column")] for name, choice in said.items()}
    as_lists = {*(look.lists if lists is None else lists),
                *(name for name, choice in said.items() if choice.get("kind") == "multi")}
    if not said:
        as_lists |= _looks_like_lists(look.inputs, description)
    of_list = {} if said else _derived(look.inputs, as_lists, description)
    as_lists -= set(of_list)
    asked = [ModelInput(one.name, one.dtype, 0, one.rows) if one.name in as_lists else one for one in look.inputs
             if one.name not in of_list]
    told = {name: [column] for name, column in look.columns.items() if column in {
        one.name for one in description.columns}}
    found = columns or propose(asked, description, largest=_largest(about), counts=_counts(about)) | told
    kinds = of_list | {name: (name, choice["reads"]) for name, choice in said.items() if choice.get("reads")}
    found |= {name: found.get(source, []) for name, (source, _) in of_list.items()}
    lines = [line for one in look.inputs for line in (
        [Line(input=one.name, kind="derived", dtype=one.dtype, column=next(iter(found.get(one.name, [])), None),
              source=kinds[one.name][1])]
        if one.name in kinds else _lines_of(one, found.get(one.name, []), one.name in as_lists))]
    if said:
        return tuple(_as_saved(line, said.get(line.input, {})) for line in lines)
    lines = [_with_rows(with_column(line, line.column, look, summary), about) for line in lines]
    return tuple(_with_offsets(lines, about))


def with_column(line: Line, column: str | None, look: Look, summary: DataSummary | None) -> Line:
    """The line for another column, with the way its values are most likely numbered."""
    about = next((one for one in summary.columns if one.name == column), None) if summary and column else None
    return line.model_copy(update={"column": column, "source": _source(line, column, about, look)})


def sources(look: Look, description: DataDescription) -> dict[str, str]:
    """How values may become what a model reads: key → title. Nothing is standardized without train rows."""
    derived = DERIVED if any(_may_be_derived(one) for one in look.inputs) else ()
    keys = [AS_IS, *derived, DATA, *([FILE] if look.vocabularies else []), *([BUNDLE] if look.lacks_bundle else [])]
    keys += [f"{FILE}:{name}" for name in look.mappings]
    if not description.is_test_only:
        keys.append(SCALE)
    return {key: source_title(key) for key in keys}


def source_title(key: str) -> str:
    return SOURCE_TITLES.get(key) or f"mapped by {key.split(':', 1)[1]}"


def binding_of(lines: Sequence[Line], answers: dict[str, Any] | None = None) -> dict[str, Any]:
    """The binding of these lines; inputs that lack a column are left out."""
    inputs: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(line.input for line in lines):
        mine = [line for line in lines if line.input == name]
        if any(line.column is None for line in mine):
            continue
        choice: dict[str, Any] = {"column": mine[0].column} if mine[0].place is None else {
            "columns": [line.column for line in mine]}
        if mine[0].kind == "list":
            choice["kind"] = "multi"
        if mine[0].kind == "derived":
            inputs[name] = choice | {"reads": mine[0].source}
            continue
        if asked := {line.column: line.rows for line in mine if line.asks_rows and line.rows}:
            choice["cardinality"] = asked
        if mine[0].kind == "number":
            scaled = [line.column for line in mine if line.source == SCALE]
            choice |= {"scale": scaled} if scaled else {}
            unsaid = {line.column: BUNDLE for line in mine if line.source == BUNDLE}
            choice |= {"from": unsaid} if unsaid else {}
        else:
            choice["from"] = {line.column: line.source for line in mine}
        if any(line.offset for line in mine):
            choice["offsets"] = [line.offset for line in mine]
        inputs[name] = choice
    return ({"inputs": inputs} if inputs else {}) | ({"answers": answers} if answers else {})


def _looks_like_lists(inputs: Sequence[ModelInput], description: DataDescription) -> set[str]:
    """Wide inputs of one table, wider than there are columns of ids, where the data has a column of lists."""
    n_ids = sum(column.role in IDS for column in description.columns)
    has_lists = bool(description.by_role(Role.MULTI))
    return {one.name for one in inputs if has_lists and one.dtype != "float32" and (one.width or 0) > max(1, n_ids)
            and set(one.rows) == {None} and not one.shifts}


def _may_be_derived(one: ModelInput) -> bool:
    """A mask or a length by its name, or numbers of a free length, which no columns can be."""
    is_length = bool(_LENGTH.search(one.name)) and one.width in (None, 1) and not one.rows
    return "mask" in one.name.lower() or is_length or (one.dtype == "float32" and one.width == 0)


def _derived(inputs: Sequence[ModelInput], as_lists: set[str], description: DataDescription
             ) -> dict[str, tuple[str, str]]:
    """Input → (the one list it is as long as, what of it): masks and lengths, unless a column has the input's name."""
    found, columns = {}, {column.name for column in description.columns}
    for one in inputs:
        if not _may_be_derived(one) or one.name in columns:
            continue
        is_mask = one.width not in (None, 1)
        fitting = [other for other in inputs if other.name != one.name and not _may_be_derived(other)
                   and other.dtype != "float32" and (other.width == 0 or other.name in as_lists)
                   and (not is_mask or other.width == one.width)]
        if len(fitting) == 1:
            what = LENGTH if not is_mask else PADDING if "pad" in one.name.lower() else MASK
            found[one.name] = (fitting[0].name, what)
    return found


def _with_rows(line: Line, about: dict[str, ColumnSummary]) -> Line:
    """Where the graph names no table: rows for the ids that the column holds, to be corrected."""
    if line.kind not in ("id", "list") or line.rows is not None:
        return line
    last = about[line.column].largest_id if line.column in about else None
    return line.model_copy(update={"asks_rows": True, "rows": None if last is None else last + 1})


def _lines_of(one: ModelInput, columns: Sequence[str | None], is_list: bool) -> list[Line]:
    rows = one.rows.get(None)
    if one.dtype == "float32":
        about: dict[str, Any] = {"kind": "number", "dtype": one.dtype}
    elif is_list or one.width == 0:
        return [Line(input=one.name, kind="list", dtype=one.dtype, rows=rows, length=one.width or None,
                     column=next(iter(columns), None))]
    else:
        about = {"kind": "id", "dtype": one.dtype}
    if one.width is None:
        return [Line(input=one.name, rows=rows, column=next(iter(columns), None), **about)]
    shared = about["kind"] == "id" and one.width > 1 and set(one.rows) == {None} and not one.shifts
    filled = [*columns, *[None] * one.width][:one.width]
    return [Line(input=one.name, place=place, rows=one.rows.get(place, rows), shares_table=shared, column=column,
                 **about) for place, column in enumerate(filled)]


def _as_saved(line: Line, choice: dict[str, Any]) -> Line:
    source = SCALE if line.column in choice.get("scale", ()) else choice.get("from", {}).get(line.column, AS_IS)
    offsets = choice.get("offsets") or []
    offset = offsets[line.place] if line.place is not None and line.place < len(offsets) else 0
    source = choice.get("reads", source)
    asked = choice.get("cardinality") or {}
    rows = asked.get(line.column) if isinstance(asked, dict) else asked
    return line.model_copy(update={"source": source, "offset": offset} | (
        {"rows": rows, "asks_rows": True} if rows else {}))


def _source(line: Line, column: str | None, about: ColumnSummary | None, look: Look) -> str:
    if line.kind == "derived":
        return line.source
    if look.lacks_bundle and column is not None and (line.kind == "number" or column not in look.vocabularies):
        return BUNDLE
    if line.kind == "number" or column is None:
        return AS_IS
    if column in look.vocabularies:
        return FILE
    fitting = [name for name, one in look.mappings.items() if line.rows and line.rows - 1 <= one.first + one.count
               <= line.rows]
    named = [name for name in fitting if _alike(name, column) or _alike(name, line.input)]
    if len(named or fitting) == 1:
        return f"{FILE}:{(named or fitting)[0]}"
    if about is None or line.kind == "list" or line.rows is None:
        return AS_IS
    if about.role in UNREAD or (about.largest_id is not None and about.largest_id < line.rows):
        return AS_IS
    is_numbered = about.largest_id is not None and (about.cardinality or 0) > line.rows
    return AS_IS if is_numbered else DATA  # what fits neither way is told by its ids


def _alike(name: str, other: str) -> bool:
    """Whether both begin with the same word: user2idx and userId."""
    first, second = (one.lower().split("2")[0].split("_")[0].removesuffix("id") for one in (name, other))
    return len(min(first, second, key=len)) > 1 and (first.startswith(second) or second.startswith(first))


def _with_offsets(lines: list[Line], about: dict[str, ColumnSummary]) -> list[Line]:
    """Offsets where ids of each column count from 0 and together fill the table they share exactly."""
    for name in {line.input for line in lines if line.shares_table}:
        mine = [line for line in lines if line.input == name]
        ends = [about[line.column].largest_id if line.column in about else None for line in mine]
        if BUNDLE in {line.source for line in mine} or None in ends or sum(end + 1 for end in ends) != mine[0].rows:
            continue
        starts = [sum(end + 1 for end in ends[:place]) for place in range(len(ends))]
        lines = [line.model_copy(update={"offset": starts[line.place], "source": AS_IS}) if line.input == name else line
                 for line in lines]
    return lines


def _largest(about: dict[str, ColumnSummary]) -> dict[str, int]:
    return {name: one.largest_id for name, one in about.items() if one.largest_id is not None}


def _counts(about: dict[str, ColumnSummary]) -> dict[str, int]:
    return {name: one.cardinality for name, one in about.items() if one.cardinality}
