"""The task of what a page shows: that of its dataset."""

from __future__ import annotations

import streamlit as st

from compression.spec.errors import StorageError
from compression.spec.task import DEFAULT_TASK, TASKS
from storage.store import Store
from ui.shared.escape import escaped


def known_task(key: str) -> str:
    """The task, or the default one where the package that brought it is gone."""
    return key if key in TASKS else DEFAULT_TASK


def task_of(store: Store, data: str | None) -> str:
    """The task of a stored dataset; the default one where there is none, or none any more."""
    return known_task(_stored_task(store, data))


def warn_without_task(store: Store, data: str | None) -> None:
    """Say that a dataset's runs are judged by another task than its own, which isn't installed any more."""
    key = _stored_task(store, data)
    if key not in TASKS:
        st.warning(f"The task {escaped(repr(key))} of this dataset isn't installed any more: its runs are judged as "
                   f"those of {escaped(TASKS[DEFAULT_TASK].title)}. Install the package that brought it.")


def _stored_task(store: Store, data: str | None) -> str:
    try:
        return store.dataset(data).description.task if data else DEFAULT_TASK
    except StorageError:
        return DEFAULT_TASK
