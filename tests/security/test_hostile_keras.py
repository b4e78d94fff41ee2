"""Keras files made to do harm: links, numbers elsewhere, bombs, giant shapes, code in a layer."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from compression.importers.reader import read_upload
from compression.spec.errors import ModelError
from tests.importers.keras.make import functional, given, keras_zip, layer, ranker, weights_h5
from tests.security.hostile import CANARY, Files, Payload, pickled

pytestmark = pytest.mark.security
CONFIG, ARRAYS = ranker()


@pytest.fixture
def canary(tmp_path):
    path = tmp_path / CANARY
    yield path
    assert not path.exists(), "code from an upload ran"


def read(files: Files, folder: Path) -> None:
    paths = {name: folder / f"up-{name}" for name in files}
    for name, path in paths.items():
        path.write_bytes(files[name])
    read_upload(paths, folder / "model", binding={"inputs": {"tags": {"kind": "multi", "column": "tags"}}})


def refused(files: Files, folder: Path, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        read(files, folder)
    assert not (folder / "model").exists()


def swapped(change) -> Files:
    """The sound model, with the table of users replaced in its HDF5 file."""
    def act(file: h5py.File) -> None:
        del file["layers/kind_0/vars/0"]
        change(file)
    return {"m.keras": keras_zip(CONFIG, weights_h5(ARRAYS, act))}


TABLE = "layers/kind_0/vars/0"
LINKS = {
    "a link to another file": lambda file: file.__setitem__(TABLE, h5py.ExternalLink("/etc/passwd", "/x")),
    "a link to another file of ours": lambda file: file.__setitem__(TABLE, h5py.ExternalLink("up-m.keras", "/")),
    "a link within the file": lambda file: file.__setitem__(TABLE, h5py.SoftLink("/layers/kind_1/vars/0")),
    "a link to nowhere": lambda file: file.__setitem__(TABLE, h5py.SoftLink("/nowhere")),
    "a group that is a link": lambda file: file.__setitem__("layers/more", h5py.ExternalLink("other.h5", "/")),
    "a link to itself": lambda file: file.__setitem__("layers/more", h5py.SoftLink("/layers/more")),
}


@pytest.mark.parametrize("case", LINKS)
def test_links_are_not_followed(case, tmp_path):
    refused(swapped(LINKS[case]), tmp_path, r"holds a link to (another file|another place)")


def test_numbers_in_another_file_are_not_read(tmp_path):
    (tmp_path / "secret").write_bytes(b"\1" * 480)
    refused(swapped(lambda file: file.create_dataset(TABLE, (30, 4), np.float32, external=[
        (str(tmp_path / "secret"), 0, 480)])), tmp_path, "lie in another file, which is not opened")
    layout = h5py.VirtualLayout((30, 4), np.float32)
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (30, 4))
    refused(swapped(lambda file: file.create_virtual_dataset(TABLE, layout)), tmp_path, "lie in another file")


def _giant(file: h5py.File) -> None:
    file.create_dataset(TABLE, (1 << 40, 64), np.float32, chunks=(1 << 10, 64))


def _unwritten(file: h5py.File) -> None:
    file.create_dataset(TABLE, (30_000_000, 4), np.float32)


def _bomb(file: h5py.File) -> None:
    file.create_dataset(TABLE, data=np.zeros((400_000, 16), np.float32), compression="gzip", compression_opts=9)


@pytest.mark.parametrize("change", [_giant, _unwritten, _bomb])
def test_shapes_that_claim_more_than_is_stored_are_refused_before_memory_is_taken(change, tmp_path):
    refused(swapped(change), tmp_path, r"claims [\d,]+ bytes and stores [\d,]+")


KINDS = {"texts": lambda file: file.create_dataset(TABLE, data=["x"] * 30), "nothing": lambda file: file.create_dataset(
    TABLE, dtype="f4", shape=None), "records": lambda file: file.create_dataset(TABLE, (30,), [("a", "f4")]),
    "references": lambda file: file.create_dataset(TABLE, (30,), h5py.ref_dtype),
    "a group": lambda file: file.create_group(TABLE),
    "a filter": lambda file: file.create_dataset(TABLE, (30, 4), "f4", chunks=(30, 4), scaleoffset=3)}


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_another_kind_are_refused_or_of_another_shape(kind, tmp_path):
    refused(swapped(KINDS[kind]), tmp_path, r"is not read|should have arrays|where Keras keeps|by a filter")


def test_groups_without_end_are_refused(tmp_path):
    def deep(file: h5py.File) -> None:
        file.create_group("layers" + "/more" * 40)

    def many(file: h5py.File) -> None:
        for place in range(21_000):
            file.create_group(f"layers/many/{place}")

    def circle(file: h5py.File) -> None:
        file["layers/kind_1/again"] = file["layers"]

    for change, said in ((deep, "deeper than 12"), (many, "more than 20,000 objects"), (circle, "deeper than 12|two")):
        refused({"m.keras": keras_zip(CONFIG, weights_h5(ARRAYS, change))}, tmp_path, said)


def test_code_in_a_lambda_is_never_run(tmp_path, canary):
    code = pickle.dumps(Payload(canary)).hex()
    evil = functional([given("x", 1, "float32"), layer("Lambda", "evil", "x", function={
        "class_name": "__lambda__", "config": {"code": code, "defaults": None, "closure": None}})], "evil")
    refused({"m.keras": keras_zip(evil, weights_h5({}))}, tmp_path, "is a Lambda: it holds code, which is never run")


@pytest.mark.parametrize(("member", "content"), [("../evil.py", b"x"), ("config.json/../../x", b"x"),
                                                 ("model.pkl", b""), ("assets/tokens.txt", b"a"),
                                                 ("run.py", b"open('x', 'w')")])
def test_other_members_of_the_zip_are_refused(member, content, tmp_path, canary):
    content = pickled(canary) if member.endswith(".pkl") else content
    files = {"m.keras": keras_zip(CONFIG, weights_h5(ARRAYS), **{member: content})}
    refused(files, tmp_path, r"holds '|holds a file named|plain names|at the top or in one folder")


def test_a_zip_bomb_is_refused(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps(CONFIG))
        archive.writestr("model.weights.h5", b"\0" * 40_000_000)
    refused({"m.keras": buffer.getvalue()}, tmp_path, "unpacks to .* times its size")


@pytest.mark.parametrize("sixteenth", range(1, 16))
def test_truncated_weights_are_refused(sixteenth, tmp_path):
    whole = weights_h5(ARRAYS)
    refused({"m.keras": keras_zip(CONFIG, whole[:len(whole) * sixteenth // 16])}, tmp_path,
            r"not a whole HDF5 file|should have arrays")


SHAPES = {"units": ("Dense", {"units": 1 << 40}), "minus": ("Dense", {"units": -1}), "rows": ("Embedding", {
    "input_dim": 1 << 62, "output_dim": 4}), "target": ("Reshape", {"target_shape": [-1, -1]}),
    "zero": ("Reshape", {"target_shape": [0]}), "rate": ("LeakyReLU", {"negative_slope": 1e400}),
    "axis": ("Concatenate", {"axis": 99}), "axes": ("Dot", {"axes": {}})}


@pytest.mark.parametrize("case", SHAPES)
def test_settings_that_make_no_sense_are_refused(case, tmp_path):
    kind, settings = SHAPES[case]
    config = functional([given("x", 4, "float32"), layer(kind, "one", "x", **settings)], "one")
    refused({"m.keras": keras_zip(config, weights_h5({"one": [np.ones((4, 1)), np.ones(1)]}))}, tmp_path, "'one'")


@pytest.mark.parametrize("shape", [[None, 1 << 40], [3, 4], [None, -1], "wide", [None, 1, 1, 1], [None, True], None])
def test_inputs_of_odd_shapes_are_refused(shape, tmp_path):
    config = functional([given("x", 4, "float32"), layer("Flatten", "one", "x")], "one")
    config["config"]["layers"][0]["config"]["batch_shape"] = shape
    refused({"m.keras": keras_zip(config, weights_h5({}))}, tmp_path, r"'x'|numbers a row|wider than")
