"""ONNX Runtime as RecPress uses it: scores as torch has them, and a sentence for everything that can't be run."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from compression.runtimes import RUNTIMES
from compression.runtimes.onnxruntime import open_session
from compression.spec.errors import MeasureError
from compression.spec.records import Target
from compression.testing.tiny import tiny_model
from tests.measure.graphs import table_file


def test_scores_are_those_of_torch_for_any_batch_size(dataset, exported):
    rows = dataset.splits["test"]
    session = RUNTIMES["onnxruntime"].open(exported, **Target().session)
    batch = {name: torch.from_numpy(array) for name, array in rows.inputs.items()}
    with torch.no_grad():
        expected = torch.sigmoid(tiny_model("deepfm", dataset)(batch)).numpy()
    for batch_size in (1, 7, 4096):
        scores = session.score(rows.inputs, batch_size=batch_size)
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert session.providers == ["CPUExecutionProvider"]


def test_no_rows_give_no_scores(dataset, exported):
    assert open_session(exported).score(dataset.splits["test"].take(slice(0, 0)).inputs).shape == (0,)


def test_a_bound_batch_can_be_run_again_and_again(dataset, exported):
    session = open_session(exported)
    (bound,) = session.bind([dataset.splits["test"].take(slice(0, 5)).inputs])
    bound.run()
    bound.run()
    np.testing.assert_allclose(bound.kept[-1].numpy(), session.score(dataset.splits["test"].take(slice(0, 5)).inputs))


def test_threads_do_not_spin_and_operators_wait_for_one_another(exported):
    options = open_session(exported, threads=2).runtime.get_session_options()
    assert options.intra_op_num_threads == 2 and options.inter_op_num_threads == 1
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_a_missing_input_is_named(dataset, exported):
    inputs = {name: array for name, array in dataset.splits["test"].inputs.items() if name != "genres"}
    with pytest.raises(MeasureError, match="reads an input 'genres' that the rows don't have; they have: age, item"):
        open_session(exported).score(inputs)


def test_an_id_beyond_its_table_is_a_sentence(tmp_path):
    session = open_session(table_file(tmp_path / "model.onnx", np.ones((4, 2), np.float32)))
    with pytest.raises(MeasureError, match=r"could not score a batch.*Check that every id is inside its table"):
        session.score({"ids": np.array([0, 9])})


def test_scores_that_are_not_finite_are_counted(tmp_path):
    table = np.array([[0.0, 0.0], [np.nan, 1.0]], np.float32)
    session = open_session(table_file(tmp_path / "model.onnx", table))
    with pytest.raises(MeasureError, match="not finite for 2 of 3 rows"):
        session.score({"ids": np.array([1, 0, 1])})


def test_a_file_that_is_no_model_is_a_sentence(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(MeasureError, match=r"model.onnx can't be opened by ONNX Runtime"):
        open_session(path)


def test_an_unknown_device_is_refused(exported):
    with pytest.raises(MeasureError, match="Device 'tpu' is unknown; allowed are cpu, cuda"):
        open_session(exported, device="tpu")


def test_cuda_is_believed_only_when_the_session_says_so(exported):
    try:
        session = open_session(exported, device="cuda")
    except MeasureError as error:
        assert "no working CUDA device on this machine. Choose the device cpu" in str(error)
    else:
        assert session.providers[0] == "CUDAExecutionProvider"


def test_tf32_is_off_in_every_session_on_cuda(exported, monkeypatch):
    asked = []

    class Opened:
        def __init__(self, path, options, providers):
            asked.extend(providers)

        def get_providers(self):
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]

        def get_outputs(self):
            return [type("Output", (), {"name": "score"})]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Opened)
    open_session(exported, device="cuda")
    assert asked == [("CUDAExecutionProvider", {"use_tf32": "0"}), "CPUExecutionProvider"]


def test_a_runtime_is_opened_with_every_option_or_not_at_all(exported):
    options = Target().session
    for left_out in options:
        with pytest.raises(TypeError, match=left_out):
            RUNTIMES["onnxruntime"].open(exported, **{name: options[name] for name in options if name != left_out})


@pytest.mark.gpu
def test_cuda_gives_the_scores_of_the_cpu(dataset, exported):
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers() or not torch.cuda.is_available():
        pytest.skip("needs a CUDA device and onnxruntime-gpu")
    inputs = dataset.splits["test"].inputs
    expected = open_session(exported).score(inputs)
    np.testing.assert_allclose(open_session(exported, device="cuda").score(inputs), expected, atol=1e-4)
