"""What the tests of the store begin with: small things to put into it, a clock, another person."""

from __future__ import annotations

from storage.access import LOCAL, Access
from storage.machine import Machine
from storage.silence import LEASE_S
from storage.store import Store
from storage.testing import add_data, add_model, finish, finished_run, result_of, run_spec

__all__ = ["Clock", "add_data", "add_model", "as_person", "finish", "finished_run", "pass_a_lease", "result_of",
           "run_spec"]


class Clock:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def as_person(machine: Machine, person: str, *, workspace: str = LOCAL) -> Store:
    """The store as another person sees it."""
    return Store(machine, Access(person=person, workspace=workspace))


def pass_a_lease(store: Store, monotonic: Clock) -> None:
    """Let a lease go by in which a busy worker of this store looks at the others' heartbeats."""
    for _ in range(4):
        store.heartbeat(0, "busy", attempt=0)
        monotonic.now += LEASE_S / 3
