"""A page of stored things: the list, one of them (`?id=`), adding one (`?add=`), an import (`?job=`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from compression.spec.errors import RecPressError
from storage.store import Store
from ui.shared.escape import escaped
from ui.shared.failures import draw_failures, warn_without_worker
from ui.shared.format import MISSING, ago, when
from ui.shared.import_watch import draw_import
from ui.shared.live import draw_active
from ui.shared.pages import PAGE_OF
from ui.shared.shell import draw_back, draw_gone, empty_state, page_title
from ui.shared.state import open_page, query_int, query_text, say_later
from ui.shared.ticks import draw_ticks


@dataclass(frozen=True)
class Way:
    """A way to add one: `?add=key`, the words of its button, and what draws it."""

    key: str
    label: str
    draw: Callable[[Store], None]
    help: str | None = None


@dataclass(frozen=True)
class Collection:
    """What such a page needs to know; the first way to add is its main action."""

    page: str  # its key
    one: str  # "model"
    sentence: Callable[[Sequence[Any]], str]
    empty: str  # what to do while there is none
    ways: tuple[Way, ...]
    preparing: tuple[str, ...]  # kinds of jobs whose failures stand in the way
    rows: Callable[[Store], Sequence[Any]]
    find: Callable[[Store, str], Any]
    draw_list: Callable[[Store, Any], None]
    draw_one: Callable[[Store, Any], None]


def draw_collection(store: Store, of: Collection) -> None:
    """The page as its address asks for it."""
    adding, job, chosen = query_text("add"), query_int("job"), query_text("id")
    way = next((one for one in of.ways if one.key == adding), None)
    if way:
        way.draw(store)
    elif job is not None:
        draw_import(store, job, of.page)
    elif chosen:
        _draw_chosen(store, of, chosen)
    else:
        _draw_all(store, of)


def _draw_chosen(store: Store, of: Collection, chosen: str) -> None:
    try:
        row = of.find(store, chosen)
    except RecPressError as error:
        draw_gone(of.one, str(error), of.page)
    else:
        of.draw_one(store, row)


def _draw_all(store: Store, of: Collection) -> None:
    rows = of.rows(store)
    left, right = st.columns([2, 1], vertical_alignment="bottom")
    with left:
        page_title(PAGE_OF[of.page].title, of.sentence(rows))
    actions = right.container(horizontal=True, horizontal_alignment="right", gap="small")
    draw_active(store)
    warn_without_worker(store)
    draw_failures(store, of.preparing)
    if rows:
        of.draw_list(store, rows)
    else:
        empty_state(f"No {of.one} yet", of.empty)
        actions = st.container(horizontal=True, gap="small")
    with actions:
        for way in of.ways:
            if st.button(way.label, type="primary" if way is of.ways[0] else "secondary", help=way.help):
                open_page(of.page, add=way.key)
        if not rows and st.button("Try the sample"):
            open_page("home")


def draw_openable(page: str, rows: Sequence[Mapping[str, Any]], ids: Sequence[str], formats: Mapping[str, Any]) -> None:
    """The list as a table; choosing a row opens it."""
    opened = f"{page}.opened"  # session key: the id of the row that was chosen

    def choose(chosen: tuple[str, ...]) -> None:
        st.session_state[opened] = chosen[0] if chosen else None

    draw_ticks(rows, ids, key=f"{page}.table", ticked=(), on_tick=choose, mode="single-row", placeholder=MISSING,
               column_config=formats)
    if chosen := st.session_state.pop(opened, None):
        open_page(page, id=chosen)
    st.caption("Choose a row to look inside.")


def draw_head(page: str, row: Any, told: Sequence[str]) -> Any:
    """The way back, the name, and what there is to say in a line; gives the place for what can be done with it."""
    draw_back(f"All {page}", page)
    left, right = st.columns([1.7, 1], vertical_alignment="bottom")
    with left:
        st.title(escaped(row.name), anchor=False)
        st.markdown(f":gray[{escaped(' · '.join([*told, row.origin, f'added {ago(row.created)}']))}]",
                    help=f"Added {when(row.created)}. Digest {row.id}.")
    return right.container(horizontal=True, horizontal_alignment="right", gap="small")


def draw_rename(name: str, *, key: str, rename: Callable[[str], None]) -> None:
    """A small form that gives a stored thing another name."""
    with st.popover("Rename"):
        wanted = st.text_input("New name", value=name, key=f"{key}.rename", max_chars=200)
        if st.button("Save", key=f"{key}.rename.save", disabled=not wanted.strip() or wanted == name):
            try:
                rename(wanted)
            except RecPressError as error:
                st.error(escaped(error))
            else:
                st.rerun()


def draw_delete(what: str, *, key: str, page: str, delete: Callable[[bool], None]) -> None:
    """Delete after a second look; a refusal is shown as the store says it."""
    with st.popover("Delete"):
        st.markdown(f"Delete the {escaped(what)}? Its files go with it.")
        with_runs = st.checkbox("Also delete the finished runs that measured it", key=f"{key}.delete.runs")
        if st.button("Delete for good", key=f"{key}.delete.go"):
            try:
                delete(with_runs)
            except RecPressError as error:
                st.error(escaped(error))
            else:
                say_later(f"The {what} was deleted.")
                open_page(page)
