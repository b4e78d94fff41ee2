"""A new runtime is its file: a copy of the project is given one.

In that copy the contract of every runtime holds for it, a run on the command line targets it and is checked and
measured by it, the editor's target offers it with its devices, and the list of runtimes names it.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compression.testing.tiny import write_tiny_data
from tests.contracts.project_copy import copy_project, python

NEEDED = ("compression", "jobs", "plots", "storage", "ui", "tests/contracts", "tests/__init__.py", "tests/conftest.py",
          "pyproject.toml")

RUNTIME = '''\
"""The evaluator that onnx itself has: slow, and right by definition."""

from __future__ import annotations

import numpy as np

from compression.spec.errors import MeasureError
from compression.spec.runtime import Runtime, runtime

DTYPES = {1: np.float32, 6: np.int32, 7: np.int64, 10: np.float16, 11: np.float64}


class Session:
    def __init__(self, evaluator, name):
        self.evaluator, self.name = evaluator, name

    @property
    def opened(self):
        if self.evaluator is None:
            raise MeasureError(f"{self.name} was closed; open it again.")
        return self.evaluator

    @property
    def providers(self):
        return ["numpy"]

    @property
    def input_names(self):
        return list(self.opened.input_names)

    def answer(self, inputs):
        types = {name: kind.tensor_type.elem_type for name, kind in zip(self.input_names, self.opened.input_types)}
        if missing := [name for name in types if name not in inputs]:
            raise MeasureError(f"{self.name} reads {missing[0]!r}; the rows have {', '.join(sorted(inputs))}.")
        try:
            return self.opened.run(None, {name: inputs[name].astype(DTYPES[kind]) for name, kind in types.items()})[0]
        except Exception as error:
            raise MeasureError(f"{self.name} could not score a batch: {error}. Is an id outside its table?") from None

    def score(self, inputs, batch_size=4096):
        n_rows = len(next(iter(inputs.values())))
        parts = [self.answer({name: array[start:start + batch_size] for name, array in inputs.items()}).reshape(-1)
                 for start in range(0, n_rows, batch_size)]
        scores = np.concatenate([np.zeros(0, np.float32), *parts]).astype(np.float32)
        if broken := int((~np.isfinite(scores)).sum()):
            raise MeasureError(f"{self.name} gave a score that is not finite for {broken} of {n_rows} rows.")
        return scores

    def bind(self, batches):
        return [Bound(self, batch) for batch in batches]

    def close(self):
        self.evaluator = None


class Bound:
    def __init__(self, session, batch):
        self.session, self.batch = session, batch

    def run(self):
        self.scores = self.session.score(self.batch)


def load():
    import onnx.reference  # noqa: F401


def open_session(path, *, device, threads, graph_optimization):
    from onnx.reference import ReferenceEvaluator

    try:
        return Session(ReferenceEvaluator(str(path)), path.name)
    except Exception as error:
        raise MeasureError(f"{path.name} can't be opened by Reference: {error}") from None


runtime(Runtime(key="reference", title="Reference", devices=("cpu",), packages=("onnx",), load=load,
                opener=open_session))
'''
TARGET = """\
import json

from streamlit.testing.v1 import AppTest


def page():
    import streamlit as st

    from ui.experiment.form import _choose_target, parse_target, target_text

    target = _choose_target()
    st.text(target.model_dump_json())
    st.text(str(parse_target(target_text(target)) == target))


app = AppTest.from_function(page, default_timeout=30).run()
box = app.selectbox(key="experiment.runtime")
offered = box.options
app.session_state["experiment.device"] = "cuda"
app = box.select("reference").run()
devices = app.button_group(key="experiment.device").options
print(json.dumps({"offered": offered, "devices": devices,
                  "target": json.loads(app.text[0].value), "same by address": app.text[1].value,
                  "failed": len(app.exception)}))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of what is needed of the project, with the new runtime in it."""
    folder = copy_project(tmp_path_factory.mktemp("project"), NEEDED)
    (folder / "compression/runtimes/reference.py").write_text(RUNTIME, encoding="utf-8")
    return folder


def test_the_contract_of_every_runtime_holds_for_it(project):
    told = python(project, "-m", "pytest", "-p", "no:cacheprovider", "tests/contracts/test_runtimes.py", "-k",
                  "reference")
    assert " passed" in told and "failed" not in told


def test_a_run_targets_it_by_name(project, tmp_path):
    write_tiny_data(tmp_path / "data", rows=200)
    (tmp_path / "recipe.yaml").write_text(
        "version: 1\nname: half\nsteps: [{method: quantize.half, params: {}}]\n", encoding="utf-8")
    data, model = str(tmp_path / "data"), tmp_path / "model"
    python(project, "-m", "compression", "train", "--data", data, "--architecture", "lr", "--set", "epochs=1", "--out",
           str(model))
    told = python(project, "-m", "compression", "run", "--model", str(model / "trained"), "--data", data, "--recipe",
                  str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "out"), "--batch-sizes", "8", "--runtime",
                  "reference", "--json")
    result = json.loads(told)
    assert result["spec"]["target"]["runtime"] == "reference"
    told_by = {one["metric"]: one["runtime"] for one in result["measurements"] if one["runtime"]}
    assert set(told_by.values()) == {"reference"}
    assert {"parity_error", "resident_bytes", "latency_p50_ms", "latency_ratio"} <= set(told_by)
    assert result["environment"]["reference"] and "onnxruntime" not in result["environment"]


def test_the_editor_offers_it_with_its_devices(project):
    (project / "open_target.py").write_text(TARGET, encoding="utf-8")
    told = json.loads(python(project, "open_target.py").strip().splitlines()[-1])
    assert told["offered"] == ["ONNX Runtime", "Reference"] and told["devices"] == ["CPU"] and not told["failed"]
    assert (told["target"]["runtime"], told["target"]["device"]) == ("reference", "cpu")
    assert told["same by address"] == "True"


def test_the_list_of_runtimes_names_it(project):
    listed = python(project, "-m", "compression", "runtimes", "--markdown")
    assert "| `reference` | Reference | cpu | onnx |" in listed
