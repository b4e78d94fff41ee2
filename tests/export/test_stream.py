"""Tables quantised piece by piece: the same scores as in memory, and no file read that lies elsewhere."""

from __future__ import annotations

import shutil

import numpy as np
import onnx
import onnxruntime
import pytest

from compression.export import stream
from compression.export.onnx import Exported, export_onnx
from compression.export.stream import quantize_file
from compression.spec.errors import ExportError
from compression.testing.tiny import tiny_dataset, tiny_model


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    dataset = tiny_dataset(n_items=300, n_users=400)
    model = tiny_model("deepfm", dataset, embedding_dim=8)
    return export_onnx(model, dataset.signature, tmp_path_factory.mktemp("float") / "model.onnx"), dataset


@pytest.fixture
def exported(once, tmp_path):
    """A copy for each test, as some rewrite it."""
    folder = shutil.copytree(once[0].path.parent, tmp_path / "float")
    return Exported.of(folder / "model.onnx"), once[1]


def scores(path, dataset) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, dict(dataset.splits["test"].inputs))[0]


@pytest.mark.parametrize("clipping", ["none", "search"])
def test_large_tables_become_int8_rows_and_scores_stay(exported, tmp_path, clipping):
    before, dataset = exported
    done = quantize_file(before.path, tmp_path / "int8" / "model.onnx", clipping=clipping)
    assert set(done.tables) == {"tables.user.weight", "tables.item.weight", "first_order.user.weight",
                                "first_order.item.weight"}
    assert done.bytes_before == before.size_bytes and done.bytes_after < 0.6 * before.size_bytes
    onnx.checker.check_model(str(done.path), full_check=True)
    assert np.abs(scores(done.path, dataset) - scores(before.path, dataset)).max() < 1e-3


def test_pieces_do_not_change_the_bytes(exported, tmp_path, monkeypatch):
    before, _ = exported
    whole = quantize_file(before.path, tmp_path / "whole" / "model.onnx")
    monkeypatch.setattr(stream, "PIECE_BYTES", 100)
    parts = quantize_file(before.path, tmp_path / "parts" / "model.onnx")
    assert [file.read_bytes() for file in whole.files] == [file.read_bytes() for file in parts.files]


def test_rows_are_the_nearest_levels_of_their_own_scale(exported, tmp_path):
    before, _ = exported
    done = quantize_file(before.path, tmp_path / "int8" / "model.onnx")
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(done.path).graph.initializer}
    exact = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(before.path).graph.initializer}
    kept = held["tables.item.weight"] * held["tables.item.weight.scale"].astype(np.float32)
    step = np.abs(exact["tables.item.weight"]).max(1, keepdims=True) / 127
    assert (np.abs(kept - exact["tables.item.weight"])[1:] / step[1:]).max() < 0.51
    assert not kept[0].any()  # the row of unknown ids is zeros


def test_a_model_without_a_large_table_says_so(exported, tmp_path):
    before, _ = exported
    with pytest.raises(ExportError, match="no float32 table of at least 5000 rows"):
        quantize_file(before.path, tmp_path / "model.onnx", min_rows=5000)


def test_a_table_that_is_not_only_gathered_is_copied(exported, tmp_path):
    before, _ = exported
    model = onnx.load(before.path, load_external_data=False)
    model.graph.node.append(onnx.helper.make_node("ReduceSum", ["tables.item.weight"], ["total"]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("total", onnx.TensorProto.FLOAT, None))
    before.path.write_bytes(model.SerializeToString())
    done = quantize_file(before.path, tmp_path / "int8" / "model.onnx")
    assert "tables.item.weight" not in done.tables and "tables.user.weight" in done.tables


@pytest.mark.security
@pytest.mark.parametrize(("key", "value"), [("location", "../secret"), ("location", "/etc/passwd"),
                                            ("offset", "99999999"), ("offset", "-5")])
def test_data_outside_the_folder_or_the_file_is_refused(exported, tmp_path, key, value):
    before, _ = exported
    (tmp_path / "secret").write_bytes(b"0" * 1_000_000)
    model = onnx.load(before.path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = value if entry.key == key else entry.value
    before.path.write_bytes(model.SerializeToString())
    with pytest.raises(ExportError, match="in the folder of the model; it doesn't"):
        quantize_file(before.path, tmp_path / "int8" / "model.onnx")


def test_a_file_is_never_rewritten_in_place(exported):
    before, _ = exported
    with pytest.raises(ExportError, match="in place"):
        quantize_file(before.path, before.path)
