"""Saved comparisons, settings and the list of workers: the small tables."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from compression.spec.errors import StorageError
from storage.base import Base, short_id, shortened
from storage.catalogue import checked_title
from storage.queue import existing_job
from storage.records import LOCAL, Comparison, WorkerRow
from storage.silence import LEASE_S
from storage.tables import ComparedRunTable, ComparisonTable, JobTable, SettingTable, WorkerTable

FORGET_S = 3600.0  # a worker that gave no sign for so long is no longer listed


class Comparisons(Base):
    """The part of the store that keeps comparisons and settings."""

    def save_comparison(self, name: str, runs: Sequence[int], *, view: dict[str, Any] | None = None,
                        owner: str = LOCAL, comparison_id: str | None = None) -> str:
        """Keep runs side by side; gives the id for the URL. With an id, replaces what its owner saved under it."""
        if not runs:
            raise StorageError("A comparison needs at least one run; choose some on the Runs page.")
        with self.database.writing() as session:
            row = session.get(ComparisonTable, comparison_id) if comparison_id else None
            if row is not None and row.owner != owner:
                raise StorageError(f"The comparison {row.name!r} belongs to {row.owner}; save it under a new name.")
            if row is None:
                row = ComparisonTable(id=comparison_id or short_id(), created=self.clock(), owner=owner)
                session.add(row)
            row.name, row.view = checked_title(name), dict(view or {})
            session.flush()
            session.execute(sa.delete(ComparedRunTable).where(ComparedRunTable.comparison == row.id))
            for position, run in enumerate(dict.fromkeys(runs)):
                existing_job(session, run)
                session.add(ComparedRunTable(comparison=row.id, position=position, job=run))
            return row.id

    def comparison(self, comparison_id: str) -> Comparison:
        """A saved comparison. Raises StorageError if there is none."""
        with self.database.reading() as session:
            row = session.get(ComparisonTable, comparison_id)
            if row is None:
                raise StorageError(f"There is no saved comparison {shortened(comparison_id)!r}; its owner may have "
                                   "deleted it.")
            return _comparison(session, row)

    def comparisons(self, *, owner: str | None = None, limit: int = 200) -> list[Comparison]:
        """Saved comparisons, newest first."""
        query = sa.select(ComparisonTable).order_by(ComparisonTable.created.desc()).limit(limit)
        if owner is not None:
            query = query.where(ComparisonTable.owner == owner)
        with self.database.reading() as session:
            return [_comparison(session, row) for row in session.scalars(query).all()]

    def delete_comparison(self, comparison_id: str, *, owner: str = LOCAL) -> None:
        """Delete a saved comparison of one's own; the runs stay. Raises StorageError for somebody else's."""
        with self.database.writing() as session:
            row = session.get(ComparisonTable, comparison_id)
            if row is None:
                return
            if row.owner != owner:
                raise StorageError(f"The comparison {row.name!r} belongs to {row.owner}, who alone can delete it.")
            session.delete(row)

    def setting(self, key: str, default: Any = None) -> Any:
        """What was set for a key, else the default."""
        with self.database.reading() as session:
            row = session.get(SettingTable, key)
            return default if row is None else row.value["value"]

    def set_setting(self, key: str, value: Any) -> None:
        """Keep a plain value (JSON) under a key."""
        with self.database.writing() as session:
            session.merge(SettingTable(key=key, value={"value": value}))


class Workers(Base):
    """The part of the store that knows the worker processes."""

    def add_worker(self, worker: str, device: str, *, pid: int | None = None) -> None:
        """Register a worker of this machine."""
        now = self.clock()
        with self.database.writing() as session:
            session.merge(WorkerTable(id=worker, host=this_machine(), pid=pid or os.getpid(), device=device, job=None,
                                      started=now, seen=now))

    def worker_seen(self, worker: str, device: str) -> None:
        """An idle worker's sign of life; those that it has seen silent for an hour are forgotten."""
        with self.database.writing() as session:
            seen = sa.update(WorkerTable).where(WorkerTable.id == worker).values(seen=self.clock(), job=None)
            known = session.execute(seen).rowcount == 1
            long_silent = [row for row, still in self._silence(session) if still >= FORGET_S]
            session.execute(sa.delete(WorkerTable).where(WorkerTable.id.in_([row.id for row in long_silent])))
        if not known:  # this one was suspended for so long that another forgot it
            self.add_worker(worker, device)

    def remove_worker(self, worker: str) -> None:
        """Forget a worker that ends in order."""
        with self.database.writing() as session:
            session.execute(sa.delete(WorkerTable).where(WorkerTable.id == worker))

    def workers(self) -> list[WorkerRow]:
        """Known workers, the living first; `alive` means that no lease has passed here without a sign of life."""
        with self.database.reading() as session:
            rows = sorted(self._silence(session), key=lambda found: (found[1] >= LEASE_S, -found[0].seen))
            return [WorkerRow(id=row.id, host=row.host, pid=row.pid, device=row.device, job=row.job,
                              started=row.started, seen=row.seen, alive=still < LEASE_S) for row, still in rows]

    def drop_dead_workers(self, is_running: Callable[[int], bool]) -> list[str]:
        """Let the jobs of this machine's dead workers be claimed at once rather than after the lease; gives their ids.

        is_running: whether a process number is in use; one that was given to another program costs no more than
        the lease.
        """
        with self.database.writing() as session:
            rows = session.scalars(sa.select(WorkerTable).where(WorkerTable.host == this_machine())).all()
            dead = [row for row in rows if not is_running(row.pid)]
            for row in dead:
                session.execute(sa.update(JobTable).where(JobTable.worker == row.id, JobTable.state == "running")
                                .values(beats=None))
                session.delete(row)
            return [row.id for row in dead]

    def _silence(self, session: Session) -> list[tuple[WorkerTable, float]]:
        """Each worker's row and how long this store has seen no sign of it; a sign changes `seen`, to whatever."""
        rows = session.scalars(sa.select(WorkerTable)).all()
        still = self.worker_silence.observe({row.id: row.seen for row in rows})
        return [(row, still[row.id]) for row in rows]


def this_machine() -> str:
    """The host and the process namespace, so that a pid of another container is never taken for one of ours."""
    space = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()}/{os.readlink(space)}" if space.is_symlink() else socket.gethostname()


def _comparison(session: Session, row: ComparisonTable) -> Comparison:
    runs = session.scalars(sa.select(ComparedRunTable.job).where(ComparedRunTable.comparison == row.id)
                           .order_by(ComparedRunTable.position)).all()
    return Comparison(id=row.id, name=row.name, runs=tuple(runs), view=row.view, created=row.created, owner=row.owner)
