"""ONNX Runtime as RecPress uses it; what holds for every runtime is in its contract."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest

from compression.runtimes import onnxruntime as own
from compression.runtimes.onnxruntime import open_session
from compression.spec.errors import MeasureError
from compression.spec.records import Target
from compression.spec.runtime import RUNTIMES
from tests.measure.graphs import table_file


@pytest.fixture
def file(tmp_path):
    return table_file(tmp_path / "model.onnx", np.ones((4, 2), np.float32))


def test_providers_are_its_execution_providers(file):
    assert open_session(file).providers == ["CPUExecutionProvider"]


def test_threads_do_not_spin_and_operators_wait_for_one_another(file):
    options = open_session(file, threads=2).runtime.get_session_options()
    assert options.intra_op_num_threads == 2 and options.inter_op_num_threads == 1
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_an_id_beyond_its_table_is_a_sentence(file):
    with pytest.raises(MeasureError, match=r"could not score a batch.*Check that every id is inside its table"):
        open_session(file).score({"ids": np.array([0, 9])})


def test_a_missing_input_names_the_columns_that_are_there(file):
    with pytest.raises(MeasureError, match="reads an input 'ids' that the rows don't have; they have: other"):
        open_session(file).score({"other": np.array([0])})


def test_cuda_is_believed_only_when_the_session_says_so(file):
    try:
        session = open_session(file, device="cuda")
    except MeasureError as error:
        assert "no working CUDA device on this machine. Choose the device cpu" in str(error)
    else:
        assert session.providers[0] == "CUDAExecutionProvider"


def test_tf32_is_off_in_every_session_on_cuda(file, monkeypatch):
    asked = []

    class Opened:
        def __init__(self, path, options, providers):
            asked.extend(providers)

        def get_providers(self):
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]

        def get_outputs(self):
            return [type("Output", (), {"name": "score"})]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Opened)
    own.open_session(file, device="cuda")
    assert asked == [("CUDAExecutionProvider", {"use_tf32": "0"}), "CPUExecutionProvider"]


def test_a_runtime_is_opened_with_every_option_or_not_at_all(file):
    options = Target().session
    for left_out in options:
        with pytest.raises(TypeError, match=left_out):
            RUNTIMES["onnxruntime"].open(file, **{name: options[name] for name in options if name != left_out})


@pytest.mark.parametrize(("runtime", "device", "why"), [
    ("abacus", "cpu", "must be one of 'onnxruntime'"),
    ("paper", "cuda", "Paper runs on cpu, not on cuda"),
])
def test_a_target_names_a_runtime_that_there_is_and_a_device_of_it(monkeypatch, runtime, device, why):
    monkeypatch.setitem(RUNTIMES._all(), "paper", replace(own.ONNX_RUNTIME, key="paper", title="Paper",
                                                          devices=("cpu",)))
    with pytest.raises(ValueError, match=why):
        Target(runtime=runtime, device=device)
    assert Target(runtime="paper").runtime == "paper"


@pytest.mark.gpu
def test_cuda_gives_the_scores_of_the_cpu(file):
    import torch

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers() or not torch.cuda.is_available():
        pytest.skip("needs a CUDA device and onnxruntime-gpu")
    inputs = {"ids": np.arange(4)}
    expected = open_session(file).score(inputs)
    np.testing.assert_allclose(open_session(file, device="cuda").score(inputs), expected, atol=1e-4)
