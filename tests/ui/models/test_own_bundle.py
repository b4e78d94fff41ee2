"""A file that was exported here finds its run by its digest, and takes signature and vocabularies of that bundle."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile

import onnx
import pytest
import torch

from storage.testing import finished_run
from tests.importers.graphs import export
from tests.ui.app import press, settled, texts, upload_page, uploaded
from tests.ui.filled import TABLES, add_subject, spec_of
from tests.ui.models.test_binding_form import Pair
from ui.models.own_bundle import run_of

SIGNATURE = {"inputs": [{"name": name, "kind": "category", "column": column, "cardinality": rows}
                        for name, column, rows in zip(("x0", "x1"), TABLES, (12, 9), strict=False)]}
LISTS = dict(zip(TABLES, ([str(one) for one in range(count)] for count in (11, 8)), strict=False))


@pytest.fixture(scope="module")
def graph(tmp_path_factory) -> bytes:
    arguments = {name: torch.zeros(3, dtype=torch.int64) for name in ("x0", "x1")}
    model = onnx.load(export(Pair(), arguments, tmp_path_factory.mktemp("made") / "m.onnx", dynamo=False))
    model.producer_name = "recpress"
    return model.SerializeToString()


def bundle(**files: bytes) -> bytes:
    content = io.BytesIO()
    sums = "".join(f"{hashlib.sha256(held).hexdigest()}  {name}\n" for name, held in sorted(files.items()))
    with zipfile.ZipFile(content, "w") as archive:
        for name, held in {**files, "SHA256SUMS": sums.encode()}.items():
            archive.writestr(name, held)
    return content.getvalue()


def test_the_run_that_exported_it_offers_its_bundle(store, graph):
    beside = {"signature.json": json.dumps({"signature": SIGNATURE}).encode(),
              "vocabularies.json": json.dumps(LISTS).encode()}
    digest = store.files.put_bytes(bundle(**{"model.onnx": graph, **beside}))
    other = store.files.put_bytes(bundle(**{"model.onnx": graph + b"\0", **beside}))
    model, data = add_subject(store)
    run = finished_run(store, spec_of(model, data, ()), name="ours", files={"bundle.zip": digest})
    finished_run(store, spec_of(model, data, (), seed=1), name="newer", files={"bundle.zip": other})
    found = run_of(store, {"mine.onnx": store.files.put_bytes(graph)})
    assert found is not None and (found[0].id, found[1]) == (run, digest)
    app = upload_page(store, "models", [uploaded(store, "mine.onnx", graph, "model")])
    assert f"RecPress exported this file in run {run}, ours." in texts(app)
    settled(press(app, "Take its signature and vocabularies"))
    assert not app.exception and not app.error and f"bundle of run {run}, ours" in texts(app)
    press(app, "Import the model")
    job = store.jobs().items[0]
    assert job.spec.files == {"bundle.zip": digest} and job.spec.name == "mine" and not job.spec.binding


def test_a_file_of_no_run_here_offers_nothing(store, graph):
    broken = store.files.put_bytes(b"no zip")
    finished_run(store, spec_of(*add_subject(store), ()), name="broken", files={"bundle.zip": broken})
    app = upload_page(store, "models", [uploaded(store, "mine.onnx", graph, "model")])
    assert not app.exception and "exported this file in run" not in texts(app)
