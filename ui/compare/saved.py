"""Saved comparisons: opened by a link, kept under a name, deleted; and links that name runs without their project."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import streamlit as st

from compression.spec.errors import RecPressError
from storage.records import Comparison, Point
from storage.store import Store
from ui.compare.state import View, parse_view, show, view_query, write_view
from ui.shared.escape import escaped
from ui.shared.format import plural
from ui.shared.state import page_link, query_text

MOST_SAVED = 50  # runs of a comparison for which none was chosen
DELETING = "compare.deleting"  # the comparison whose deletion waits for a second click
REFUSED = "compare.delete_refused"


def open_saved(store: Store) -> None:
    """`?c=ID`: show the saved comparison as it was kept, its runs first."""
    saved = query_text("c")
    if not saved:
        return
    del st.query_params["c"]
    try:
        one = store.comparison(saved)
    except RecPressError as error:
        st.error(escaped(error))
        return
    view, _ = parse_view({**{key: str(value) for key, value in one.view.items()}, "runs": ",".join(map(str, one.runs))})
    show(view)
    write_view(view)


def project_of(store: Store, runs: Sequence[int]) -> str | None:
    """The project of the first of these runs that is still there."""
    for run in runs:
        try:
            return store.job(run).project
        except RecPressError:
            continue
    return None


def draw_saved(store: Store, points: Sequence[Point], view: View) -> None:
    """Keep this picture under a name; open or delete one that was kept."""
    with st.popover("Save or open", width="stretch", help="A saved comparison keeps its runs from being deleted."):
        name = st.text_input("Name", key="compare.save_name", placeholder="Candidates for the spring release")
        runs, words = runs_to_save(points, view)
        st.caption(f"Keeps {words} with axes, limits and pinned baseline.")
        if st.button("Save this comparison", disabled=not name.strip()):
            try:
                saved = store.save_comparison(name, runs, view={key: value for key, value in view_query(
                    replace(view, runs=runs)).items() if value is not None})
            except RecPressError as error:
                st.error(escaped(error))
            else:
                st.success(f"Saved. Its link: compare?c={saved}")
        if refused := st.session_state.pop(REFUSED, None):
            st.error(escaped(refused))
        kept = store.comparisons()
        if kept:
            st.markdown("**Saved comparisons**")
            with st.container(height=220 if len(kept) > 4 else "content", border=False):
                for one in kept:
                    _draw_one(store, one)


def runs_to_save(points: Sequence[Point], view: View) -> tuple[tuple[int, ...], str]:
    """The runs a comparison keeps, and how to say which: the ticked ones, else those of the link, else the newest."""
    if view.side:
        return view.side, "the ticked run" if len(view.side) == 1 else f"the {len(view.side)} ticked runs"
    if view.runs:
        return view.runs, f"the {plural(len(view.runs), 'run')} of this comparison"
    newest = tuple(point.job_id for point in points[-MOST_SAVED:])
    if len(newest) < len(points):
        return newest, f"the newest {len(newest)} of {len(points):,} runs"
    return newest, f"all {plural(len(newest), 'run')} shown"


def _draw_one(store: Store, one: Comparison) -> None:
    """A saved comparison: a link that opens it, and its deletion after a second click."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"saved.{one.id}"):
        if st.session_state.get(DELETING) != one.id:
            page_link("compare", f"{one.name} · {plural(len(one.runs), 'run')}", c=one.id)
            st.button("Delete", key=f"saved.{one.id}.delete", type="tertiary", on_click=_ask, args=(one.id,),
                      help="Its runs stay; they can be deleted afterwards.")
            return
        st.markdown(f"Delete **{escaped(one.name)}**? Its runs stay.")
        st.button("Delete for good", key=f"saved.{one.id}.go", on_click=_delete, args=(store, one.id))
        st.button("Keep it", key=f"saved.{one.id}.keep", type="tertiary", on_click=_ask, args=(None,))


def _ask(comparison_id: str | None) -> None:
    st.session_state[DELETING] = comparison_id


def _delete(store: Store, comparison_id: str) -> None:
    st.session_state[DELETING] = None
    try:
        store.delete_comparison(comparison_id)
    except RecPressError as error:
        st.session_state[REFUSED] = str(error)
