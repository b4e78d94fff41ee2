"""What every part of the store stands on: the machine as one person in one workspace sees it."""

from __future__ import annotations

from storage.access import Access
from storage.machine import Machine


class Bound(Machine):
    """Every session of a part is opened with `self.access`, so that it sees one workspace (storage.narrowing)."""

    def __init__(self, machine: Machine, access: Access) -> None:
        super().__init__(machine.opened)
        self.access = access
