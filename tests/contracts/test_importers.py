"""The contract of importers, for every format of ours and every way in which its uploads come."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from compression.importers import description
from compression.importers.archive import unpack
from compression.importers.format import FORMATS, Format, importer
from compression.importers.reader import choose, look_at
from compression.spec.errors import ModelError
from compression.testing.importer import ImporterContract, Sample, write
from tests.security.hostile import CANARY, Files, zipped
from tests.security.sound import SOUND, encoder_zip

pytestmark = pytest.mark.security
KEYS = {"onnx": "onnx", "onnx with data": "onnx", "pt2": "pt2", "safetensors": "zoo", "checkpoint": "zoo",
        "old checkpoint": "zoo", "bundle": "bundle", "hugging face": "bundle", "lightning": "weights",
        "recbole": "weights", "fuxictr": "weights", "keras": "keras", "keras weights": "keras",
        "keras 2 weights": "keras_weights",
        "hugging face, unpacked": "hugging_face"}
PAIRS = {"answers": {"output": "pair"}}  # an encoder is looked at as if it will be bound to data


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """kind → files, each made once; all have the same canary."""
    folder = tmp_path_factory.mktemp("samples")

    @functools.cache
    def made(kind: str) -> Files:
        if kind in SOUND:
            return SOUND[kind](folder / CANARY)
        (folder / "bert.zip").write_bytes(encoder_zip())
        return {name: path.read_bytes() for name, path in unpack(folder / "bert.zip", "bert.zip", folder / "b").items()}

    made.canary = folder / CANARY
    return made


class TestOurs(ImporterContract):
    @pytest.fixture
    def canary(self, make) -> Iterator[Path]:
        yield make.canary
        assert not make.canary.exists(), "code from the upload ran"

    @pytest.fixture(autouse=True)
    def nothing_is_exported(self, monkeypatch) -> None:
        """An import exports the model to tell its bytes, which takes most of its time and is tested elsewhere."""
        monkeypatch.setattr(description, "exported_graph_bytes", lambda *given: 0)

    @pytest.fixture(params=KEYS)
    def sample(self, request, make, canary) -> Sample:
        return Sample(KEYS[request.param], make(request.param), PAIRS if "hugging" in request.param else {})


def test_every_format_and_every_sound_upload_is_held_to_the_contract():
    assert set(KEYS.values()) == set(FORMATS) and set(SOUND) <= set(KEYS)


@pytest.fixture
def add(monkeypatch):
    """Registers a format for one test."""
    monkeypatch.setattr(FORMATS, "_entries", dict(FORMATS.items()))
    return lambda **declared: importer(Format(**{"title": "thing", "look": print, "read": print} | declared))


def test_formats_that_both_recognise_a_file_are_named_and_neither_is_taken(add, tmp_path):
    add(key="a", title="thing a", endings=(".thing",))
    add(key="b", title="thing b", endings=(".thing",))
    files = write({"m.thing": b"thing"}, tmp_path / "upload")
    with pytest.raises(ModelError, match=r"m\.thing is taken for thing a and thing b, so it can't be read"):
        choose(files, tmp_path)
    add(key="c", title="thing c", endings=(".thing",), sniff=lambda upload: upload.path.read_bytes() == b"thing")
    assert choose(files, tmp_path)[0].key == "c", "what a format recognises goes before what has the ending alone"


def test_a_file_that_nothing_recognises_is_a_sentence(add, tmp_path):
    add(key="a", endings=(".thing",), sniff=lambda upload: False)
    with pytest.raises(ModelError, match=r"m\.thing is taken for none of the formats that end so"):
        choose(write({"m.thing": b"thing"}, tmp_path / "upload"), tmp_path)


def test_a_format_that_opens_into_itself_comes_to_an_end(add, tmp_path):
    add(key="a", endings=(".thing",), look=None, read=None, opens=lambda upload: upload.files)
    with pytest.raises(ModelError, match=r"m\.thing is a thing inside another one, which is not opened"):
        look_at(write({"m.thing": b"thing"}, tmp_path / "upload"), tmp_path / "model")


def test_what_a_format_has_to_admit_is_asked_of_files_out_of_a_zip_too(add, tmp_path):
    data = pickle.dumps([1])
    asked = []
    add(key="a", endings=(".thing",), admits={".thing": lambda path: asked.append(path.name) or len(asked) == 1},
        look=lambda upload: upload.name)
    inside = zipped({"m.thing": data, "notes.txt": b"a"})
    assert look_at(write({"a.zip": inside}, tmp_path / "a" / "upload"), tmp_path / "model") == "m.thing"
    with pytest.raises(ModelError, match=r"m\.thing"):
        look_at(write({"b.zip": inside}, tmp_path / "b" / "upload"), tmp_path / "model")
    assert asked == ["m.thing"] * 2


@pytest.mark.parametrize(("declared", "sentence"), [
    ({"endings": ()}, "needs endings in small letters"),
    ({"endings": ("thing",)}, "needs endings in small letters"),
    ({"endings": (".Thing",)}, "needs endings in small letters"),
    ({"endings": (".thing",), "look": None}, "needs look and read, or opens instead of them"),
    ({"endings": (".thing",), "opens": print}, "needs look and read, or opens instead of them"),
    ({"endings": (".thing",), "key": "onnx"}, "the importer onnx is registered twice"),
])
def test_a_format_that_can_not_work_is_refused_when_it_registers(add, declared, sentence):
    with pytest.raises(ValueError, match=sentence):
        add(**{"key": "a"} | declared)
