"""Links to Compare that name something else than a view: a saved comparison, or runs without their project."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from compression.errors import RecPressError
from storage.store import Store
from ui.compare_state import parse_view, show, write_view
from ui.escape import escaped
from ui.state import query_text


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
    view = parse_view({**{key: str(value) for key, value in one.view.items()}, "runs": ",".join(map(str, one.runs))})
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
