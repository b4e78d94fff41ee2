"""A full disk: recognised whoever writes, told with a next step, and never in the way of telling it."""

import os
import pickle
import shutil
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

import numpy as np
import onnx
import polars as pl
import pytest
import torch
from safetensors.torch import save_file

from compression.spec.disk import is_disk_full, is_full
from compression.spec.errors import DataError, ModelError, StorageError
from jobs.failures import DISK_FULL, KILLED, ended_by, explain
from jobs.local import LocalExecutor
from jobs.worker import Worker, work
from storage.access import LOCAL_ACCESS
from storage.machine import Machine
from storage.reserve import RESERVE_BYTES
from storage.store import open_store
from tests.small_disk import fill, small_disk
from tests.storage.given import add_data, add_model, run_spec

TABLE = pl.DataFrame({"a": np.random.default_rng(0).random(100_000)})
ARRAY = np.random.default_rng(0).random(100_000)
TENSORS = {"a": torch.from_numpy(ARRAY)}


def write_model(path: Path, **options) -> None:
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["w"], ["y"])], "g", [],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.DOUBLE, [100_000])],
        [onnx.numpy_helper.from_array(ARRAY, "w")])
    onnx.save(onnx.helper.make_model(graph), path, **options)


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", ARRAY.tobytes())


def write_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.execute("INSERT INTO t VALUES (?)", (ARRAY.tobytes(),))
        connection.commit()


def write_hdf5(path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file["a"] = ARRAY


def save_by_handle(path: Path, *, zipped: bool) -> None:
    with path.open("wb") as file:
        torch.save(TENSORS, file, _use_new_zipfile_serialization=zipped)


WRITERS = {
    "polars csv": lambda path: TABLE.write_csv(path),
    "polars parquet": lambda path: TABLE.write_parquet(path, compression="uncompressed"),
    "polars ipc": lambda path: TABLE.write_ipc(path),
    "polars sink": lambda path: TABLE.lazy().sink_parquet(path),
    "torch": lambda path: torch.save(TENSORS, path),
    "torch by handle": lambda path: save_by_handle(path, zipped=True),
    "torch of old": lambda path: save_by_handle(path, zipped=False),
    "safetensors": lambda path: save_file(TENSORS, path),
    "numpy": lambda path: np.save(path.with_suffix(".npy"), ARRAY),
    "numpy tofile": lambda path: ARRAY.tofile(path),
    "numpy zip": lambda path: np.savez(path.with_suffix(".npz"), a=ARRAY),
    "zip": write_zip,
    "onnx": write_model,
    "onnx with data": lambda path: write_model(path, save_as_external_data=True, location="data"),
    "sqlite": write_database,
    "hdf5": write_hdf5,
    "copy": lambda path: shutil.copyfile(onnx.onnx_cpp2py_export.__file__, path),
    "pickle": lambda path: path.write_bytes(pickle.dumps(ARRAY)),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_recognised_whoever_writes(tmp_path, writer):
    with small_disk(tmp_path / "disk", "100k") as disk:
        with pytest.raises(Exception) as caught:
            WRITERS[writer](disk / "file")
        assert is_disk_full(caught.value)
        assert explain(caught.value).kind == DISK_FULL


def wrapped(cause: Exception) -> Exception:
    try:
        try:
            raise cause
        except type(cause):
            raise ModelError("The file could not be read.") from None
    except ModelError as error:
        return error


class DiskFull(Exception):
    """As psycopg names and words it."""


@pytest.mark.parametrize(("error", "full"), [
    (DiskFull("could not extend file \"base/5/1259\": No space left on device"), True),
    (wrapped(RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534")), True),
    (OSError("Disk quota exceeded (os error 122)"), True),
    (RuntimeError("The size of tensor a (28) must match the size of tensor b (122)"), False),
    (DataError("Column 'user' is not in ratings.csv; it has: uid, item."), False),
    (OSError("Repetition level histogram size mismatch"), False),
    (PermissionError(13, "Permission denied"), False),
])
def test_other_errors_are_not_taken_for_it(error, full):
    assert is_disk_full(error) is full


def test_the_disk_is_asked_where_a_library_gives_no_reason(tmp_path):
    class Fail(Exception):
        """As ONNX Runtime's."""

    with small_disk(tmp_path / "disk", "1m") as disk:
        assert not is_full(disk) and not is_disk_full(Fail("FAIL : could not save"), disk)
        assert ended_by(-7, memory_kills=0, folder=disk)[0].kind == KILLED
        fill(disk)
        assert is_full(disk) and is_disk_full(Fail("FAIL : could not save"), disk)
        assert not is_disk_full(KeyError("no such layer"), disk)
        failure, retry = ended_by(-7, memory_kills=0, folder=disk)
        assert (failure.kind, retry) == (DISK_FULL, False)


@pytest.fixture
def small_home(tmp_path):
    """A store and a worker whose home is a disk of 4 MB, the database on it."""
    with small_disk(tmp_path / "disk", "4m") as disk, closing(open_store(LOCAL_ACCESS, None, disk / "home")) as store:
        yield disk, store, Worker(Machine(store.opened), "cpu", LocalExecutor(device="cpu", threads=1,
                                                              perform="tests.jobs.fake:perform"))


@pytest.mark.parametrize("way", ["raise", "SIGBUS", "SIGABRT"])
def test_a_job_that_fills_the_disk_of_the_database_fails_with_the_reason(small_home, way):
    disk, store, worker = small_home
    job_id = store.submit(run_spec(store, model=add_model(store), data=add_data(store)), name=f"outgrow-disk {way}")
    work(worker, once=True)
    job = store.job(job_id)
    assert (job.state, job.attempt, job.failure.kind) == ("failed", 1, DISK_FULL)
    assert "Free some space" in job.failure.next_step
    assert os.listdir(store.job_folder(job_id)) == ["log.txt"], "what the attempt wrote was removed"
    assert "The job is failed." in store.log_path(job_id).read_text()
    assert not is_full(disk)


def test_a_full_disk_leaves_a_job_that_cannot_begin_failed_with_the_reason(small_home):
    disk, store, worker = small_home
    job_id = store.submit(run_spec(store, model=add_model(store), data=add_data(store)), name="steps 1")
    local = worker.executor

    class Begin:
        """Fills the disk while the job is started."""

        def start(self, assignment):
            fill(disk)
            try:
                return local.start(assignment)
            finally:
                (disk / "ballast").unlink()

    worker.executor = Begin()
    work(worker, once=True)
    assert (store.job(job_id).state, store.job(job_id).failure.kind) == ("failed", DISK_FULL)


def test_a_disk_filled_by_somebody_else_still_takes_the_failure(tmp_path):
    with small_disk(tmp_path / "disk", "64m") as disk, closing(open_store(LOCAL_ACCESS, None, disk / "home")) as store:
        reserve = store.home / "reserve"
        assert reserve.stat().st_size == RESERVE_BYTES
        fill(disk)
        with pytest.raises(StorageError, match="The disk that holds the database is full; nothing was changed"):
            store.set_setting("large", "x" * 1_000_000)
        assert not reserve.exists()
        store.set_setting("large", "x" * 1_000_000)
        assert len(store.setting("large")) == 1_000_000
        (disk / "ballast").unlink()
        store.sweep()
        assert reserve.exists()


def test_a_small_disk_keeps_no_reserve(small_home):
    assert not (small_home[1].home / "reserve").exists()
