"""The one place that narrows: a session sees the rows of one workspace, whatever is asked of it.

SQLAlchemy hands every statement of a session to an event before it runs. There each table that belongs to workspaces
gets the condition `workspace = …`, in joins, subqueries, updates and deletes too. New rows get the workspace of their
session. What would pass this place by (SQL as text, a bare table, the connection) is refused. See docs/decisions/061.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import ORMExecuteState, Session, with_loader_criteria

from storage.access import Access
from storage.tables import Owned


class Everywhere(Enum):
    """Not a workspace: what workers, sweeps and migrations see. Its few uses are listed in a test."""

    EVERY_WORKSPACE = "every workspace"


EVERY_WORKSPACE = Everywhere.EVERY_WORKSPACE


class NarrowedSession(Session):
    """A session bound to an access, or to every workspace of the machine."""

    def __init__(self, connection: sa.Connection, access: Access | Everywhere, **options: Any) -> None:
        if not isinstance(access, Access | Everywhere):
            raise TypeError(f"A session is bound to an Access or to EVERY_WORKSPACE; got {access!r}.")
        super().__init__(connection, **options)
        self.access = access

    @property
    def workspace(self) -> str:
        """Where new rows belong."""
        if self.access is EVERY_WORKSPACE:
            raise TypeError("A session of every workspace adds no row to one; bind the session to an Access.")
        return self.access.workspace

    def narrowed(self, statement: Any, access: Access | Everywhere | None = None) -> Any:
        """The statement over the rows of this session's workspace, or of another access for one query."""
        access = access or self.access
        if access is EVERY_WORKSPACE:
            return statement
        workspace = access.workspace
        return statement.options(
            with_loader_criteria(Owned, lambda table: table.workspace == workspace, include_aliases=True))

    def tuples(self, query: sa.Select) -> list[tuple]:
        """The driver's own rows of a query; right for text and numbers, which need no conversion."""
        return super().connection().execute(self.narrowed(query)).cursor.fetchall()

    def connection(self, *arguments: Any, **options: Any) -> sa.Connection:
        """The connection below, which nothing narrows."""
        if self.access is not EVERY_WORKSPACE:
            raise TypeError("A session of a workspace gives no connection: what ran there would not be narrowed.")
        return super().connection(*arguments, **options)


@event.listens_for(NarrowedSession, "do_orm_execute")
def _narrow(state: ORMExecuteState) -> None:
    if state.is_insert or state.session.access is EVERY_WORKSPACE:
        return
    if not state.is_orm_statement:
        raise TypeError(f"A session of a workspace runs queries over mapped tables only; got {state.statement}.")
    state.statement = state.session.narrowed(state.statement)


@event.listens_for(NarrowedSession, "before_flush")
def _own(session: NarrowedSession, context: Any, instances: Any) -> None:
    for row in session.new:
        if isinstance(row, Owned):
            row.workspace = session.workspace
