"""Choosing a stored dataset for a model."""

from __future__ import annotations

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
    return st.selectbox(label, options, key=key, format_func=lambda one: "None yet: measure nothing" if one == NO_DATA
                        else f"{by_id[one].name} · {plural(sum(rows_of(by_id[one])), 'row')}"
                        if rows_of(by_id[one]) else by_id[one].name,
                        help="Its columns are bound to the model's inputs, and quality is measured on its test rows."
                        if optional else "The model is trained on its train rows and stopped on its validation rows.")


def rows_of(row: DataRow) -> list[int]:
    """Rows of each split; empty where none were counted."""
    return list(row.summary.get("rows", {}).values())
