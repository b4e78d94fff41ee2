"""Artifacts: stored once, whole or not at all, under their sha256."""

import errno
import hashlib
import os
import time

import pytest

from compression.spec.errors import StorageError
from storage.files import Files

DAY_S = 24 * 3600.0


def lies(files: Files, digest: str) -> bool:
    """The file is in its place; `has` would bring a swept one back."""
    return (files.objects / digest[:2] / digest[2:]).exists()


@pytest.fixture
def files(tmp_path) -> Files:
    return Files(tmp_path / "files")


def test_a_file_is_stored_under_its_sha256_and_only_once(files, tmp_path):
    source = tmp_path / "model.onnx"
    source.write_bytes(b"graph" * 500_000)
    digest = files.put(source)
    assert digest == hashlib.sha256(source.read_bytes()).hexdigest()
    assert files.put_bytes(source.read_bytes()) == digest
    assert files.path(digest).read_bytes() == source.read_bytes()
    assert len(list(files.objects.rglob("*/*"))) == 1
    assert not list(files.incoming.iterdir())


def test_a_folder_comes_back_as_it_was_stored(files, tmp_path):
    folder = tmp_path / "bundle"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.json").write_text("{}")
    (folder / "deep" / "b.bin").write_bytes(b"\0\1")
    manifest = files.put_folder(folder)
    out = files.materialise(manifest, tmp_path / "out")
    files.materialise(manifest, tmp_path / "out")  # again, over itself
    assert set(manifest) == {"a.json", "deep/b.bin"}
    assert (out / "deep" / "b.bin").read_bytes() == b"\0\1"
    assert files.size(manifest) == 4


def test_a_copy_stands_in_where_hard_links_are_impossible(files, tmp_path, monkeypatch):
    def refuse(*paths):
        raise OSError(errno.EXDEV, "another disk")

    monkeypatch.setattr(os, "link", refuse)
    out = files.materialise({"a": files.put_bytes(b"a")}, tmp_path / "out")
    assert (out / "a").read_bytes() == b"a"


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b", "", "a\\..\\b", "c:evil"])
def test_a_name_that_leaves_the_folder_is_refused(files, tmp_path, name):
    with pytest.raises(StorageError, match="must have a name below its folder"):
        files.materialise({name: files.put_bytes(b"x")}, tmp_path / "out")


@pytest.mark.parametrize("digest", ["", "../../../etc/passwd", "0" * 63, "G" * 64])
def test_what_is_no_sha256_is_no_path(files, digest):
    with pytest.raises(StorageError, match="named by its sha256"):
        files.path(digest)


def test_a_full_disk_stores_nothing_and_says_what_to_do(files, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"The disk that holds .* is full; nothing was stored. Free some space"):
        files.put_bytes(b"x" * 1000)
    assert not list(files.objects.rglob("*/*")) and not list(files.incoming.iterdir())


def test_the_sweep_takes_what_nothing_names_once_it_is_a_day_old(files):
    kept, fresh, old = files.put_bytes(b"kept"), files.put_bytes(b"fresh"), files.put_bytes(b"old")
    (files.incoming / "half-written").write_bytes(b"x")
    now = os.stat(files.path(old)).st_mtime + 25 * 3600
    os.utime(files.path(fresh), (now, now))
    assert files.sweep({kept}, now=now) == 2
    assert files.has(kept) and files.has(fresh) and not lies(files, old)
    assert not list(files.incoming.iterdir())


def test_a_swept_file_comes_back_when_it_is_wanted_within_a_week(files):
    wanted = {"has": files.put_bytes(b"1"), "path": files.put_bytes(b"2"), "named": files.put_bytes(b"3")}
    now = time.time() + 2 * DAY_S
    assert files.sweep(set(), now=now) == 3
    assert not any(lies(files, digest) for digest in wanted.values())
    assert files.has(wanted["has"]) and files.path(wanted["path"]).read_bytes() == b"2"
    files.sweep({wanted["named"]})
    assert all(lies(files, digest) for digest in wanted.values())


def test_a_swept_file_is_deleted_after_a_week_and_not_before(files):
    digest = files.put_bytes(b"old")
    swept = time.time() + 2 * DAY_S
    files.sweep(set(), now=swept)
    files.sweep(set(), now=swept + 6.9 * DAY_S)
    assert [path.read_bytes() for path in files.trash.folder.rglob("*") if path.is_file()] == [b"old"]
    files.sweep(set(), now=swept + 7.1 * DAY_S)
    assert not list(files.trash.folder.iterdir()) and not files.has(digest)


def test_a_file_that_is_put_again_after_a_sweep_is_there(files):
    digest = files.put_bytes(b"again")
    files.sweep(set(), now=time.time() + 2 * DAY_S)
    assert files.put_bytes(b"again") == digest
    assert lies(files, digest)


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
def test_only_the_owner_reads_what_is_stored(files):
    files.put_bytes(b"private")
    assert [path for path in (files.root, *files.root.rglob("*")) if path.stat().st_mode & 0o077] == []


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
def test_nobody_changes_what_is_stored(files, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"from a file")
    for digest in (files.put_bytes(b"kept"), files.put(source)):
        assert files.path(digest).stat().st_mode & 0o777 == 0o400


def test_storing_a_file_again_keeps_it_from_the_sweep(files):
    digest = files.put_bytes(b"again")
    os.utime(files.path(digest), (0, 0))
    files.put_bytes(b"again")
    assert files.sweep(set()) == 0
    assert files.has(digest)
