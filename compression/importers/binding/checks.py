"""What can be known of a binding before the import: columns, types, ids within tables, batch. Each is a sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from compression.data.summary import ColumnSummary, DataSummary
from compression.importers.binding.proposal import DERIVED
from compression.importers.binding.table import IDS, SCALE, UNREAD, Line
from compression.importers.binding.vocabularies import AS_IS, BUNDLE, DATA, FILE, no_bundle
from compression.importers.inspection import Look
from compression.spec.data_description import DataDescription, Role

MOST_SAID = 3
Beyond = Callable[[str, int], tuple[int, int] | None]


@dataclass(frozen=True)
class Check:
    """What was looked at, whether it is as it should be, and a sentence."""

    title: str
    passed: bool
    text: str


def checks(lines: Sequence[Line], look: Look, description: DataDescription, summary: DataSummary | None, *,
           beyond: Beyond = lambda column, limit: None) -> tuple[Check, ...]:
    """What can be known before the import: columns, types, ids within tables, batch.

    `beyond(column, limit)` counts the rows of a column whose id is `limit` or more: (count, all rows), or None.
    """
    about = {one.name: one for one in summary.columns} if summary else {}
    bound = [line for line in lines if line.column]
    types = [text for line in bound if (text := _wrong_type(line, description, about.get(line.column)))]
    ids = _unsaid(bound, about) or [
        text for line in bound if (text := _out_of_table(line, about.get(line.column), look, beyond))]
    return (_columns_check(lines, description),
            Check("Types", not types, _said(types) or "Columns hold what the inputs read."),
            Check("Ids", not ids, _said(ids) or _within(bound, about)),
            Check("Batch", True, "Any number of rows at a time."))


def _columns_check(lines: Sequence[Line], description: DataDescription) -> Check:
    missing = [line.title for line in lines if line.column is None]
    if missing:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        return Check("Columns", False, f"No column yet for {shown}. Choose one in the table.")
    lists = {line.column for line in lines if line.kind == "list"}
    for line in lines:
        if line.kind == "derived" and line.column not in lists:
            return Check("Columns", False, f"{line.title} follows from the list '{line.column}', which no input reads. "
                                           "Choose the column of a list that another input reads.")
    if any(line.column == description.label.column for line in lines):
        return Check("Columns", False, f"An input reads '{description.label.column}', which is the label: that would "
                                       "give the answer away. Choose another column.")
    return Check("Columns", True, "Every input has a column.")


def _wrong_type(line: Line, description: DataDescription, about: ColumnSummary | None) -> str:
    """Why the column can't be what the input reads; "" where it can or nothing is known."""
    role = next((one.role for one in description.columns if one.name == line.column), None)
    if role is None:
        return f"'{line.column}' is no column of {description.name}."
    if line.kind == "derived":
        return "" if line.source in DERIVED else \
            f"{line.title} follows from a list: choose whether it is 1 where the list has an id, or its length."
    if line.source in DERIVED:
        return f"{line.title} reads values of its own, and no mask or length of a list."
    if line.kind == "list":
        return "" if role in (Role.MULTI, *UNREAD) else \
            f"{line.title} reads a list of ids, and '{line.column}' holds one value a row."
    if role is Role.MULTI:
        return f"{line.title} reads one value a row, and '{line.column}' holds lists."
    if about is None or role in UNREAD:
        return ""
    if line.kind == "number":
        is_words = role in IDS and about.largest_id is None
        return f"{line.title} reads numbers, and '{line.column}' holds words." if is_words else ""
    if line.source == AS_IS and about.largest_id is None:
        return (f"{line.title} reads row numbers (0, 1, 2 …), and '{line.column}' holds other values. Choose how they "
                "are numbered.")
    if line.source == SCALE:
        return f"{line.title} reads ids, which can't be standardized."
    return ""


def _unsaid(bound: Sequence[Line], about: dict[str, ColumnSummary]) -> list[str]:
    """What a file that was exported here reads by its bundle, which isn't there, and where the data has other sizes."""
    unsaid = [line for line in bound if line.source == BUNDLE]
    if not unsaid:
        return []
    counts = {name: one.cardinality for name, one in about.items() if one.cardinality}
    sizes = [f"The table of {line.title} has {line.rows:,} rows, and '{line.column}' has {counts[line.column]:,} "
             "values here." for line in unsaid if line.rows and counts.get(line.column, line.rows - 1) != line.rows - 1]
    return [no_bundle(f"reads {', '.join(line.title for line in unsaid[:MOST_SAID])}"
                      f"{' and others' if len(unsaid) > MOST_SAID else ''}"), *sizes]


def _out_of_table(line: Line, about: ColumnSummary | None, look: Look, beyond: Beyond) -> str:
    """Which column leaves its table, in how many rows and how far; "" where it fits or nothing is known."""
    if line.asks_rows and not line.rows:
        return f"Nothing in the graph says how many ids {line.title} may choose from. Enter it under Table rows."
    if line.kind in ("number", "derived") or line.rows is None:
        return ""
    table = f"the table of {line.title} has {line.rows:,} rows"
    key = line.source.removeprefix(f"{FILE}:")
    if line.source != AS_IS:
        listed = look.mappings[key].count + look.mappings[key].first if key in look.mappings else None
        if line.source == FILE:
            if line.column not in look.vocabularies:
                return f"No list of the upload says how the values of '{line.column}' are numbered."
            listed = look.vocabularies[line.column] + 1
            if look.lacks_bundle and listed != line.rows:
                return (f"vocabularies.json lists {listed - 1:,} values of '{line.column}', and {table}, one of them "
                        "for unknown values: the list belongs to another model.")
        if line.source == DATA and about is not None:
            listed = about.cardinality
        return f"'{line.column}' has {listed:,} values, and {table}." if listed and listed > line.rows else ""
    if about is None or about.largest_id is None or about.largest_id + line.offset < line.rows:
        return ""
    limit = line.rows - line.offset
    found = beyond(line.column, limit)
    many = f"{found[0]:,} of {found[1]:,} rows of '{line.column}' lie" if found else f"'{line.column}' lies"
    last = about.largest_id + line.offset
    return f"{many} outside 0 to {limit - 1:,} (largest {about.largest_id:,}): {table}." if not line.offset else \
        f"{many} outside the table (largest {about.largest_id:,} + {line.offset:,} = {last:,}): {table}."


def _within(bound: Sequence[Line], about: dict[str, ColumnSummary]) -> str:
    ids = [line for line in bound if line.kind not in ("number", "derived")]
    if not ids:
        return "No input reads ids."
    last = {name: one.largest_id for name, one in about.items() if one.largest_id is not None}
    told = [f"{line.column} up to {last[line.column] + line.offset:,} of {line.rows:,} rows" for line in ids
            if line.source == AS_IS and line.rows and line.column in last]
    return "Within their tables" + (f": {'; '.join(told)}." if 0 < len(told) <= MOST_SAID else ".")


def _said(problems: list[str]) -> str:
    more = f" And {len(problems) - MOST_SAID} more." if len(problems) > MOST_SAID else ""
    return " ".join(problems[:MOST_SAID]) + more
