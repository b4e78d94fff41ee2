"""Models and datasets in the store: added by jobs, listed, renamed, deleted while nothing uses them."""

from __future__ import annotations

import sqlalchemy as sa

from compression.spec.data_description import DataDescription
from compression.spec.errors import StorageError
from compression.spec.records import ModelDescription
from storage.base import containing
from storage.bound import Bound
from storage.digests import manifest_digest
from storage.files import checked_name
from storage.narrowing import NarrowedSession
from storage.records import DataRow, ModelRow, NewData, NewModel
from storage.rows import stored
from storage.tables import DataTable, JobTable, ModelTable
from storage.uses import delete_finished, refuse_while_used

MAX_NAME = 200


class Catalogue(Bound):
    """The part of the store that keeps models and datasets."""

    def models(self, *, text: str | None = None, data: str | None = None, limit: int = 500) -> list[ModelRow]:
        """Stored models, newest first; `data` narrows to those trained on or bound to a dataset."""
        query = sa.select(ModelTable).order_by(ModelTable.created.desc(), ModelTable.id).limit(limit)
        if text:
            query = query.where(containing(ModelTable.name, text))
        if data:
            query = query.where(ModelTable.data == data)
        with self.database.reading(self.access) as session:
            return [_model(row) for row in session.scalars(query)]

    def model(self, model_id: str) -> ModelRow:
        """A stored model. Raises StorageError if there is none."""
        with self.database.reading(self.access) as session:
            return _model(_existing(session, ModelTable, model_id))

    def add_model(self, new: NewModel, *, job: int | None = None) -> str:
        """Store a model whose files are in the artifact store; gives its id. Equal files are the same model."""
        self._check_manifest(new.manifest)
        with self.database.writing(self.access) as session:
            return self._put_model(session, new, owner=self.access.person, job=job)

    def datasets(self, *, text: str | None = None, limit: int = 500) -> list[DataRow]:
        """Stored datasets, newest first."""
        query = sa.select(DataTable).order_by(DataTable.created.desc(), DataTable.id).limit(limit)
        if text:
            query = query.where(containing(DataTable.name, text))
        with self.database.reading(self.access) as session:
            return [_dataset(row) for row in session.scalars(query)]

    def dataset(self, data_id: str) -> DataRow:
        """A stored dataset. Raises StorageError if there is none."""
        with self.database.reading(self.access) as session:
            return _dataset(_existing(session, DataTable, data_id))

    def add_dataset(self, new: NewData, *, job: int | None = None) -> str:
        """Store a dataset whose files are in the artifact store; gives its id. Equal files are the same dataset."""
        self._check_manifest(new.manifest)
        with self.database.writing(self.access) as session:
            return self._put_dataset(session, new, owner=self.access.person, job=job)

    def rename_model(self, model_id: str, name: str) -> None:
        with self.database.writing(self.access) as session:
            _existing(session, ModelTable, model_id).name = checked_title(name)

    def rename_dataset(self, data_id: str, name: str) -> None:
        with self.database.writing(self.access) as session:
            _existing(session, DataTable, data_id).name = checked_title(name)

    def delete_model(self, model_id: str, *, with_runs: bool = False) -> None:
        """Delete a model, and its ended runs where `with_runs` says so.

        Raises StorageError naming the queued job, saved comparison or finished run that uses it.
        """
        with self.database.writing(self.access) as session:
            row = _existing(session, ModelTable, model_id)
            refuse_while_used(session, JobTable.model == model_id, f"Model {row.name!r}", with_runs=with_runs)
            delete_finished(session, sa.and_(JobTable.model == model_id, JobTable.kind == "run"))
            session.delete(row)

    def delete_dataset(self, data_id: str, *, with_runs: bool = False) -> None:
        """Delete a dataset, and the ended runs measured on it where `with_runs` says so. Raises as delete_model."""
        with self.database.writing(self.access) as session:
            row = _existing(session, DataTable, data_id)
            refuse_while_used(session, JobTable.data == data_id, f"Dataset {row.name!r}", with_runs=with_runs)
            delete_finished(session, sa.and_(JobTable.data == data_id, JobTable.kind == "run"))
            session.delete(row)

    def _check_manifest(self, manifest: dict[str, str]) -> int:
        """Bytes of the manifest's files. Raises StorageError if a name leaves its folder or a file is missing."""
        for name in manifest:
            checked_name(name)
        return self.files.size(manifest)

    def _put_model(self, session: NarrowedSession, new: NewModel, *, owner: str, job: int | None) -> str:
        """The row of a model, within a transaction. One that is imported again, of equal files, is bound anew."""
        model_id = manifest_digest(new.manifest)
        row = _found(session, ModelTable, model_id)
        if row is not None and "upload" in new.notes:
            row.data, row.notes = new.data, new.notes
        self.insert_if_absent(session, ModelTable, {
            **new.model_dump(exclude={"description", "replaces"}), "id": model_id, "name": checked_title(new.name),
            "description": new.description.model_dump_json(), "size_bytes": self.files.size(new.manifest),
            "job": job, "created": self.clock(), "owner": owner})
        if new.replaces not in (None, model_id):
            _drop_unused(session, new.replaces)
        return model_id

    def _put_dataset(self, session: NarrowedSession, new: NewData, *, owner: str, job: int | None) -> str:
        """The row of a dataset, within a transaction."""
        data_id = manifest_digest(new.manifest)
        self.insert_if_absent(session, DataTable, {
            **new.model_dump(exclude={"description"}), "id": data_id, "name": checked_title(new.name),
            "description": new.description.model_dump_json(), "size_bytes": self.files.size(new.manifest),
            "job": job, "created": self.clock(), "owner": owner})
        return data_id


def checked_title(name: str) -> str:
    """A name for people, trimmed. Raises StorageError when it is empty or too long."""
    name = " ".join(name.split())
    if not 1 <= len(name) <= MAX_NAME:
        raise StorageError(f"A name has 1 to {MAX_NAME} characters; got {len(name)}.")
    return name


def _drop_unused(session: NarrowedSession, model_id: str) -> None:
    """Delete a model that another replaces; one that runs measured is worth keeping."""
    row = _found(session, ModelTable, model_id)
    if row is None:
        return
    try:
        refuse_while_used(session, JobTable.model == model_id, f"Model {row.name!r}", with_runs=False)
    except StorageError:
        return
    session.delete(row)


def _found(session: NarrowedSession, table: type, key: str) -> ModelTable | DataTable | None:
    return session.scalar(sa.select(table).where(table.id == key))


def _existing(session: NarrowedSession, table: type, key: str) -> ModelTable | DataTable:
    row = _found(session, table, key)
    if row is None:
        what, page = ("model", "Models") if table is ModelTable else ("dataset", "Datasets")
        raise StorageError(f"There is no {what} {key[:12]!r}; it may have been deleted. Choose one on the {page} page.")
    return row


def _columns(row: ModelTable | DataTable) -> dict[str, object]:
    return {column.key: getattr(row, column.key) for column in row.__table__.columns}


def _model(row: ModelTable) -> ModelRow:
    description = stored(ModelDescription, row.description)
    return ModelRow(**{**_columns(row), "description": description})


def _dataset(row: DataTable) -> DataRow:
    description = stored(DataDescription, row.description)
    return DataRow(**{**_columns(row), "description": description})
