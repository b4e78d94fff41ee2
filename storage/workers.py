"""The worker processes of all machines, and the settings they go by. Neither belongs to a workspace."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from storage.base import Base
from storage.narrowing import EVERY_WORKSPACE, NarrowedSession
from storage.records import WorkerRow
from storage.silence import LEASE_S
from storage.tables import JobTable, SettingTable, WorkerTable

FORGET_S = 3600.0  # a worker that gave no sign for so long is no longer listed


class Settings(Base):
    """The part of the machine that keeps settings."""

    def setting(self, key: str, default: Any = None) -> Any:
        """What was set for a key, else the default."""
        with self.database.reading(EVERY_WORKSPACE) as session:
            row = session.get(SettingTable, key)
            return default if row is None else row.value["value"]

    def set_setting(self, key: str, value: Any) -> None:
        """Keep a plain value (JSON) under a key."""
        with self.database.writing(EVERY_WORKSPACE) as session:
            session.merge(SettingTable(key=key, value={"value": value}))


class Workers(Base):
    """The part of the machine that knows the worker processes."""

    def add_worker(self, worker: str, device: str, *, pid: int | None = None) -> None:
        """Register a worker of this machine."""
        now = self.clock()
        with self.database.writing(EVERY_WORKSPACE) as session:
            session.merge(WorkerTable(id=worker, host=this_machine(), pid=pid or os.getpid(), device=device, job=None,
                                      started=now, seen=now))

    def worker_seen(self, worker: str, device: str) -> None:
        """An idle worker's sign of life; those that it has seen silent for an hour are forgotten."""
        with self.database.writing(EVERY_WORKSPACE) as session:
            seen = sa.update(WorkerTable).where(WorkerTable.id == worker).values(seen=self.clock(), job=None)
            known = session.execute(seen).rowcount == 1
            long_silent = [row for row, still in self._silence(session) if still >= FORGET_S]
            session.execute(sa.delete(WorkerTable).where(WorkerTable.id.in_([row.id for row in long_silent])))
        if not known:  # this one was suspended for so long that another forgot it
            self.add_worker(worker, device)

    def remove_worker(self, worker: str) -> None:
        """Forget a worker that ends in order."""
        with self.database.writing(EVERY_WORKSPACE) as session:
            session.execute(sa.delete(WorkerTable).where(WorkerTable.id == worker))

    def workers(self) -> list[WorkerRow]:
        """Known workers, the living first; `alive` means that no lease has passed here without a sign of life."""
        with self.database.reading(EVERY_WORKSPACE) as session:
            rows = sorted(self._silence(session), key=lambda found: (found[1] >= LEASE_S, -found[0].seen))
            return [WorkerRow(id=row.id, host=row.host, pid=row.pid, device=row.device, job=row.job,
                              started=row.started, seen=row.seen, alive=still < LEASE_S) for row, still in rows]

    def drop_dead_workers(self, is_running: Callable[[int], bool]) -> list[str]:
        """Let the jobs of this machine's dead workers be claimed at once rather than after the lease; gives their ids.

        is_running: whether a process number is in use; one that was given to another program costs no more than
        the lease.
        """
        with self.database.writing(EVERY_WORKSPACE) as session:
            rows = session.scalars(sa.select(WorkerTable).where(WorkerTable.host == this_machine())).all()
            dead = [row for row in rows if not is_running(row.pid)]
            for row in dead:
                session.execute(sa.update(JobTable).where(JobTable.worker == row.id, JobTable.state == "running")
                                .values(beats=None))
                session.delete(row)
            return [row.id for row in dead]

    def _silence(self, session: NarrowedSession) -> list[tuple[WorkerTable, float]]:
        """Each worker's row and how long this store has seen no sign of it; a sign changes `seen`, to whatever."""
        rows = session.scalars(sa.select(WorkerTable)).all()
        still = self.opened.worker_silence.observe({row.id: row.seen for row in rows})
        return [(row, still[row.id]) for row in rows]


def this_machine() -> str:
    """The host and the process namespace, so that a pid of another container is never taken for one of ours."""
    space = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()}/{os.readlink(space)}" if space.is_symlink() else socket.gethostname()
