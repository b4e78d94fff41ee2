"""An upload is unpacked or converted once: what its look found is kept for the import, and nothing else is believed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from compression.importers import kept as module
from compression.importers.inspection import Look
from compression.importers.kept import LOOKS, KeptLook
from compression.importers.sandbox import process
from compression.importers.sandbox.process import look_in_sandbox, open_in_sandbox, read_in_sandbox
from compression.spec.errors import ModelError
from compression.spec.records import ImportModelSpec
from jobs.perform import perform
from jobs.records import Assignment
from storage.files import Files
from tests.security.hostile import graph, zipped

INSIDE = {"model.onnx": graph().SerializeToString(), "vocabularies.json": b'{"user": ["a", "b"]}'}
DIGESTS = {"b.zip": "0" * 64}


@pytest.fixture
def bundle(tmp_path) -> dict[str, Path]:
    path = tmp_path / "b.zip"
    path.write_bytes(zipped(INSIDE))
    return {"b.zip": path}


@pytest.fixture
def made(tmp_path) -> KeptLook:
    """A look that is kept with two files."""
    found = KeptLook.of(tmp_path / LOOKS, DIGESTS)
    left = tmp_path / "left"
    left.mkdir()
    for name, content in INSIDE.items():
        (left / name).write_bytes(content)
    assert found.place() == tmp_path / LOOKS
    found.keep(Look("graph"), left)
    return found


def test_a_bundle_is_unpacked_by_its_look_and_the_import_reads_what_was_unpacked(bundle, tmp_path, monkeypatch):
    kept = KeptLook.of(tmp_path / LOOKS, DIGESTS)
    look = look_in_sandbox(bundle, kept=kept)
    assert [one.name for one in look.inputs] == ["user"] and look.vocabularies == {"user": 2}
    monkeypatch.setattr(process, "_run_child", None)  # no other child is started
    assert look_in_sandbox(bundle, kept=kept) == look
    found = open_in_sandbox(bundle, tmp_path / "inputs", kept)
    assert {name: path.read_bytes() for name, path in found.items()} == INSIDE
    assert not [path for path in (tmp_path / LOOKS).iterdir() if path.name.startswith(".")], "scratch is gone"


def test_a_file_that_is_read_as_it_came_is_not_looked_at_for_its_import(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "_run_child", None)
    files = {"m.onnx": tmp_path / "m.onnx"}
    assert open_in_sandbox(files, tmp_path / "inputs", KeptLook.of(tmp_path, DIGESTS)) is files


def test_a_refused_upload_is_not_kept(tmp_path):
    path = tmp_path / "b.zip"
    path.write_bytes(zipped({"notes.txt": b"no model"}))
    kept = KeptLook.of(tmp_path / LOOKS, DIGESTS)
    with pytest.raises(ModelError, match="Upload one model at a time"):
        look_in_sandbox({"b.zip": path}, kept=kept)
    assert kept.look() is None and not list((tmp_path / LOOKS).iterdir())


@pytest.mark.slow
def test_an_import_job_reads_the_files_that_the_look_left(bundle, tmp_path, monkeypatch):
    files = Files(tmp_path / "home" / "files")
    spec = ImportModelSpec(files={"b.zip": files.put(bundle["b.zip"])}, name="a")
    look_in_sandbox(bundle, kept=KeptLook.of(tmp_path / "home" / LOOKS, spec.files))
    given, real = [], process._run_child

    def noted(request, *rest):
        given.append({name: Path(path).read_bytes() for name, path in request["files"].items()})
        real(request, *rest)

    monkeypatch.setattr(process, "_run_child", noted)
    assignment = Assignment(job=1, name="job", spec=spec, files=str(files.root), folder=str(tmp_path / "home" / "job"))
    assignment.work.mkdir(parents=True)
    outcome = perform(assignment, lambda progress: None)
    assert given == [INSIDE], "one child, which was given what the look had unpacked"
    assert outcome.model.notes["upload"] == spec.files


@pytest.mark.slow
def test_an_empty_note_in_a_bundle_is_no_obstacle(tmp_path):
    path = tmp_path / "b.zip"
    path.write_bytes(zipped(INSIDE | {"notes.txt": b""}))
    kept = KeptLook.of(tmp_path / LOOKS, DIGESTS)
    found = open_in_sandbox({"b.zip": path}, tmp_path / "inputs", kept)
    assert set(found) == set(INSIDE) and read_in_sandbox(found, tmp_path / "model").architecture == "onnx"


def test_other_digests_and_another_version_of_the_code_find_nothing(made, tmp_path, monkeypatch):
    assert made.look() == Look("graph")
    assert KeptLook.of(tmp_path / LOOKS, {"b.zip": "1" * 64}).look() is None
    assert KeptLook.of(tmp_path / LOOKS, {"c.zip": "0" * 64}).look() is None
    monkeypatch.setattr(module, "code_version", lambda: "another")
    assert KeptLook.of(tmp_path / LOOKS, DIGESTS).look() is None


@pytest.mark.parametrize("harm", ["changed", "gone", "half a record", "a record of something else"])
def test_what_was_changed_since_is_not_taken_and_is_found_anew(made, tmp_path, harm):
    record, file = made.folder / "look.json", made.folder / "opened" / "model.onnx"
    if harm == "changed":
        file.write_bytes(b"another model")
    elif harm == "gone":
        file.unlink()
    else:
        record.write_text(record.read_text()[:40] if harm == "half a record" else json.dumps({"look": {}, "files": 3}))
    assert made.opened(tmp_path / "inputs") is None
    left = tmp_path / "again"
    left.mkdir()
    (left / "model.onnx").write_bytes(INSIDE["model.onnx"])
    made.keep(Look("graph"), left)
    assert set(made.opened(tmp_path / "inputs")) == {"model.onnx"} and made.look() == Look("graph")


@pytest.mark.parametrize("left", ["link", "folder", "name", "many", "large", "linked folder"])
def test_of_what_a_child_leaves_only_plain_files_of_bounded_size_are_kept(tmp_path, monkeypatch, left):
    kept = KeptLook.of(tmp_path / LOOKS, DIGESTS)
    kept.place()
    opened = tmp_path / "opened"
    opened.mkdir()
    (opened / "model.onnx").write_bytes(b"sound")
    if left == "link":
        (opened / "data").symlink_to("/etc/passwd")
    elif left == "folder":
        (opened / "data").mkdir()
    elif left == "name":
        (opened / "a b").write_bytes(b"x")
    elif left == "many":
        monkeypatch.setattr(module, "MAX_FILES", 0)
    elif left == "large":
        monkeypatch.setattr(module, "MOST_BYTES", 4)
    else:
        (tmp_path / "link").symlink_to(opened)
        opened = tmp_path / "link"
    kept.keep(Look("graph"), opened)
    assert kept.opened(tmp_path / "inputs") is None


def test_those_used_longest_ago_go_first(made, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_LOOKS", 2)
    other = KeptLook.of(tmp_path / LOOKS, {"other.zip": "1" * 64})
    other.keep(Look("other"), tmp_path / "nothing")
    os.utime(made.folder, (1, 1))
    assert made.look() == Look("graph")  # it was used just now
    os.utime(other.folder, (2, 2))
    KeptLook.of(tmp_path / LOOKS, {"third.zip": "2" * 64}).keep(Look("third"), tmp_path / "nothing")
    assert made.look() is not None and other.look() is None


def test_a_home_that_can_not_be_written_costs_time_and_nothing_else(bundle, tmp_path):
    (tmp_path / "file").write_text("no folder")
    kept = KeptLook.of(tmp_path / "file" / LOOKS, DIGESTS)
    assert look_in_sandbox(bundle, kept=kept).title == "graph"
    assert open_in_sandbox(bundle, tmp_path / "inputs", kept) is bundle
