"""Opening: migrations, several processes at once, transactions that lose nothing, sweeping."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from compression.spec.code_version import code_version
from compression.spec.errors import StorageError
from compression.spec.records import ImportDataSpec, SampleSpec
from storage.access import LOCAL_ACCESS
from storage.engine import Database, make_engine
from storage.migrations import HEAD
from storage.narrowing import EVERY_WORKSPACE
from storage.store import open_store
from storage.tables import Table
from storage.upgrade import MIGRATIONS, upgrade
from tests.storage.given import add_data, add_model, finished_run, result_of, run_spec
from tests.storage.test_files import lies

ROOT = Path(__file__).parents[2]
DAY_S = 24 * 3600


def run_python(code: str, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True)


def test_the_migrations_make_the_tables_of_the_code(database_url, store):
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == HEAD
    engine = make_engine(database_url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []
    engine.dispose()


@pytest.mark.slow
def test_processes_that_start_at_once_migrate_once(database_url, tmp_path):
    code = "import sys; from storage.machine import open_machine; open_machine(sys.argv[1], sys.argv[2]).workers()"
    started = [run_python(code, database_url, str(tmp_path / "home")) for _ in range(3)]
    for process in started:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors


def test_opening_again_changes_nothing(database_url, store, tmp_path):
    model = add_model(store)
    assert open_store(LOCAL_ACCESS, database_url, tmp_path / "home").model(model).name == "DeepFM"


def test_a_database_of_a_newer_version_is_left_alone(database_url, store):
    engine = make_engine(database_url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(StorageError, match="made by a newer RecPress"):
        upgrade(database_url)


@pytest.mark.parametrize(("url", "said"), [
    ("nonsense", "is not a database address"),
    ("sqlite://", "in-memory database can't be shared"),
    ("mysql://host/db", "mysql; sqlite and postgresql are supported"),
])
def test_an_address_that_cannot_be_used_is_explained(url, said, tmp_path):
    with pytest.raises(StorageError, match=said):
        open_store(LOCAL_ACCESS, url, tmp_path)


def test_a_home_that_cannot_be_written_is_explained(tmp_path):
    (tmp_path / "home").write_text("a file, not a folder")
    with pytest.raises(StorageError, match="can't be read or written"):
        open_store(LOCAL_ACCESS, None, tmp_path / "home")


def test_a_file_that_is_no_database_is_explained(tmp_path):
    (tmp_path / "recpress.db").write_text("not a database, and long enough to be looked at" * 40)
    with pytest.raises(StorageError, match="The database can't be opened: file is not a database"):
        open_store(LOCAL_ACCESS, f"sqlite:///{tmp_path / 'recpress.db'}", tmp_path)


@pytest.mark.slow
def test_processes_that_read_then_write_lose_no_update(database_url, store, tmp_path):
    store.set_setting("count", 0)
    code = """
import sys
from storage.machine import open_machine
from storage.narrowing import EVERY_WORKSPACE
from storage.tables import SettingTable
store = open_machine(sys.argv[1], sys.argv[2])
for _ in range(100):
    with store.database.writing(EVERY_WORKSPACE) as session:
        row = session.get(SettingTable, "count", with_for_update=True)
        row.value = {"value": row.value["value"] + 1}
"""
    started = [run_python(code, database_url, str(tmp_path / "home")) for _ in range(3)]
    for process in started:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert store.setting("count") == 300


def test_opening_again_drops_no_lock_of_this_process(tmp_path):
    """Closing any handle of a file ends all of a process's locks on it (POSIX): SQLite's own must not be lost."""
    store = open_store(LOCAL_ACCESS, None, tmp_path)
    with store.database.reading(EVERY_WORKSPACE) as session:
        session.execute(sa.text("SELECT count(*) FROM jobs"))
        open_store(LOCAL_ACCESS, None, tmp_path)
        code = ("import sys; from storage.machine import open_machine; "
                "open_machine(None, sys.argv[1]).set_setting('key', 1)")
        process = run_python(code, str(tmp_path))  # the last to close deletes the log: it must see that it isn't
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert store.setting("key") == 1


def test_what_fails_in_the_middle_of_a_transaction_leaves_no_trace(store):
    with pytest.raises(ZeroDivisionError), store.database.writing(store.access) as session:
        store._put_job(session, "", SampleSpec(), parent=None, owner="local")
        1 / 0  # noqa: B018
    assert store.jobs().total == 0


def test_a_reader_does_not_wait_for_a_writer(tmp_path):
    store = open_store(LOCAL_ACCESS, None, tmp_path)
    with store.database.writing(store.access) as session:
        store._put_job(session, "", SampleSpec(), parent=None, owner="local")
        assert store.jobs().total == 0


def test_a_full_disk_is_explained(tmp_path):
    store = open_store(LOCAL_ACCESS, None, tmp_path)
    engine = make_engine(f"sqlite:///{tmp_path / 'recpress.db'}")

    @sa.event.listens_for(engine, "connect")
    def limit(connection, record):
        connection.execute(f"PRAGMA max_page_count={connection.execute('PRAGMA page_count').fetchone()[0]}")

    store.database = Database(engine)
    with pytest.raises(StorageError, match="The disk that holds the database is full; nothing was changed"):
        store.set_setting("large", "x" * 200_000)
    assert store.setting("large") is None


def test_the_sweep_keeps_whatever_a_row_names(store, tmp_path, clock):
    upload, stray, bundle = (store.files.put_bytes(data) for data in (b"upload", b"stray", b"bundle"))
    model, data = add_model(store), add_data(store)
    finished_run(store, run_spec(store, model=model, data=data), files={"bundle.zip": bundle})
    store.submit(ImportDataSpec(files={"a.csv": upload}, name="a", description={}))
    clock.now = time.time() + 2 * DAY_S
    assert store.sweep() == 1
    assert not lies(store.files, stray)
    assert lies(store.files, upload) and lies(store.files, bundle)
    assert all(lies(store.files, digest) for digest in store.model(model).manifest.values())


def test_the_sweep_keeps_the_log_of_an_old_job_and_nothing_of_a_deleted_one(store, clock):
    job_id = finished_run(store, run_spec(store))
    for folder in (store.job_folder(job_id), store.job_folder(77)):
        (folder / "work").mkdir(parents=True)
        (folder / "log.txt").write_text("log")
    clock.now += 8 * DAY_S
    store.sweep()
    assert os.listdir(store.job_folder(job_id)) == ["log.txt"]
    assert not store.job_folder(77).exists()


def test_the_code_version_is_the_same_in_another_process():
    code = "from compression.spec.code_version import code_version; import sys; sys.exit(code_version() != sys.argv[1])"
    process = run_python(code, code_version())
    assert process.wait(60) == 0


@pytest.mark.slow
def test_ten_thousand_runs_are_counted_in_sql_and_read_once(tmp_path):
    from storage.rows import measurement_rows

    store = open_store(LOCAL_ACCESS, None, tmp_path)
    spec = run_spec(store)
    first = finished_run(store, spec)
    rows = 10_000
    with store.database.writing(EVERY_WORKSPACE) as session:
        for table, changed in (("results", "job=i.n"), ("jobs", "result_id=i.n")):
            column, _, _ = changed.partition("=")
            names = [name for name in Table.metadata.tables[table].columns.keys() if name not in ("id", column)]  # noqa: SIM118
            session.execute(sa.text(
                f"WITH RECURSIVE i(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM i WHERE n < {rows}) "
                f"INSERT INTO {table} (id, {column}, {', '.join(names)}) "
                f"SELECT i.n, i.n, {', '.join(names)} FROM {table}, i WHERE {table}.id = {first}"))
        template = measurement_rows(result_of(spec), 0)
        metrics = [{**template[0], "metric": f"metric {index}"} for index in range(17)]
        session.connection().execute(sa.insert(Table.metadata.tables["measurements"]), [
            {**row, "result_id": number} for number in range(2, rows + 1) for row in metrics])
    cold = _best(lambda: open_store(LOCAL_ACCESS, None, tmp_path).points(spec.model, spec.data))
    assert len(store.points(spec.model, spec.data)) == rows
    # ratios to reading every run anew, in turn on the same machine: absolute times stand in docs/results
    assert _best(lambda: store.points(spec.model, spec.data)) < 0.6 * cold
    assert _best(store.projects) < cold
    assert _best(lambda: store.jobs(text="seed", page=100)) < cold


def _best(action) -> float:
    return min(_seconds(action) for _ in range(5))


def _seconds(action) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
