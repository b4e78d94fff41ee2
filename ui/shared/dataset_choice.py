"""Choosing a stored dataset for a model."""

from __future__ import annotations

from collections import Counter

import streamlit as st

from storage.records import DataRow
from ui.shared.format import plural
from ui.shared.state import query_text

NO_DATA = ""


def choose_data(datasets: list[DataRow], label: str, key: str, *, optional: bool = False,
                start: str = "") -> str:
    """A dataset's id, "" for none; starts at the one the URL names, else at `start`, else at the first."""
    by_id = {row.id: row for row in datasets}
    options = ([NO_DATA] if optional else []) + list(by_id)
    asked = query_text("data") or start
    if st.session_state.get(key) not in options:
        st.session_state[key] = asked if asked in by_id else options[1] if optional and datasets else options[0]
    titles = {NO_DATA: "None yet: measure nothing"} | titles_of(datasets)
    return st.selectbox(label, options, key=key, format_func=titles.__getitem__,
                        help="Its columns are bound to the model's inputs, and quality is measured on its test rows."
                        if optional else "The model is trained on its train rows and stopped on its validation rows.")


def titles_of(datasets: list[DataRow]) -> dict[str, str]:
    """Id → what it is called in a list, each title once: a widget takes the first of equal ones for all of them."""
    titles = {row.id: f"{row.name} · {plural(sum(rows_of(row)), 'row')}" if rows_of(row) else row.name
              for row in datasets}
    count = Counter(titles.values())
    return {key: title if count[title] == 1 else f"{title} · {key[:8]}" for key, title in titles.items()}


def rows_of(row: DataRow) -> list[int]:
    """Rows of each split; empty where none were counted."""
    return list(row.summary.get("rows", {}).values())
