"""The binding of an uploaded model as a table to correct, its open questions, and what is checked before the import."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from compression.data.summary import count_beyond
from compression.importers.binding.checks import Check, checks
from compression.importers.binding.table import (
    Line,
    binding_of,
    propose_lines,
    source_title,
    sources,
    with_column,
)
from compression.importers.inspection import Look
from compression.spec.errors import RecPressError
from compression.spec.records import Question
from storage.records import DataRow
from storage.store import Store
from ui.datasets.preview import materialised
from ui.datasets.view import summary_of
from ui.shared.escape import escaped
from ui.shared.format import MISSING, plural

TRY = "try"  # stands for: the answer of the lowest loss on validation rows
MOST_COUNTED_BYTES = 300_000_000  # of a dataset whose rows are read to count ids beyond a table
TALL = 12  # lines from which the table scrolls
_WORDS = {True: "yes", False: "no"}


@dataclass(frozen=True)
class Filled:
    """The binding as it stands, and the first sentence that keeps it from being imported."""

    binding: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


def draw_binding(store: Store, look: Look, data: DataRow, *, key: str, saved: dict[str, Any]) -> Filled:
    """The table, the questions and the checks; gives the binding as corrected."""
    key = f"{key}.{data.id}"
    lists = st.session_state.get(f"{key}.answer.lists")
    lines = _draw_table(look, data, key if lists is None else f"{key}.{'+'.join(lists)}", saved, lists)
    answers = _draw_questions(look.questions, data, key, saved.get("answers") or {})
    found = checks(lines, look, data.description, summary_of(data),
                   beyond=lambda column, limit: _beyond(data.id, column, limit, store, data))
    _draw_checks(found)
    failed = next((one.text for one in found if not one.passed), "")
    return Filled(binding_of(lines, answers), failed)


def draw_score(look: Look, *, key: str, saved: dict[str, Any]) -> Filled:
    """Which output is the score, where the file leaves a choice."""
    if not look.scores:
        return Filled()
    start = saved.get("output") or look.score
    chosen = st.selectbox("Which output is the score", look.scores, key=f"{key}.score", placeholder="choose one",
                          index=look.scores.index(start) if start in look.scores else None,
                          help="name[1] is the second column of an output; name[1]-[0] is the logit of the second of "
                               "two classes. The other outputs are left out.")
    return Filled({"output": chosen}) if chosen else Filled(problem="Choose which output is the score.")


def _draw_table(look: Look, data: DataRow, key: str, saved: dict[str, Any], lists: list[str] | None
                ) -> tuple[Line, ...]:
    summary = summary_of(data)
    if f"{key}.lines" not in st.session_state:
        st.session_state[f"{key}.lines"] = propose_lines(look, data.description, summary, saved, lists=lists)
        st.session_state[f"{key}.turn"] = 0
    lines: tuple[Line, ...] = st.session_state[f"{key}.lines"]
    if not lines:
        return ()
    st.header("What each input reads", anchor=False)
    known = sources(look, data.description)
    by_title = {title: source for source, title in known.items()}
    turn = f"{key}.table.{st.session_state[f'{key}.turn']}"
    has_offsets, asks_rows = any(line.shares_table for line in lines), any(line.asks_rows for line in lines)
    st.container(key="editor.binding").data_editor(
        [table_row(line, has_offsets=has_offsets, asks_rows=asks_rows) for line in lines], key=turn, hide_index=True,
        disabled=["Input", "Reads", *([] if asks_rows else ["Table rows"])],
        height="content" if len(lines) <= TALL else 460,
        placeholder="choose one", alt="Which column each input of the model reads, and how.",
        on_change=_edited, args=(key, turn, look, data, by_title),
        column_config=_columns([one.name for one in data.description.columns], list(by_title), asks_rows=asks_rows))
    return corrected(lines, _edits(turn), by_title)


def _columns(names: list[str], ways: list[str], *, asks_rows: bool) -> dict[str, Any]:
    """Titles, hints and widths; fixed, so that no column moves while another is corrected."""
    config = st.column_config
    return {
        "Input": config.TextColumn(width=200, help="As the file names it."),
        "Reads": config.TextColumn(width=170, help="One id or number a row, or a list of ids; and its type."),
        "Table rows": config.NumberColumn(width=110, min_value=1, step=1, help=(
            "How many ids the model knows, 0 to one less. It can be entered where the graph doesn't say it.")
        ) if asks_rows else config.TextColumn(width=110, help=(
            "Rows of the embedding table that the ids choose from: 0 to one less.")),
        "Column": config.SelectboxColumn(width=260, options=names, help="The column of the dataset it reads."),
        "Values": config.SelectboxColumn(width=300, options=ways, required=True, help=(
            "How a value of the column becomes what the model reads: ids as they are, numbered in the sorted order of "
            "all values (as LabelEncoder does), or by a list or mapping that was uploaded; numbers as they are, or "
            "standardized on train rows.")),
        "Offset": config.NumberColumn(width=90, min_value=0, step=1, help=(
            "Added to the ids of this column, where columns share a table."))}


def table_row(line: Line, *, has_offsets: bool, asks_rows: bool = False) -> dict[str, Any]:
    """One line as the table shows it; rows as numbers where they can be entered."""
    kind = {"id": "one id", "number": "a number",
            "list": f"up to {line.length} ids" if line.length else "a list of ids",
            "derived": "what follows from a list"}[line.kind]
    rows = line.rows if asks_rows else MISSING if line.rows is None else f"{line.rows:,}"
    row = {"Input": line.title, "Reads": f"{kind} · {line.dtype}", "Table rows": rows, "Column": line.column,
           "Values": source_title(line.source)}
    return row | ({"Offset": line.offset} if has_offsets else {})


def corrected(lines: tuple[Line, ...], edits: dict[int, dict[str, Any]], by_title: dict[str, str]) -> tuple[Line, ...]:
    """The lines with what the person changed in the table."""
    found = list(lines)
    for place, edit in edits.items():
        changes = {"column": edit["Column"]} if "Column" in edit else {}
        if edit.get("Values") in by_title:
            changes["source"] = by_title[edit["Values"]]
        if "Table rows" in edit and found[int(place)].asks_rows:
            changes["rows"] = edit["Table rows"] and int(edit["Table rows"])
        if "Offset" in edit:
            changes["offset"] = int(edit["Offset"] or 0)
        found[int(place)] = found[int(place)].model_copy(update=changes)
    return tuple(found)


def _edits(turn: str) -> dict[int, dict[str, Any]]:
    return (st.session_state.get(turn) or {}).get("edited_rows", {})


def _edited(key: str, turn: str, look: Look, data: DataRow, by_title: dict[str, str]) -> None:
    """Another column is numbered anew, unless the person said how; the table is then drawn afresh."""
    before, edits = st.session_state[f"{key}.lines"], _edits(turn)
    after = list(corrected(before, edits, by_title))
    for place, edit in edits.items():
        if "Column" in edit and "Values" not in edit:
            after[int(place)] = with_column(after[int(place)], edit["Column"], look, summary_of(data))
    if any(now.source != then.source for now, then in zip(after, corrected(before, edits, by_title), strict=True)):
        st.session_state[f"{key}.lines"] = tuple(after)
        st.session_state[f"{key}.turn"] += 1


def _draw_questions(questions: tuple[Question, ...], data: DataRow, key: str, saved: dict[str, Any]) -> dict[str, Any]:
    """What weights alone don't say, each with a proposed answer; gives the answers that were said."""
    if not questions:
        return {}
    can_try = not data.description.is_test_only
    open_ones = [one for one in questions if one.decided_by == "guess"]
    how = "tried on validation rows unless you know better" if can_try else "guessed unless you know better"
    words = f"{plural(len(open_ones), 'setting')} the weights don't say: {how}" if open_ones else \
        f"{plural(len(questions), 'setting')} said by the files that came along"
    answers = {}
    with st.expander(escaped(words), expanded=bool(open_ones) and not can_try, key=f"{key}.questions"):
        places = st.columns(2, gap="medium")
        for place, question in enumerate(sorted(questions, key=lambda one: one.decided_by == "file")):
            with places[place % 2]:
                answer = _ask(question, f"{key}.answer.{question.key}", saved, can_try=can_try)
            if answer != TRY and (answer != question.answer or question.key in saved or
                                  (question.choices and question.decided_by == "guess")):
                answers[question.key] = answer
    return answers


def _ask(question: Question, key: str, saved: dict[str, Any], *, can_try: bool) -> Any:
    """The widget that fits the question; starts at the saved answer, else at the proposal."""
    proposed = saved.get(question.key, question.answer)
    text = escaped(question.text)
    where = escaped(f"Called {question.key} in a binding.") + (" Said by a file of the upload."
                                                               if question.decided_by == "file" else "")
    if question.choices:
        is_open = can_try and question.decided_by == "guess" and len(question.choices) > 1
        options = [TRY, *question.choices] if is_open else list(question.choices)
        start = TRY if is_open and question.key not in saved else proposed

        def title(choice: Any) -> str:
            if choice == TRY:
                return "Whichever fits validation rows best"
            word = _WORDS.get(choice, str(choice)) if isinstance(choice, bool) else str(choice)
            return f"{word} (likeliest)" if choice == question.answer and not is_open else word

        return st.selectbox(text, options, index=options.index(start) if start in options else 0, key=key,
                            format_func=title, help=where)
    if isinstance(proposed, list | tuple):
        return st.multiselect(text, sorted({*map(str, proposed), *map(str, question.answer or ())}),
                              default=list(map(str, proposed)), key=key, help=where)
    if isinstance(proposed, bool) or not isinstance(proposed, int | float):
        return st.text_input(text, value=str(proposed), key=key, help=where)
    return st.number_input(text, value=proposed, key=key, help=where)


def _draw_checks(found: tuple[Check, ...]) -> None:
    """A line for each check, always as many, so that nothing jumps when one fails."""
    lines = "".join(f'<i class="{"passed" if one.passed else "failed"}">{"✓" if one.passed else "✗"}</i>'
                    f"<b>{html.escape(one.title)}</b><span>{html.escape(one.text)}</span>" for one in found)
    st.html(f'<div class="rp-checks">{lines}</div>')


@st.cache_data(show_spinner=False, max_entries=256)
def _beyond(data_id: str, column: str, limit: int, _store: Store, _data: DataRow) -> tuple[int, int] | None:
    """How many rows hold an id from `limit` on, of how many; None where the dataset is too large to be read here."""
    if _data.size_bytes > MOST_COUNTED_BYTES:
        return None
    try:
        with materialised(_store, _data.manifest) as folder:
            return count_beyond(folder, _data.description, column, limit)
    except RecPressError:
        return None
