"""What every part of the store stands on: the database, the artifacts, the home folder and the clock."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from compression.spec.values import Values
from storage.engine import Database
from storage.files import Files
from storage.narrowing import NarrowedSession
from storage.silence import LEASE_S, Silence
from storage.tables import Owned

Clock = Callable[[], float]
LARGEST_ID = 2**63 - 1  # a larger number is no row of any database


@dataclass
class Opened:
    """What a process opens once: the machine, and the store of each access, are handles on it."""

    database: Database
    files: Files
    home: Path
    clock: Clock  # for times that people read; never compared to judge who is alive
    monotonic: InitVar[Clock]  # by which the silence of workers is measured
    database_id: str | None = None  # read once
    values: dict[int, Values] = field(default_factory=dict)  # the numbers of results, by the id of the result

    def __post_init__(self, monotonic: Clock) -> None:
        self.lease_silence = Silence(monotonic, longest_gap_s=LEASE_S / 3)
        self.worker_silence = Silence(monotonic, longest_gap_s=LEASE_S)  # pages look seldom


class Base:
    """Held by each part of the machine and of the store; safe to share between threads, not across a fork."""

    def __init__(self, opened: Opened) -> None:
        self.opened = opened
        self.database = opened.database
        self.files = opened.files
        self.home = opened.home
        self.clock = opened.clock

    def insert_if_absent(self, session: NarrowedSession, table: type, values: dict[str, Any]) -> bool:
        """Insert a row unless its key is taken; tells whether it was new. Safe against another process."""
        dialect = sqlite if self.database.is_sqlite else postgresql
        if issubclass(table, Owned):
            values = {**values, "workspace": session.workspace}
        return session.execute(dialect.insert(table).values(**values).on_conflict_do_nothing()).rowcount == 1


def containing(column: sa.orm.InstrumentedAttribute, text: str) -> sa.ColumnElement[bool]:
    """The column contains the text as it stands, whatever the case."""
    return column.icontains(text, autoescape=True)


def listed(names: Sequence[str], most: int = 3) -> str:
    """ "a, b and c", or "a, b, c and 4 more"."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def shortened(text: str, most: int = 24) -> str:
    """A text for a sentence: what is longer ends in "…"."""
    return text if len(text) <= most else f"{text[:most]}…"


def short_id() -> str:
    """A random id for a URL."""
    return secrets.token_urlsafe(6).replace("-", "a").replace("_", "b")
