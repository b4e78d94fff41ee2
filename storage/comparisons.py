"""Saved comparisons: runs that somebody keeps side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from compression.spec.errors import StorageError
from storage.base import short_id, shortened
from storage.bound import Bound
from storage.catalogue import checked_title
from storage.narrowing import NarrowedSession
from storage.queue import existing_job
from storage.records import Comparison
from storage.tables import ComparedRunTable, ComparisonTable


class Comparisons(Bound):
    """The part of the store that keeps comparisons."""

    def save_comparison(self, name: str, runs: Sequence[int], *, view: dict[str, Any] | None = None,
                        comparison_id: str | None = None) -> str:
        """Keep runs side by side; gives the id for the URL. With an id, replaces what its owner saved under it."""
        if not runs:
            raise StorageError("A comparison needs at least one run; choose some on the Runs page.")
        with self.database.writing(self.access) as session:
            if comparison_id is None:
                row = ComparisonTable(id=short_id(), created=self.clock(), owner=self.access.person)
                session.add(row)
            else:
                row = _existing(session, comparison_id)
                if row.owner != self.access.person:
                    raise StorageError(f"The comparison {row.name!r} belongs to {row.owner}; save it under a new name.")
            row.name, row.view = checked_title(name), dict(view or {})
            session.flush()
            session.execute(sa.delete(ComparedRunTable).where(ComparedRunTable.comparison == row.id))
            for position, run in enumerate(dict.fromkeys(runs)):
                existing_job(session, run)
                session.add(ComparedRunTable(comparison=row.id, position=position, job=run))
            return row.id

    def comparison(self, comparison_id: str) -> Comparison:
        """A saved comparison. Raises StorageError if there is none."""
        with self.database.reading(self.access) as session:
            return _comparison(session, _existing(session, comparison_id))

    def comparisons(self, *, owner: str | None = None, limit: int = 200) -> list[Comparison]:
        """Saved comparisons, newest first."""
        query = sa.select(ComparisonTable).order_by(ComparisonTable.created.desc()).limit(limit)
        if owner is not None:
            query = query.where(ComparisonTable.owner == owner)
        with self.database.reading(self.access) as session:
            return [_comparison(session, row) for row in session.scalars(query).all()]

    def delete_comparison(self, comparison_id: str) -> None:
        """Delete a saved comparison of one's own; the runs stay. Raises StorageError for somebody else's."""
        with self.database.writing(self.access) as session:
            row = session.get(ComparisonTable, comparison_id)
            if row is None:
                return
            if row.owner != self.access.person:
                raise StorageError(f"The comparison {row.name!r} belongs to {row.owner}, who alone can delete it.")
            session.delete(row)


def _existing(session: NarrowedSession, comparison_id: str) -> ComparisonTable:
    row = session.get(ComparisonTable, comparison_id)
    if row is None:
        raise StorageError(f"There is no saved comparison {shortened(comparison_id)!r}; its owner may have deleted it.")
    return row


def _comparison(session: NarrowedSession, row: ComparisonTable) -> Comparison:
    runs = session.scalars(sa.select(ComparedRunTable.job).where(ComparedRunTable.comparison == row.id)
                           .order_by(ComparedRunTable.position)).all()
    return Comparison(id=row.id, name=row.name, runs=tuple(runs), view=row.view, created=row.created, owner=row.owner)
