"""No query without an Access: held by the contract over both databases, and by a walk over the store's own code."""

from __future__ import annotations

import ast
import inspect

import pytest
import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.orm import aliased

from compression.spec.records import SampleSpec
from storage.access import LOCAL, LOCAL_ACCESS, Access
from storage.bound import Bound
from storage.machine import Machine
from storage.narrowing import EVERY_WORKSPACE
from storage.store import Store
from storage.tables import JobTable, ModelTable, Owned, Table
from storage.testing import PROBES, StoreContract

# methods that take no Access, and why; each gives no more of what people made than the number of a job
MACHINE_LEVEL = {
    "claim": "a worker takes jobs of every workspace; the job says whose it is",
    "heartbeat": "a sign of life of the worker that holds the job",
    "fail": "said by the worker that holds the job",
    "release": "said by the worker that holds the job",
    "add_worker": "workers belong to machines",
    "worker_seen": "workers belong to machines",
    "remove_worker": "workers belong to machines",
    "workers": "workers belong to machines",
    "drop_dead_workers": "workers belong to machines",
    "setting": "of the machine: the size of its cache, the time its workers give a job",
    "set_setting": "of the machine: the size of its cache, the time its workers give a job",
    "job_folder": "where a worker works; pages use log_path, which asks for the job",
    "clear_job_folder": "where a worker works",
    "sweep": "a file goes once no workspace names it",
    "named_digests": "a file goes once no workspace names it",
    "database_id": "of the database",
    "owns_home": "of the home folder",
    "home_notice": "of the home folder",
    "adopt_home": "of the home folder",
    "check": "of the database and the home folder",
    "insert_if_absent": "takes a session, which has its access",
    "close": "of the database",
}
BOUND = {name for name in dir(Store) if not name.startswith("_")} - set(MACHINE_LEVEL)


class TestContract(StoreContract):
    """The fixture `machine` of this folder is SQLite, then PostgreSQL."""


def test_every_public_method_is_bound_or_listed_with_a_reason():
    of_the_machine = {name for name in dir(Machine) if not name.startswith("_")}
    assert of_the_machine == set(MACHINE_LEVEL)
    assert BOUND.isdisjoint(of_the_machine), "a bound method has the name of a machine-level one"
    assert set(PROBES) == BOUND, "a method that no probe tries in another workspace"


@pytest.mark.parametrize("part", [part for part in Store.__mro__ if part.__module__.startswith("storage.")],
                         ids=lambda part: part.__name__)
def test_parts_of_the_store_open_sessions_with_their_access_and_those_of_the_machine_with_every_workspace(part):
    expected = "self.access" if issubclass(part, Bound) else "EVERY_WORKSPACE"
    opened = [ast.unparse(call) for call in ast.walk(ast.parse(inspect.getsource(inspect.getmodule(part))))
              if isinstance(call, ast.Call) and getattr(call.func, "attr", "") in ("reading", "writing")]
    assert all(call == f"self.database.{kind}({expected})" for call in opened
               for kind in [call.split("(")[0].rpartition(".")[2]]), opened


def test_there_is_no_store_and_no_session_without_an_access(machine):
    for make in (lambda: Store(machine), lambda: machine.database.reading(), lambda: machine.database.writing()):
        with pytest.raises(TypeError):
            make()
    with pytest.raises(TypeError, match="bound to an Access or to EVERY_WORKSPACE"), machine.database.reading(None):
        pass
    for given in ({}, {"person": "anna"}, {"workspace": "north"}, {"person": "anna", "workspace": ""}):
        with pytest.raises(ValidationError):
            Access(**given)
    with pytest.raises(ValidationError, match="frozen"):
        LOCAL_ACCESS.workspace = "north"


def test_every_table_of_what_people_make_belongs_to_a_workspace():
    free = {mapper.class_.__tablename__ for mapper in Table.registry.mappers if not issubclass(mapper.class_, Owned)}
    # rows of a result or a comparison are reached through it; the rest is the machine's
    assert free == {"result_files", "measurements", "compared_runs", "settings", "workers"}


def narrowed_statements():
    """Statements, and how often each has to ask for the workspace."""
    other = aliased(JobTable)
    counted = sa.select(JobTable.model, sa.func.count()).group_by(JobTable.model)
    yield sa.select(JobTable), 1
    yield sa.select(JobTable.id), 1
    yield sa.select(sa.func.count()).select_from(JobTable), 1
    yield sa.select(counted.subquery()), 1
    yield sa.select(counted.cte()), 1
    yield sa.union_all(sa.select(JobTable.id), sa.select(JobTable.id)), 2
    yield sa.select(ModelTable.id).where(sa.exists().where(JobTable.model == ModelTable.id)), 2
    yield sa.select(JobTable.id, ModelTable.name).outerjoin(ModelTable, ModelTable.id == JobTable.model), 2
    yield sa.select(other.id), 1
    yield sa.update(JobTable).values(name="taken"), 1
    yield sa.delete(JobTable), 1


def test_every_kind_of_statement_is_narrowed(store):
    for statement, conditions in narrowed_statements():
        with store.database.writing(store.access) as session:
            assert _conditions(session, statement) == conditions, statement
        with store.database.writing(EVERY_WORKSPACE) as session:
            assert _conditions(session, statement) == 0


def test_a_row_asked_for_by_its_key_is_narrowed(store):
    job = store.submit(SampleSpec())
    with store.database.reading(store.access) as session:
        assert session.get(JobTable, job).id == job
    with store.database.reading(Access(person=LOCAL, workspace="another")) as session:
        assert session.get(JobTable, job) is None


def _conditions(session, statement) -> int:
    """How often a statement, as it reaches the database, asks for a workspace."""
    said = []
    engine = session.get_bind().engine
    record = lambda connection, cursor, text, *rest: said.append(text)  # noqa: E731
    sa.event.listen(engine, "before_cursor_execute", record)
    try:
        session.execute(statement)
    finally:
        sa.event.remove(engine, "before_cursor_execute", record)
    assert len(said) == 1
    return said[0].split("RETURNING")[0].count("workspace = ")


def test_what_would_pass_the_narrowing_by_is_refused(store):
    bare = JobTable.__table__
    with store.database.writing(store.access) as session:
        for statement in (sa.text("SELECT * FROM jobs"), sa.select(bare.c.id), sa.delete(bare)):
            with pytest.raises(TypeError, match="of a workspace"):
                session.execute(statement)
        with pytest.raises(TypeError, match="of a workspace"):
            session.connection()


def test_a_session_of_every_workspace_adds_nothing_to_one(machine):
    with pytest.raises(TypeError, match="adds no row"), machine.database.writing(EVERY_WORKSPACE) as session:
        session.add(ModelTable(id="x", workspace="north"))
