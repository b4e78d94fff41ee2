"""A home made by an earlier RecPress opens, and what people made is found in it.

home_of_0001.json holds the rows that the version of migration 0001 wrote, and the content of the files they name.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from compression.spec.records import RunSpec
from storage.access import LOCAL, LOCAL_ACCESS
from storage.digests import project_key
from storage.engine import make_engine
from storage.files import Files
from storage.home import DATABASE_ID
from storage.store import open_store
from storage.tables import Table
from storage.upgrade import MIGRATIONS
from tests.storage.given import as_person

OLD = json.loads(Path(__file__).with_name("home_of_0001.json").read_text())


@pytest.fixture
def old_home(database_url, tmp_path) -> Path:
    """A home as migration 0001 left it: tables, rows, the numbers given so far, files."""
    home = tmp_path / "home"
    files = Files(home / "files")
    for content in OLD["files"]:
        files.put_bytes(content.encode())
    engine = make_engine(database_url)
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        tables = sa.MetaData()
        tables.reflect(connection)
        for name, rows in OLD["tables"].items():
            connection.execute(sa.insert(tables.tables[name]), rows)
        for name, largest in OLD["counts"].items():
            if engine.dialect.name == "sqlite":
                connection.execute(sa.text("UPDATE sqlite_sequence SET seq = :seq WHERE name = :name"),
                                   {"seq": largest, "name": name})
            else:
                connection.execute(sa.text("SELECT setval(pg_get_serial_sequence(:name, 'id'), :seq)"),
                                   {"seq": largest, "name": name})
    engine.dispose()
    return home


@pytest.fixture
def opened(old_home, database_url):
    store = open_store(LOCAL_ACCESS, database_url, old_home)
    yield store
    store.close()


def rows(table: str) -> list[dict]:
    return OLD["tables"][table]


def test_models_datasets_runs_and_comparisons_of_before_are_found(opened):
    model, = opened.models()
    data, = opened.datasets()
    assert (model.id, model.name, model.owner, model.workspace) == (rows("models")[0]["id"], "DeepFM", "anna", LOCAL)
    assert (data.id, data.name, data.workspace) == (rows("datasets")[0]["id"], "clicks", LOCAL)
    assert opened.files.size(model.manifest) == model.size_bytes
    jobs = {job.name: job for job in opened.jobs().items}
    assert {name: job.state for name, job in jobs.items()} == {
        "small": "done", "baseline": "done", "failed": "failed", "running": "running", "queued": "queued"}
    assert {job.workspace for job in jobs.values()} == {LOCAL}
    result = opened.result(jobs["small"].id)
    assert result.spec == jobs["small"].spec and opened.files.has(result.files["bundle.zip"])
    points = opened.points(model.id, data.id)
    assert [(point.name, point.families, point.values["size_bytes"].value) for point in points] == [
        ("small", "embed", 250.0), ("baseline", "", 1000.0)]
    saved, = opened.comparisons()
    assert (saved.name, saved.owner, saved.view) == ("for Monday", "anna", {"x": "size_bytes"})
    assert saved.runs == (jobs["baseline"].id, jobs["small"].id)
    assert opened.setting("job_duration_hours") == 5
    assert opened.setting(DATABASE_ID) == opened.database_id


def test_a_project_keeps_its_key(opened):
    spec = RunSpec.model_validate_json(rows("jobs")[0]["spec"])
    project, = opened.projects()
    assert project.key == rows("projects")[0]["key"] == project_key(spec.model, spec.data, spec.target)
    assert (project.runs, project.active) == (2, 2)


def test_another_workspace_sees_nothing_of_before(opened):
    other = as_person(opened, "anna", workspace="another")
    assert (other.models(), other.datasets(), other.counts(), other.comparisons()) == ([], [], {}, [])


def test_a_worker_goes_on_with_the_jobs_of_before(opened):
    running = next(job for job in opened.jobs().items if job.name == "running")
    assert opened.heartbeat(running.id, running.worker, attempt=running.attempt) == "go"
    assert opened.claim("w2", "cpu").name == "queued"


def test_the_number_of_a_run_deleted_before_is_given_to_no_other(opened):
    spec = opened.jobs().items[0].spec
    assert opened.submit(spec, fresh=True) == OLD["counts"]["jobs"] + 1 > max(row["id"] for row in rows("jobs")) + 1


@pytest.mark.slow
def test_a_migrated_database_has_the_keys_and_columns_of_the_code(opened):
    # alembic's comparison, which another test makes for an empty database, looks at no primary key
    with opened.database.engine.connect() as connection:
        found = sa.inspect(connection)
        for name, table in Table.metadata.tables.items():
            assert set(found.get_pk_constraint(name)["constrained_columns"]) == {
                column.name for column in table.primary_key}, name
            assert {column["name"]: column["nullable"] for column in found.get_columns(name)} == {
                column.name: column.nullable for column in table.columns}, name
            assert {index["name"] for index in found.get_indexes(name)} == {index.name for index in table.indexes}, name
            assert {key["name"] for key in found.get_foreign_keys(name)} == {
                key.name for key in table.foreign_key_constraints}, name
