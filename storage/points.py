"""The light rows of Compare: ten thousand runs with seventeen numbers each, fast enough to draw on every rerun.

A result never changes, so its numbers are read once and then remembered by the id of the result; the rows of the
jobs (names, owners) are read anew each time. Read cold, what counts is the number of Python objects: rows come as
the driver's plain tuples, and the garbage collector stays out while they are made.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from compression.spec.values import Value, Values, point_key
from storage.base import containing
from storage.bound import Bound
from storage.narrowing import NarrowedSession
from storage.records import Point
from storage.tables import JobTable, MeasurementTable, ResultTable

REMEMBERED = 50_000  # results, about 2 kB each
FEW = 500


class Points(Bound):
    """The part of the store that Compare reads."""

    def points(self, model: str, data: str, *, project: str | None = None, text: str | None = None) -> list[Point]:
        """Every finished run of a model on a dataset, oldest first, with the numbers Compare plots.

        The values are shared between calls: read them only.
        """
        runs = [JobTable.model == model, JobTable.data == data, JobTable.state == "done", JobTable.kind == "run"]
        if project is not None:
            runs.append(JobTable.project == project)
        if text:
            runs.append(containing(JobTable.name, text))
        query = (sa.select(JobTable.id, JobTable.name, JobTable.project, ResultTable.families, JobTable.created,
                           JobTable.owner, JobTable.result_id)
                 .join(ResultTable, ResultTable.id == JobTable.result_id).where(*runs).order_by(JobTable.id))
        with self.database.reading(self.access) as session, _without_collector():
            rows = session.tuples(query)
            values = self._values_of({row[6] for row in rows}, session, runs)
            return [Point(row[0], row[1], model, data, row[2], row[3], row[4], row[5], values[row[6]]) for row in rows]

    def _values_of(self, results: set[int], session: NarrowedSession,
                   runs: list[sa.ColumnElement[bool]]) -> dict[int, Values]:
        """The numbers of results, by result; those not seen before are read."""
        known = self.opened.values
        new = results - known.keys()
        if not new:
            return known
        columns = MeasurementTable
        query = sa.select(columns.result_id, columns.metric, columns.batch_size, columns.value, columns.ci_low,
                          columns.ci_high, columns.difference, columns.difference_low, columns.difference_high,
                          columns.baseline)
        if len(new) <= FEW:
            query = query.where(columns.result_id.in_(sorted(new)))
        else:
            query = query.where(columns.result_id.in_(sa.select(JobTable.result_id).where(*runs)))
        read: dict[int, Values] = {result: {} for result in new}
        keys: dict[tuple[str, int], str] = {}
        make = Value._make
        for row in session.tuples(query):
            values = read.get(row[0])
            if values is not None:
                key = keys.get(row[1:3]) or keys.setdefault(row[1:3], point_key(row[1], row[2]))
                values[key] = make(row[3:])
        # a new dictionary rather than a changed one: other threads read the old one meanwhile
        kept = known if len(known) + len(read) <= REMEMBERED else {key: known[key] for key in results & known.keys()}
        self.opened.values = {**kept, **read}
        return self.opened.values


@contextmanager
def _without_collector() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
