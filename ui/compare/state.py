"""What Compare shows, as the URL has it: axes, limits, pinned baseline, chosen runs. Back and links reopen it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

import streamlit as st

from compression.spec.records import Target
from compression.spec.task import DEFAULT_TASK, TASKS
from compression.tasks.recommend import Goal, Limits
from storage.records import Point
from ui.shared.escape import escaped
from ui.shared.state import query_text, set_query

WRITTEN = "compare.written"  # the query this page wrote last: another one came from a link or from Back
MOVED = "compare.moved"
PROBLEMS = "compare.problems"  # what of the address could not be used, until something is moved
NO_LIMIT = "none"
OF_TASK = "task"  # a limit of loss that nobody chose: the tolerance of the task
LARGEST = {"loss": 1.0, "ms": 1e9, "mb": 1e9}  # of each limit
MAX_IDS = 500  # run ids of one address
FOLDED = ("loss", "ms", "mb", "at", "proven", "slower", "goal")  # widgets inside the popover of the limits


@dataclass(frozen=True)
class View:
    """One picture of Compare. `runs` empty means every run of the project; `loss` None means no limit; what the
    task chooses (`loss` OF_TASK, `y` None) is left to it.
    """

    project: str | None = None
    runs: tuple[int, ...] = ()
    x: str = "size_bytes"
    y: str | None = None
    logx: bool = True
    logy: bool = False
    loss: float | Literal["task"] | None = OF_TASK
    ms: float | None = None
    mb: float | None = None
    at: str | None = None  # metric key the ms limit reads
    proven: bool = False
    slower: bool = False
    goal: Goal = "size"
    pin: int | None = None
    pick: int | None = None
    side: tuple[int, ...] = ()
    q: str = ""

    def limits(self, target: Target, task: str = DEFAULT_TASK) -> Limits:
        """What a run of a project with this target and task may cost."""
        loss = TASKS[task].tolerance if self.loss == OF_TASK else self.loss
        return Limits(max_loss=loss, max_latency_ms=self.ms,
                      max_size_bytes=None if self.mb is None else self.mb * 1e6, latency_key=self.at,
                      proven=self.proven, goal=self.goal, slower=self.slower, task=task, batch_sizes=target.batch_sizes)


def parse_view(query: Mapping[str, str]) -> tuple[View, list[str]]:
    """The view of an address, and a sentence for each part that can't be read and keeps its default."""
    found: dict[str, Any] = {}
    problems = []
    for field in fields(View):
        text = query.get(field.name)
        if text is None:
            continue
        try:
            found[field.name] = _parse(field.name, text)
        except ValueError as error:
            default = getattr(View(), field.name)
            problems.append(f"{field.name}={text[:40]} in the address can't be used: {error}. "
                            + ("The task's tolerance is used." if default == OF_TASK else "It is left out."))
    return View(**found), problems


def _parse(name: str, text: str) -> Any:
    """The value of one part. Raises ValueError with what is allowed."""
    if name in ("runs", "side"):
        return tuple(dict.fromkeys(_run_id(part) for part in text.split(",") if part))[:MAX_IDS]
    if name in ("pin", "pick"):
        return _run_id(text)
    if name in ("logx", "logy", "proven", "slower"):
        return text == "1"
    if name in LARGEST:
        return None if text == NO_LIMIT else _limit(text, LARGEST[name])
    if name == "goal" and text not in get_args(Goal):
        raise ValueError(f"a goal is one of {', '.join(get_args(Goal))}")
    return text


def _run_id(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 16):
        raise ValueError("a run is a whole number")
    return int(text)


def _limit(text: str, largest: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= largest:  # NaN too
        raise ValueError(f"a limit is a number from 0 to {largest:,.0f}, or {NO_LIMIT}")
    return value


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
    return str(value)


def opened_view() -> View:
    """The view in the session, replaced by the URL's where somebody else wrote that: a link, Back, another page."""
    query = {field.name: query_text(field.name) for field in fields(View)}
    moved = st.session_state.pop(MOVED, False) and "compare.view" in st.session_state
    forgotten = "compare.x" not in st.session_state  # Streamlit drops the widgets of a page that was left
    if forgotten or (st.session_state.get(WRITTEN) != query and not moved):
        view, st.session_state[PROBLEMS] = parse_view({key: value for key, value in query.items() if value is not None})
        show(view)
    for name in FOLDED:
        # sent with every run: a popover makes its widgets when it is opened, and by then the first value is gone
        st.session_state[f"compare.{name}"] = st.session_state[f"compare.{name}"]
    return st.session_state["compare.view"]


def show(view: View) -> None:
    """Make this the view: the widgets start from it."""
    st.session_state["compare.view"] = view
    for name in ("x", "y", "logx", "logy", "pin", "project", "q", *FOLDED):
        st.session_state[f"compare.{name}"] = getattr(view, name)


def moved() -> None:
    """Called when a widget was moved: the session is newer than the address the browser sent along."""
    st.session_state[MOVED] = True
    st.session_state.pop(PROBLEMS, None)


def add_problem(text: str) -> None:
    """Keep a sentence about the address, to be shown with those of `parse_view`."""
    if text not in st.session_state.setdefault(PROBLEMS, []):
        st.session_state[PROBLEMS].append(text)


def without_missing(view: View, points: Sequence[Point]) -> View:
    """The view without the runs that its address names and the project doesn't have."""
    here = {point.job_id for point in points}
    return replace(view, runs=tuple(run for run in view.runs if run in here),
                   side=tuple(run for run in view.side if run in here))


def draw_problems(runs: Sequence[int], points: Sequence[Point]) -> None:
    """Say what of the address could not be used, and which of its runs are gone."""
    gone = set(runs) - {point.job_id for point in points}
    if gone:
        st.warning(f"{len(gone)} of {len(runs)} runs of this address are not here (deleted, not finished, or of "
                   f"another project): {', '.join(f'#{run}' for run in sorted(gone)[:6])}{' …' * (len(gone) > 6)}.")
    for problem in st.session_state.get(PROBLEMS, []):
        st.warning(escaped(problem))


def change(**values: Any) -> View:
    """The view with some values changed by a click on plot or table."""
    moved()
    st.session_state["compare.view"] = replace(st.session_state["compare.view"], **values)
    return st.session_state["compare.view"]


def as_written(view: View, task: str) -> View:
    """The view as links have it: an axis and a limit that the task chooses are left to the task."""
    if view.y == TASKS[task].primary_metric:
        view = replace(view, y=None)
    return replace(view, loss=OF_TASK) if view.loss == TASKS[task].tolerance else view


def write_view(view: View) -> None:
    """Put the view into the URL, so that a link sent to a colleague opens the same picture."""
    st.session_state["compare.view"] = view
    query = view_query(view)
    set_query(**query)
    st.session_state[WRITTEN] = query
