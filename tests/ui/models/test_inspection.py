"""The look at an uploaded model: the page answers at once, the files are read once, a refusal can be tried again."""

from __future__ import annotations

import threading

import pytest

from compression.importers.inspection import Look
from compression.importers.kept import LOOKS, KeptLook
from compression.spec.errors import ModelError
from tests.ui.app import open_page, press, settled, texts, uploaded
from ui.models import inspection
from ui.server.background import Background

READING = "Reading the file in a process of its own"


@pytest.fixture
def reader(monkeypatch):
    """Stands for the sandboxed child: counts its starts, and gives an answer when it is let."""
    class Reader:
        starts, answer, let, kept = 0, Look("graph"), threading.Event(), None

        def __call__(self, files, *, kept):
            self.starts += 1
            self.kept = kept
            assert self.let.wait(60)
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

    made = Reader()
    monkeypatch.setattr(inspection, "look_in_sandbox", made)
    monkeypatch.setattr(inspection, "BACKGROUND", Background())
    yield made
    made.let.set()


def opened(store):
    app = open_page("models", add="upload")
    app.session_state["models.upload"] = {"files": [uploaded(store, "net.onnx", b"net", "model")]}
    return app.run()


def test_the_page_answers_while_the_file_is_read_and_goes_on_when_it_has_been(store, reader):
    app = opened(store)  # a page that waited would never come back
    assert not app.exception
    assert READING in app.get("progress")[0].proto.text
    assert not [button for button in app.button if button.label == "Import the model"]
    reader.let.set()
    app = settled(app)
    assert [button.label for button in app.button][-1] == "Import the model"
    app = press(app, "Import the model")
    opened(store).run()
    assert reader.starts == 1 and store.jobs().total == 1
    job, = store.jobs().items
    assert reader.kept == KeptLook.of(store.home / LOOKS, job.spec.files), "where the import looks for what was found"


def test_a_refusal_is_said_and_the_file_is_read_again_when_asked(store, reader):
    reader.answer = ModelError("The disk is full.")
    reader.let.set()
    app = settled(opened(store))
    assert "can't be read as a model" in texts(app) and "The disk is full." in texts(app)
    assert reader.starts == 1
    reader.answer = Look("graph")
    app = settled(press(app, "Read it again"))
    assert reader.starts == 2 and "Import the model" in [button.label for button in app.button]
