"""What Compare shows, as the URL has it: axes, limits, pinned baseline, chosen runs. Back and links reopen it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, get_args

import streamlit as st

from compression.tasks import TASKS
from plots.constraints import Goal, Limits
from ui.state import query_text, set_query

WRITTEN = "compare.written"  # the query this page wrote last: another one came from a link or from Back
MOVED = "compare.moved"
NO_LIMIT = "none"
MOST_RUNS = 1000  # of one address


@dataclass(frozen=True)
class View:
    """One picture of Compare. `runs` empty means every run of the project; `loss` None means no limit."""

    project: str | None = None
    runs: tuple[int, ...] = ()
    x: str = "size_bytes"
    y: str = "auc"
    logx: bool = True
    logy: bool = False
    loss: float | None = TASKS["ctr"].tolerance
    ms: float | None = None
    mb: float | None = None
    at: str | None = None  # metric key the ms limit reads
    proven: bool = False
    goal: Goal = "size"
    pin: int | None = None
    pick: int | None = None
    side: tuple[int, ...] = ()
    q: str = ""

    @property
    def limits(self) -> Limits:
        return Limits(max_loss=self.loss, max_latency_ms=self.ms, max_size_bytes=self.mb and self.mb * 1e6,
                      latency_key=self.at, proven=self.proven, goal=self.goal)


def parse_view(query: Mapping[str, str]) -> View:
    """The view of a URL; what can't be read keeps its default."""
    found: dict[str, Any] = {}
    for field in fields(View):
        text = query.get(field.name)
        if text is None:
            continue
        try:
            found[field.name] = _parse(field.name, text)
        except ValueError:
            continue
    return View(**found)


def _parse(name: str, text: str) -> Any:
    if name in ("runs", "side"):
        return tuple(dict.fromkeys(int(part) for part in text.split(",", MOST_RUNS)[:MOST_RUNS] if part))
    if name in ("pin", "pick"):
        return int(text)
    if name in ("logx", "logy", "proven"):
        return text == "1"
    if name in ("loss", "ms", "mb"):
        if text == NO_LIMIT:
            return None
        value = float(text)
        if not 0 <= value < 1e9:
            raise ValueError(text)
        return value
    if name == "goal" and text not in get_args(Goal):
        raise ValueError(text)
    return text


def view_query(view: View) -> dict[str, str | None]:
    """The URL of a view: what is at its default is left out."""
    default = View()
    query: dict[str, str | None] = {}
    for field in fields(View):
        value = getattr(view, field.name)
        query[field.name] = None if value == getattr(default, field.name) else _text(value)
    return query


def _text(value: Any) -> str:
    if value is None:
        return NO_LIMIT
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def opened_view() -> View:
    """The view in the session, replaced by the URL's where somebody else wrote that: a link, Back, another page."""
    query = {field.name: query_text(field.name) for field in fields(View)}
    moved = st.session_state.pop(MOVED, False) and "compare.view" in st.session_state
    if st.session_state.get(WRITTEN) != query and not moved:
        show(parse_view({key: value for key, value in query.items() if value is not None}))
    return st.session_state["compare.view"]


def show(view: View) -> None:
    """Make this the view: the widgets start from it."""
    st.session_state["compare.view"] = view
    for name in ("x", "y", "logx", "logy", "loss", "ms", "mb", "at", "proven", "goal", "pin", "project", "q"):
        st.session_state[f"compare.{name}"] = getattr(view, name)


def moved() -> None:
    """Called when a widget was moved: the session is newer than the address the browser sent along."""
    st.session_state[MOVED] = True


def change(**values: Any) -> View:
    """The view with some values changed by a click on plot or table."""
    moved()
    st.session_state["compare.view"] = replace(st.session_state["compare.view"], **values)
    return st.session_state["compare.view"]


def write_view(view: View) -> None:
    """Put the view into the URL, so that a link sent to a colleague opens the same picture."""
    st.session_state["compare.view"] = view
    query = view_query(view)
    set_query(**query)
    st.session_state[WRITTEN] = query
