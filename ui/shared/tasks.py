"""The task of what a page shows: that of its dataset."""

from __future__ import annotations

from compression.spec.errors import StorageError
from compression.spec.task import DEFAULT_TASK
from storage.store import Store


def task_of(store: Store, data: str | None) -> str:
    """The task of a stored dataset; the default one where there is none, or none any more."""
    try:
        return store.dataset(data).description.task if data else DEFAULT_TASK
    except StorageError:
        return DEFAULT_TASK
