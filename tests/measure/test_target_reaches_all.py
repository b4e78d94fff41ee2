"""Whatever a run opens, it opens on the run's target: runtime, device, threads and level of rewriting reach it.

No GPU is needed: what would be opened on CUDA is noted, and opened on the CPU in its place.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch

from compression import __main__ as command_line
from compression.data.encode import load_dataset
from compression.export import parity
from compression.export.parity import exact_products
from compression.measure import latency, size
from compression.measure.layer_latency import time_layers
from compression.models import zoo
from compression.models.files import save_model
from compression.models.folder import LoadedModel
from compression.running.run import run
from compression.runtimes.onnxruntime import ONNX_RUNTIME
from compression.spec.records import Recipe, RunSpec, Step, Target
from compression.spec.runtime import RUNTIMES
from compression.testing.tiny import write_tiny_data

NOTED = "noted"  # ONNX Runtime under another name, which writes down who opens what
CUDA = Target(device="cuda", threads=2, batch_sizes=(8,), graph_optimization="basic").model_copy(
    update={"runtime": NOTED})
HERE = {"device": "cpu", "runtime": "onnxruntime"}


@pytest.fixture
def opened(monkeypatch) -> dict[str, list[dict]]:
    """Module that opened a session of the noted runtime → the options it asked for; each is opened on the CPU."""
    asked: dict[str, list[dict]] = {}

    def opener(path, **options):
        by = sys._getframe(2).f_globals["__name__"]  # behind Runtime.open
        asked.setdefault(by.rpartition(".")[2], []).append(options)
        return ONNX_RUNTIME.opener(path, **options | {"device": "cpu"})

    monkeypatch.setitem(RUNTIMES._all(), NOTED, replace(ONNX_RUNTIME, key=NOTED, opener=opener))
    time_round, resident = latency.time_round, size.resident_bytes

    def round_here(wanted, folder, report):
        asked.setdefault("latency", []).append(wanted.target)
        time_round(wanted.model_copy(update={"target": wanted.target.model_copy(update=HERE)}), folder, report)

    def resident_here(path, rows, target):
        asked.setdefault("memory", []).append(target)
        return resident(path, rows, target.model_copy(update=HERE))

    monkeypatch.setattr(latency, "time_round", round_here)
    monkeypatch.setattr(size, "resident_bytes", resident_here)
    return asked


@pytest.mark.slow
def test_a_run_on_cuda_checks_and_measures_everything_there(tmp_path, monkeypatch, opened):
    write_tiny_data(tmp_path / "data")
    dataset = load_dataset(tmp_path / "data")
    model = zoo.build("deepfm", dataset.signature, {}, seed=0)
    save_model(tmp_path / "model", LoadedModel(model, dataset.signature, dataset.vocabularies, "deepfm", model.config))
    recipe = Recipe(name="tried", steps=(Step(method="embed.quantize_rows"),))
    precisions = []

    class Noting(parity.Scored):
        def forward(self, batch):
            precisions.append(torch.backends.cuda.matmul.fp32_precision)
            return super().forward(batch)

    monkeypatch.setattr(parity, "Scored", Noting)
    result, files = run(RunSpec(model="m", data="d", recipe=recipe, target=CUDA), model_folder=tmp_path / "model",
                        data_folder=tmp_path / "data", folder=tmp_path / "out", report=lambda progress: None)
    assert set(precisions) == {"ieee"}  # torch, too, multiplies without TF32 while it is compared
    assert opened.pop("memory") == [CUDA.model_copy(update={"device": "cpu"})] * 2
    assert opened.pop("latency") == [CUDA] * 6
    assert {who: len(options) for who, options in opened.items()} == {"parity": 1, "run": 2}
    assert all(one == CUDA.session for options in opened.values() for one in options), opened
    found = {item.metric: item for item in result.measurements}
    assert found["parity_error"].device == "cuda" and found["resident_bytes"].device == "cpu"
    told_by = {found[key].runtime for key in ("parity_error", "resident_bytes", "latency_ratio")}
    assert told_by == {NOTED} and result.environment[NOTED] == ONNX_RUNTIME.version

    opened.clear()
    assert command_line.main(["bundle", str(files["bundle.zip"]), "--data", str(tmp_path / "data")]) == 0
    assert opened["bundle"] == [CUDA.session]
    assert command_line.main(["bundle", str(files["bundle.zip"]), "--data", str(tmp_path / "data"),
                              "--device", "cpu"]) == 0
    assert opened["bundle"][1:] == [CUDA.session | {"device": "cpu"}]


@pytest.mark.slow
def test_layers_are_timed_on_the_target(opened):
    time_layers(torch.nn.Linear(4, 2), torch.nn.Linear(4, 2), 4, CUDA)
    assert opened == {"pairs": [CUDA.session] * 12}


def test_torch_multiplies_exactly_while_parity_is_checked_and_as_before_after():
    kinds = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)
    before = [kind.fp32_precision for kind in kinds]
    with exact_products():
        assert [kind.fp32_precision for kind in kinds] == ["ieee"] * 3
    assert [kind.fp32_precision for kind in kinds] == before
