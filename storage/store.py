"""The store: the handle of one person in one workspace, through which pages and scripts reach what people made.

    store = open_store(LOCAL_ACCESS)          # or Store(machine, access), over a machine that is open
    job = store.submit(RunSpec(model=…, data=…, recipe=recipe))
    points = store.points(model, data)

There is no store without an `Access`, and every query of a store is narrowed to its workspace (storage.narrowing).
Each part is a file: catalogue (models, datasets), queue (jobs), results, points, comparisons. What belongs to no
workspace is the machine's, which a store is too.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from storage.access import Access
from storage.base import Clock
from storage.comparisons import Comparisons
from storage.machine import open_machine
from storage.points import Points
from storage.results import Results


class Store(Results, Points, Comparisons):
    """Everything that RecPress remembers of a workspace. As cheap to make as a function call."""


def open_store(access: Access, url: str | sa.URL | None = None, root: Path | str | None = None,
               **clocks: Clock) -> Store:
    """Open a machine (see `open_machine`) and the store of an access on it."""
    return Store(open_machine(url, root, **clocks), access)
