"""What pages share: the store's handle, ways to other pages, values kept in the session or in the URL."""

from __future__ import annotations

import os
import threading
from typing import Any

import streamlit as st

from storage.access import LOCAL_ACCESS, Access
from storage.machine import Machine, open_machine
from storage.store import Store
from ui.shared.escape import escaped
from ui.shared.pages import PAGE_OF


def access() -> Access:
    """Who asks, and in which workspace: the one place that says so for pages and routes."""
    return LOCAL_ACCESS


def store() -> Store:
    """The store as this session may see it."""
    return Store(machine(), access())


def machine() -> Machine:
    """The database and home of this process, opened and migrated once."""
    # a plain cache, because the routes ask outside of any session; the variables are its key
    key = (os.environ.get("DATABASE_URL"), os.environ.get("RECPRESS_HOME"))
    with _opening:
        if key not in _opened:
            _opened[key] = open_machine()
        return _opened[key]


_opening = threading.Lock()
_opened: dict[tuple[str | None, str | None], Machine] = {}


def open_page(name: str, **query: Any) -> None:
    """Go to a page: `open_page("run", id=12)`. None leaves a parameter out."""
    st.switch_page(PAGE_OF[name].path, query_params=plain_query(query))


def page_link(name: str, label: str, *, help: str | None = None, **query: Any) -> None:
    """A link to a page with its query, as `open_page` has it."""
    st.page_link(PAGE_OF[name].path, label=escaped(label), help=help, query_params=plain_query(query) or None)


def plain_query(query: dict[str, Any]) -> dict[str, str]:
    """A query as the URL has it: lists joined by commas, None left out."""
    return {key: ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
            for key, value in query.items() if value is not None and value != []}


def query_text(key: str, default: str | None = None) -> str | None:
    """A parameter of the URL, as text that a database can hold."""
    text = st.query_params.get(key)
    return default if text is None else text.replace("\x00", "\ufffd")


def query_int(key: str, default: int | None = None) -> int | None:
    """A whole number from the URL; what isn't one counts as absent."""
    try:
        return int(st.query_params[key])
    except (KeyError, ValueError):  # Python reads no number of more than 4,300 digits
        return default


def set_query(**query: Any) -> None:
    """Write parameters to the URL without a rerun; None or an empty list removes one."""
    for key, value in query.items():
        plain = plain_query({key: value})
        if not plain:
            st.query_params.pop(key, None)
        elif st.query_params.get(key) != plain[key]:
            st.query_params[key] = plain[key]


def is_dark() -> bool:
    """Whether the person looks at the dark theme; light before the browser has said."""
    return getattr(st.context.theme, "type", None) == "dark"


def say_later(text: str) -> None:
    """Keep a short notice for the next rerun (after a switch of page, say)."""
    st.session_state.setdefault("recpress.notices", []).append(text)


def say_kept() -> None:
    """Show the notices kept by `say_later`, once."""
    for text in st.session_state.pop("recpress.notices", []):
        st.toast(escaped(text))
