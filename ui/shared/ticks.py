"""A table whose rows can be ticked, known by what stands in them and never by their place.

Streamlit tells the places of the ticked rows. Places change their meaning as soon as a row comes, goes or moves, so the
ids of the rows are part of the widget's identity: other rows, or another order, make another widget, which starts from
the ids that are ticked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Any, Literal

import streamlit as st

from ui.shared.table import draw_dataframe

Tick = Callable[[tuple[Any, ...]], None]


def draw_ticks(table: Any, ids: Sequence[Hashable], *, key: str, ticked: Collection[Hashable], on_tick: Tick,
               mode: Literal["multi-row", "single-row"] = "multi-row", **options: Any) -> None:
    """Draw a table with the rows of `ticked` ticked; `on_tick` gets the ids that are, whenever a person changes them.

    ids: what stands in each row, in order. `options` go to st.dataframe.
    """
    shown = tuple(ids)
    widget = widget_key(key, shown)
    start = [place for place, one in enumerate(shown) if one in ticked]

    def changed() -> None:
        on_tick(ids_at(shown, st.session_state[widget]["selection"]["rows"]))

    if widget in st.session_state and set(st.session_state[widget]["selection"]["rows"]) != set(start):
        st.session_state[widget] = {"selection": {"rows": start, "columns": [], "cells": []}}  # a link, or Back
    draw_dataframe(table, key=widget, on_select=changed, selection_mode=mode, hide_index=True,
                 selection_default={"selection": {"rows": start}}, **options)


def widget_key(key: str, ids: Sequence[Hashable]) -> str:
    """The identity of the table of these rows in this order."""
    return f"{key}.{hashlib.sha256(repr(tuple(ids)).encode()).hexdigest()[:16]}"


def ids_at(ids: Sequence[Hashable], rows: Sequence[int]) -> tuple[Any, ...]:
    """What stands in the rows, in the order of the table."""
    return tuple(ids[row] for row in sorted(rows) if row < len(ids))
