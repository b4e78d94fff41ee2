"""Bytes, memory and weights are those of the file: nothing forgotten, nothing counted twice."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import zlib

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from compression.data.dataset import Rows
from compression.export.onnx import export_onnx
from compression.layers.dense.quantized_linear import DynamicLinear, StaticLinear
from compression.layers.rows.row_codes import encode_rows, unpack
from compression.measure import resident
from compression.measure.size import measure_size, resident_bytes
from compression.measure.weights import WeightCount, count_weights, read_graph
from compression.spec.errors import MeasureError
from compression.spec.records import Target
from compression.spec.signature import Input, Signature
from compression.testing.tiny import tiny_model
from tests.measure.graphs import ids_input, save_graph, table_file


def counted(path) -> WeightCount:
    return count_weights(path, read_graph(path))


@pytest.mark.slow
def test_size_is_what_the_files_weigh_together(dataset, exported):
    found = {item.metric: item for item in measure_size(exported, dataset.splits["test"], target=Target())}
    assert found["size_bytes"].value == sum(os.path.getsize(file) for file in exported.parent.iterdir())
    assert found["resident_bytes"].device == "cpu" and found["resident_bytes"].n == len(dataset.splits["test"])


def test_parameters_are_those_of_the_torch_model(dataset, exported):
    model = tiny_model("deepfm", dataset)
    expected = [tensor for tensor in model.state_dict().values() if tensor.is_floating_point() and tensor.ndim]
    assert counted(exported) == WeightCount(sum(tensor.numel() for tensor in expected),
                                            sum(int(tensor.count_nonzero()) for tensor in expected))


@pytest.mark.parametrize("external", [False, True])
def test_zeros_are_seen_in_the_file_and_in_external_data(tmp_path, external):
    table = np.ones((5, 4), np.float32)
    table[2] = 0
    assert counted(table_file(tmp_path / "model.onnx", table, external=external)) == WeightCount(20, 16)


def test_without_rows_memory_is_absent_rather_than_zero(exported):
    assert [item.metric for item in measure_size(exported, target=Target())] == [
        "size_bytes", "download_bytes", "parameters", "nonzeros"]


@pytest.mark.parametrize("external", [False, True])
def test_a_download_weighs_what_zlib_makes_of_each_file(tmp_path, external):
    table = np.random.default_rng(0).normal(size=(3000, 16)).astype(np.float32)
    codes = np.sign(table)  # one bit of information a weight, still four bytes each
    sizes = {}
    for name, weight in (("normal", table), ("signs", codes)):
        (tmp_path / name).mkdir()
        path = table_file(tmp_path / name / "model.onnx", weight, external=external)
        sizes[name] = {item.metric: item.value for item in measure_size(path, target=Target())}
        packed = sum(len(zlib.compress(file.read_bytes(), 6)) for file in path.parent.iterdir())
        assert sizes[name]["download_bytes"] == packed
    assert sizes["normal"]["size_bytes"] == sizes["signs"]["size_bytes"]
    assert 0.85 < sizes["normal"]["download_bytes"] / sizes["normal"]["size_bytes"] < 1
    assert 1 / 32 < sizes["signs"]["download_bytes"] / sizes["signs"]["size_bytes"] < 0.1


def test_a_very_large_file_is_not_packed(exported, monkeypatch):
    monkeypatch.setattr("compression.measure.size.PACKED_UP_TO", 1000)
    assert "download_bytes" not in {item.metric for item in measure_size(exported, target=Target())}


@pytest.mark.slow
def test_memory_grows_with_the_rows_that_are_read_from_a_mapped_table(tmp_path):
    path = table_file(tmp_path / "model.onnx", np.ones((250_000, 16), np.float32))  # 16 MB
    few = resident_bytes(path, Rows({"ids": np.zeros(8, np.int64)}, np.zeros(8, np.float32), None), Target())
    every = np.arange(0, 250_000, 50)
    many = resident_bytes(path, Rows({"ids": every}, np.zeros(len(every), np.float32), None), Target())
    assert many > few and 14e6 < many < 60e6


def test_the_code_of_the_runtime_is_no_part_of_what_a_file_holds(tmp_path):
    path = table_file(tmp_path / "model.onnx", np.ones((40, 4), np.float32))
    rows = Rows({"ids": np.zeros(8, np.int64)}, np.zeros(8, np.float32), None)
    assert resident_bytes(path, rows, Target()) < 4e6  # about 1.5 MB; 9 MB with the library


def test_a_file_whose_data_is_missing_is_a_sentence(tmp_path):
    path = table_file(tmp_path / "model.onnx", np.ones((40, 40), np.float32))
    (tmp_path / "model.onnx.data").unlink()
    with pytest.raises(MeasureError, match=r"model.onnx needs model.onnx.data beside it, which is missing"):
        measure_size(path, target=Target())


def test_data_cut_short_is_a_sentence(tmp_path):
    path = table_file(tmp_path / "model.onnx", np.ones((40, 40), np.float32))
    os.truncate(tmp_path / "model.onnx.data", 100)
    with pytest.raises(MeasureError, match=r"shorter than model.onnx says for 'table'"):
        counted(path)


class OneTable(torch.nn.Module):
    def __init__(self, table: torch.nn.Module, linear: torch.nn.Module):
        super().__init__()
        self.table, self.linear = table, linear

    def forward(self, batch):
        return self.linear(self.table(batch["ids"])).squeeze(-1)


@pytest.mark.slow
@pytest.mark.parametrize("n_bits", [8, 4, 2, 1])
@pytest.mark.parametrize("width", [8, 5])
def test_codes_are_counted_one_by_one_and_scales_are_not(tmp_path, n_bits, width):
    from compression.layers.rows.quantized_rows import QuantizedRows

    weight = torch.randn(30, width, generator=torch.Generator().manual_seed(0))
    weight[3:9] = 0
    table = QuantizedRows(encode_rows(weight, n_bits=n_bits))
    model = OneTable(table, torch.nn.Linear(width, 1))
    signature = Signature(inputs=(Input(name="ids", kind="category", column="ids", cardinality=30),))
    path = export_onnx(model, signature, tmp_path / "model.onnx").path
    zeros = int((unpack(table.codes, n_bits, width) == 0).sum())
    assert zeros >= 6 * width or n_bits < 8  # fewer bits have no level for zero
    assert counted(path) == WeightCount(30 * width + width + 1, 30 * width + width + 1 - zeros)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_quantised_dense_layers_count_weights_and_biases(tmp_path, kind):
    linear = torch.nn.Linear(8, 1)
    with torch.no_grad():
        linear.weight[0] = torch.tensor([0, 0, 0, 0.5, -0.4, 0.3, -0.2, 0.1])
        linear.bias[0] = 0.5
    layer = DynamicLinear(linear) if kind == "dynamic" else StaticLinear(linear, x_scale=0.02, zero_point=128)
    signature = Signature(inputs=(Input(name="ids", kind="category", column="ids", cardinality=30),))
    path = export_onnx(OneTable(torch.nn.Embedding(30, 8), layer), signature, tmp_path / "model.onnx").path
    assert counted(path) == WeightCount(240 + 8 + 1, 240 + 5 + 1)


def test_row_numbers_and_codebook_indices_are_not_weights(tmp_path):
    nodes = [helper.make_node("Gather", ["remap", "ids"], ["rows"]),
             helper.make_node("Gather", ["codes", "rows"], ["code"]),
             helper.make_node("Cast", ["code"], ["index"], to=TensorProto.INT32),
             helper.make_node("Gather", ["codebook", "index"], ["vectors"]),
             helper.make_node("ReduceSum", ["vectors"], ["score"], keepdims=0)]
    tensors = {"remap": np.zeros(50, np.int32), "codes": np.zeros((7, 2), np.uint8),
               "codebook": np.ones((16, 3), np.float32)}
    assert counted(save_graph(tmp_path / "model.onnx", nodes, ids_input(), tensors)) == WeightCount(48, 48)


def test_a_uint8_table_is_zero_at_its_zero_point(tmp_path):
    table = np.full((6, 4), 130, np.uint8)
    table[:2] = 128
    nodes = [helper.make_node("Gather", ["codes", "ids"], ["row"]),
             helper.make_node("DequantizeLinear", ["row", "scale", "zero"], ["x"]),
             helper.make_node("ReduceSum", ["x"], ["score"], keepdims=0)]
    tensors = {"codes": table, "scale": np.float32(0.1), "zero": np.uint8(128)}
    assert counted(save_graph(tmp_path / "model.onnx", nodes, ids_input(), tensors)) == WeightCount(24, 16)


def test_four_bit_matrices_of_other_tools_count_two_to_a_byte(tmp_path):
    packed = np.full((4, 1, 16), 0x88, np.uint8)  # 4 outputs, 32 inputs, all at the zero point 8
    packed[0, 0, 0] = 0x98
    nodes = [helper.make_node("MatMulNBits", ["x", "packed", "scales"], ["score"], domain="com.microsoft", K=32, N=4,
                              bits=4, block_size=32)]
    path = save_graph(tmp_path / "model.onnx", nodes, {"x": (TensorProto.FLOAT, ["batch", 32])},
                      {"packed": packed, "scales": np.ones(4, np.float32)}, microsoft=True)
    assert counted(path) == WeightCount(128, 1)


@pytest.mark.slow
def test_the_process_that_measures_memory_opens_the_file_on_the_target(dataset, exported, monkeypatch):
    opened, real = [], onnxruntime.InferenceSession

    def noting(file, options=None, **others):
        if options is not None:
            opened.append((options.intra_op_num_threads, options.graph_optimization_level))
        return real(file, options, **others)

    def run_here(command, **options):
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            resident.main(*command[command.index("compression.measure.resident") + 1:])
        return subprocess.CompletedProcess(command, 0, said.getvalue(), "")

    monkeypatch.setattr(onnxruntime, "InferenceSession", noting)
    monkeypatch.setattr("compression.measure.size.subprocess.run", run_here)
    measure_size(exported, dataset.splits["test"], target=Target(threads=2, graph_optimization="basic"))
    assert opened == [(2, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC)]
