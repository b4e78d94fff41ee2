"""Whatever a run opens, it opens on the run's target: device, threads and level of rewriting reach every session.

No GPU is needed: what would be opened on CUDA is noted, and opened on the CPU in its place.
"""

from __future__ import annotations

import pytest
import torch

from compression import __main__ as command_line
from compression.data.encode import load_dataset
from compression.export import parity
from compression.export.parity import exact_products
from compression.measure import latency, pairs, size
from compression.measure.layer_latency import time_layers
from compression.models import zoo
from compression.models.files import save_model
from compression.models.folder import LoadedModel
from compression.running.run import run
from compression.runtimes import onnxruntime as runtime
from compression.spec.records import Recipe, RunSpec, Step, Target
from compression.testing.tiny import write_tiny_data

CUDA = Target(device="cuda", threads=2, batch_sizes=(8,), graph_optimization="basic")
HERE = {"device": "cpu"}


@pytest.fixture
def opened(monkeypatch) -> dict[str, list[dict]]:
    """Who opened a session → the options it asked for; every one is opened on the CPU."""
    asked: dict[str, list[dict]] = {}
    real = runtime.open_session

    def noting(who):
        def open_here(path, **options):
            asked.setdefault(who, []).append(options)
            return real(path, **options | HERE)

        return open_here

    monkeypatch.setattr(parity, "open_session", noting("parity"))
    monkeypatch.setattr(pairs, "open_session", noting("layers"))
    monkeypatch.setattr(runtime, "open_session", noting("scores"))
    time_round, resident = latency.time_round, size.resident_bytes

    def round_here(wanted, folder, report):
        asked.setdefault("latency", []).append(wanted.target.session)
        time_round(wanted.model_copy(update={"target": wanted.target.model_copy(update=HERE)}), folder, report)

    def resident_here(path, rows, **options):
        asked.setdefault("memory", []).append(options)
        return resident(path, rows, **options)

    monkeypatch.setattr(latency, "time_round", round_here)
    monkeypatch.setattr(size, "resident_bytes", resident_here)
    return asked


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
    memory = opened.pop("memory")
    assert {who: len(options) for who, options in opened.items()} == {"parity": 1, "scores": 2, "latency": 6}
    assert all(one == CUDA.session for options in opened.values() for one in options), opened
    assert memory == [{"threads": 2, "graph_optimization": "basic"}] * 2
    found = {item.metric: item for item in result.measurements}
    assert found["parity_error"].device == "cuda" and found["resident_bytes"].device == "cpu"

    opened.clear()
    assert command_line.main(["bundle", str(files["bundle.zip"]), "--data", str(tmp_path / "data")]) == 0
    assert opened["scores"] == [CUDA.session]
    assert command_line.main(["bundle", str(files["bundle.zip"]), "--data", str(tmp_path / "data"),
                              "--device", "cpu"]) == 0
    assert opened["scores"][1:] == [CUDA.session | HERE]


def test_layers_are_timed_on_the_target(opened):
    time_layers(torch.nn.Linear(4, 2), torch.nn.Linear(4, 2), 4, CUDA)
    assert len(opened["layers"]) == 12 and all(one == CUDA.session for one in opened["layers"])


def test_torch_multiplies_exactly_while_parity_is_checked_and_as_before_after():
    kinds = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)
    before = [kind.fp32_precision for kind in kinds]
    with exact_products():
        assert [kind.fp32_precision for kind in kinds] == ["ieee"] * 3
    assert [kind.fp32_precision for kind in kinds] == before
