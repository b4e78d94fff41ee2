"""The home and its database: who may tidy up, what a wrong address costs, a database that went missing."""

import json
import logging
import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from compression.spec.errors import StorageError
from compression.spec.records import SampleSpec
from storage.access import LOCAL_ACCESS
from storage.engine import sqlite_url
from storage.home import OWNER_FILE
from storage.narrowing import EVERY_WORKSPACE
from storage.store import Store, open_store
from tests.postgresql import own_schema
from tests.storage.given import Clock, add_data, add_model
from tests.storage.test_files import lies

DAY_S = 24 * 3600


@pytest.fixture
def later() -> Clock:
    """A clock that stands two days ahead of the files' times."""
    clock = Clock()
    clock.now = time.time() + 2 * DAY_S
    return clock


@pytest.fixture
def elsewhere(database_url, tmp_path, request):
    """The address of another empty database of the same kind."""
    if database_url.startswith("sqlite"):
        yield f"sqlite:///{tmp_path / 'elsewhere.db'}"
    else:
        with own_schema(request.getfixturevalue("postgresql")) as url:
            yield url


@pytest.fixture
def home(tmp_path) -> Path:
    return tmp_path / "home"


def filled(url, home: Path, clock: Clock) -> set[str]:
    """A home with a model, a dataset and the folder of a job; gives the digests of its files."""
    with closing(open_store(LOCAL_ACCESS, url, home, clock=clock)) as store:
        named = {*store.model(add_model(store)).manifest.values(), *store.dataset(add_data(store)).manifest.values()}
        job = store.submit(SampleSpec())
        (store.job_folder(job) / "work").mkdir(parents=True)
        (store.job_folder(job) / "work" / "checkpoint").write_text("of the first database")
    return named


def files_of(home: Path) -> dict[str, bytes]:
    return {path.relative_to(home).as_posix(): path.read_bytes() for name in ("files", "jobs", "uploads")
            for path in (home / name).rglob("*") if path.is_file()}


def test_another_database_sweeps_nothing_and_says_so(database_url, elsewhere, home, later, caplog):
    filled(database_url, home, later)
    before = files_of(home)
    with caplog.at_level(logging.WARNING), closing(open_store(LOCAL_ACCESS, elsewhere, home, clock=later)) as other:
        for _ in range(2):
            assert other.sweep() == 0
            later.now += 30 * DAY_S
        assert files_of(home) == before
        assert not other.owns_home()
        assert "belongs to another database" in other.home_notice() and "DATABASE_URL" in other.home_notice()
        assert other.home_notice() in caplog.text
    with closing(open_store(LOCAL_ACCESS, database_url, home, clock=later)) as back:
        assert back.owns_home() and back.home_notice() is None
        back.sweep()
        assert files_of(home) == before


def test_sqlite_then_another_then_postgresql_and_back_loses_nothing(tmp_path, home, later, request):
    named = filled(None, home, later)
    before = files_of(home)
    with own_schema(request.getfixturevalue("postgresql")) as server:
        for url in (f"sqlite:///{tmp_path / 'other.db'}", server):
            with closing(open_store(LOCAL_ACCESS, url, home, clock=later)) as other:
                add_model(other, "Of another database")
                later.now += 8 * DAY_S
                other.sweep()
                assert not other.owns_home()
    with closing(open_store(LOCAL_ACCESS, None, home, clock=later)) as back:
        back.sweep()
        assert back.owns_home() and all(lies(back.files, digest) for digest in named)
        assert before.items() <= files_of(home).items()


def test_jobs_of_another_database_work_in_folders_of_their_own(database_url, elsewhere, home, later):
    filled(database_url, home, later)
    with closing(open_store(LOCAL_ACCESS, elsewhere, home, clock=later)) as other:
        assert other.submit(SampleSpec()) == 1
        assert not other.job_folder(1).exists()
        other.job_folder(1).mkdir()
        other.log_path(1).write_text("of the second")
    with closing(open_store(LOCAL_ACCESS, database_url, home, clock=later)) as first:
        assert (first.job_folder(1) / "work" / "checkpoint").read_text() == "of the first database"
        assert not first.log_path(1).exists()
        later.now += 30 * DAY_S
        first.sweep()
    with closing(open_store(LOCAL_ACCESS, elsewhere, home, clock=later)) as other:
        assert other.log_path(1).read_text() == "of the second"


def test_a_home_without_an_owner_belongs_to_the_first_database_that_lists_one_of_its_files(
        database_url, elsewhere, home, later):
    named = filled(database_url, home, later)
    (home / OWNER_FILE).unlink()  # as homes were before
    with closing(open_store(LOCAL_ACCESS, elsewhere, home, clock=later)) as other:
        assert other.sweep() == 0
        assert "lists none of the files" in other.home_notice()
        assert all(lies(other.files, digest) for digest in named)
    with closing(open_store(LOCAL_ACCESS, database_url, home, clock=later)) as first:
        stray = first.files.put_bytes(b"stray")
        assert first.owns_home()
        assert first.sweep() == 1 and not lies(first.files, stray)
        assert all(lies(first.files, digest) for digest in named)


def test_an_empty_home_belongs_to_the_first_empty_database(database_url, elsewhere, home, later):
    open_store(LOCAL_ACCESS, database_url, home, clock=later).close()
    assert json.loads((home / OWNER_FILE).read_text())["id"]
    with closing(open_store(LOCAL_ACCESS, elsewhere, home, clock=later)) as other:
        assert other.owns_home()  # nothing lies in it that could be lost


def test_a_database_over_an_empty_home_that_has_none_of_its_files_is_told(database_url, home, tmp_path, later):
    filled(database_url, home, later)
    with closing(open_store(LOCAL_ACCESS, database_url, tmp_path / "wrong", clock=later)) as store:
        assert not store.owns_home()
        assert "has none of them" in store.home_notice() and "RECPRESS_HOME" in store.home_notice()


def test_a_deleted_database_leaves_the_files_of_its_home(home, later):
    named = filled(None, home, later)
    for file in home.glob("recpress.db*"):
        file.unlink()
    with closing(open_store(LOCAL_ACCESS, None, home, clock=later)) as empty:
        assert empty.sweep() == 0 and "belongs to another database" in empty.home_notice()
        later.now += 30 * DAY_S
        assert empty.sweep() == 0
        assert all(lies(empty.files, digest) for digest in named)


def test_a_copied_home_is_tidied_up_by_its_own_copy_of_the_database(home, tmp_path, later):
    named = filled(None, home, later)
    shutil.copytree(home, tmp_path / "copy")
    with closing(open_store(LOCAL_ACCESS, None, tmp_path / "copy", clock=later)) as copy:
        stray = copy.files.put_bytes(b"stray")
        assert copy.owns_home() and copy.sweep() == 1 and not lies(copy.files, stray)
        assert json.loads((tmp_path / "copy" / OWNER_FILE).read_text())["address"].endswith("copy/recpress.db")
    with closing(open_store(LOCAL_ACCESS, None, home, clock=later)) as first:
        assert first.owns_home() and all(lies(first.files, digest) for digest in named)


def test_files_that_a_restored_backup_does_not_know_are_kept_for_a_week(home, tmp_path, later):
    filled(None, home, later)
    shutil.copy(home / "recpress.db", tmp_path / "backup.db")
    with closing(open_store(LOCAL_ACCESS, None, home, clock=later)) as store:
        newer = set(store.model(add_model(store, "Newer")).manifest.values())
        with store.database.reading(EVERY_WORKSPACE) as session:
            session.execute(sa.text("SELECT 1"))
    shutil.copy(home / "recpress.db", tmp_path / "newer.db")
    shutil.copy(tmp_path / "backup.db", home / "recpress.db")
    with closing(open_store(LOCAL_ACCESS, None, home, clock=later)) as restored:
        assert restored.sweep() == 1
        later.now += 6 * DAY_S
        restored.sweep()
    shutil.copy(tmp_path / "newer.db", home / "recpress.db")
    with closing(open_store(LOCAL_ACCESS, None, home, clock=later)) as again:
        later.now += 2 * DAY_S
        again.sweep()
        assert all(lies(again.files, digest) for digest in newer)


def test_a_job_begins_in_an_empty_folder_whatever_lies_under_its_number(store):
    (store.job_folder(5) / "work").mkdir(parents=True)
    (store.job_folder(5) / "work" / "checkpoint").write_text("of a database since restored")
    for _ in range(2):
        store.clear_job_folder(5)
        assert not store.job_folder(5).exists()
    assert [path.read_text() for path in (store.home / "jobs" / "trash").rglob("checkpoint")] == [
        "of a database since restored"]


def test_an_owner_file_that_cannot_be_read_lets_nobody_sweep(database_url, home, later):
    filled(database_url, home, later)
    (home / OWNER_FILE).write_text("{")
    with closing(open_store(LOCAL_ACCESS, database_url, home, clock=later)) as store:
        stray = store.files.put_bytes(b"stray")
        assert store.sweep() == 0 and lies(store.files, stray)


@pytest.mark.parametrize("name", ["a%20b", "q?x=1", "h#y", "a b", "100%", "%(here)s", "a&b;c", "Größe 大", "[x]*",
                                  "a:b@c"])
def test_the_database_lies_in_the_home_whatever_its_name(tmp_path, monkeypatch, name):
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("RECPRESS_HOME", str(tmp_path / name))
    with closing(open_store(LOCAL_ACCESS)) as store:
        store.set_setting("key", name)
        store.check()
    assert [path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("recpress.db")] == [name]
    with closing(sqlite3.connect(tmp_path / name / "recpress.db")) as connection:
        kept = connection.execute("SELECT value FROM settings WHERE key='key'").fetchone()[0]
    assert json.loads(kept) == {"value": name}


def test_a_whole_store_passes_the_check(store):
    for _ in range(3):
        store.check()
        store.set_setting("key", 1)


@pytest.mark.parametrize("damage", ["deleted", "emptied", "overwritten", "replaced", "a page"])
def test_a_database_file_that_went_wrong_fails_the_check(home, damage):
    file = home / "recpress.db"
    with closing(open_store(LOCAL_ACCESS, None, home)) as store:
        add_model(store)
        store.check()
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if damage == "deleted":
            file.unlink()
        elif damage == "emptied":
            os.truncate(file, 0)
        elif damage == "overwritten":
            file.write_bytes(b"no database " * 1000)
        elif damage == "replaced":
            shutil.copy(file, home / "copy")
            os.replace(home / "copy", file)
        else:
            with file.open("r+b") as out:
                out.seek(4096 * 3)
                out.write(os.urandom(4096 * 3))
        with pytest.raises(StorageError, match=damage if damage in ("deleted", "replaced") else "is damaged"):
            store.check()


@pytest.mark.parametrize("damage", ["deleted", "replaced"])
def test_nothing_is_written_to_a_database_file_that_is_no_longer_there(home, damage):
    with closing(open_store(LOCAL_ACCESS, None, home)) as store:
        shutil.copy(home / "recpress.db", home / "copy")
        (home / "recpress.db").unlink()
        if damage == "replaced":
            os.replace(home / "copy", home / "recpress.db")
        with pytest.raises(StorageError, match=damage):
            store.submit(SampleSpec())


def test_a_database_whose_tables_are_gone_fails_the_check(store):
    with store.database.writing(EVERY_WORKSPACE) as session:
        session.execute(sa.text("DELETE FROM settings"))
    with pytest.raises(StorageError, match="is not the one that was opened"):
        store.check()


def test_a_home_that_is_gone_fails_the_check(database_url, tmp_path, home):
    with closing(open_store(LOCAL_ACCESS, database_url, home)) as store:
        home.rename(tmp_path / "moved")
        with pytest.raises(StorageError, match=r"can't be written|was deleted"):
            store.check()


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
def test_a_home_and_all_in_it_is_for_its_owner_alone(home):
    before = os.umask(0o022)
    try:
        with closing(open_store(LOCAL_ACCESS, None, home)) as store:
            filled(None, home, Clock())
            assert readable_by_others(store, "files", "recpress.db", OWNER_FILE) == []
    finally:
        os.umask(before)


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
def test_an_existing_home_is_closed_to_others_when_it_is_opened(home):
    filled(None, home, Clock())
    (home / "jobs" / "1" / "log.txt").write_text("log")
    for path in (home, *home.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    with closing(open_store(LOCAL_ACCESS, None, home)) as store:
        assert readable_by_others(store, "files", "jobs", "recpress.db") == []


def readable_by_others(store: Store, *names: str) -> list[Path]:
    paths = [store.home, *(path for name in names for part in store.home.glob(f"{name}*")
                           for path in (part, *part.rglob("*")))]
    return [path for path in paths if path.stat().st_mode & 0o077]


def test_sqlite_url_survives_the_round_trip(tmp_path):
    path = tmp_path / "a%20b?c#d.db"
    assert sqlite_url(path).database == str(path)
