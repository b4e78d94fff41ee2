"""The exported file: inputs and axes, exact bytes, operators that run fused, and errors that say what to do."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from compression.export import parity
from compression.export.onnx import Exported, export_onnx
from compression.export.parity import FLOAT_TOLERANCE, ROUNDING_TOLERANCE, check_parity, tolerance_of
from compression.models.structure import describe
from compression.spec.errors import ExportError
from compression.spec.records import Target
from compression.spec.signature import Input, Signature
from compression.testing.steps import apply, ordered_dataset
from compression.testing.tiny import tiny_model

ROWS = "embed.quantize_rows"
STEPS = [[], [(ROWS, {"n_bits": 8})], [(ROWS, {"n_bits": 4, "min_rows": 1})], [(ROWS, {"n_bits": 2})],
         [(ROWS, {"n_bits": 4, "granularity": "field"})], [("quantize.dynamic", {})], [("quantize.static", {})],
         [(ROWS, {"n_bits": 4}), ("quantize.static", {"skip_output": False, "min_features": 1})]]


@pytest.fixture(scope="module")
def dataset():
    return ordered_dataset()


@pytest.fixture(scope="module")
def model(dataset):
    return tiny_model("deepfm", dataset, embedding_dim=7, width=32)  # 7 leaves columns over in packed bytes


def after(model, dataset, steps):
    for key, params in steps:
        model = apply(key, model, dataset, **params).model
    return model


def optimised(path, folder) -> Counter:
    """Operators that ONNX Runtime really runs on the CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx", load_external_data=False).graph.node)


def initializer_bytes(path) -> dict[str, int]:
    graph = onnx.load(path).graph
    return {tensor.name: onnx.numpy_helper.to_array(tensor).nbytes for tensor in graph.initializer}


@pytest.mark.parametrize("steps", STEPS, ids=lambda steps: " + ".join(key + str(params) for key, params in steps))
def test_the_file_holds_exactly_the_layers_tensors_and_agrees_with_torch(model, dataset, steps, tmp_path):
    changed = after(model, dataset, steps)
    exported = export_onnx(changed, dataset.signature, tmp_path / "model.onnx")
    described = describe(changed, dataset.signature, architecture="deepfm")
    assert exported.size_bytes - exported.graph_bytes == described.size_bytes
    held = initializer_bytes(exported.path)
    own = {name: size for name, size in held.items() if not name.isdigit()}
    assert sum(own.values()) == described.size_bytes
    assert sum(held.values()) - sum(own.values()) < 2500  # tables of levels, shapes, scalars
    found = check_parity(changed, dataset.signature, exported.path, dataset.splits["test"], target=Target())
    assert found.error < (2e-3 if tolerance_of(changed) == ROUNDING_TOLERANCE else 1e-6)


def test_inputs_keep_their_order_and_batch_and_lists_have_any_length(model, dataset, tmp_path):
    exported = export_onnx(model, dataset.signature, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(exported.path), providers=["CPUExecutionProvider"])
    assert [item.name for item in session.get_inputs()] == [item.name for item in dataset.signature.inputs]
    assert [item.shape for item in session.get_inputs()] == [["batch"], ["batch"], ["batch", "genres_length"],
                                                             ["batch"]]
    assert (session.get_outputs()[0].name, session.get_outputs()[0].shape) == ("score", ["batch"])
    for n_rows, length in ((1, 1), (5, 9)):
        batch = {name: values[:n_rows] for name, values in dataset.splits["test"].inputs.items()}
        batch["genres"] = np.zeros((n_rows, length), np.int64)
        assert session.run(None, batch)[0].shape == (n_rows,)


def test_the_graph_is_small_and_says_opset_21_and_ir_10(model, dataset, tmp_path):
    exported = export_onnx(model, dataset.signature, tmp_path / "model.onnx")
    graph = onnx.load(exported.path, load_external_data=False)
    assert (graph.ir_version, graph.opset_import[0].version, len(graph.opset_import)) == (10, 21, 1)
    assert not graph.metadata_props and not any(node.metadata_props or node.doc_string for node in graph.graph.node)
    assert exported.graph_bytes < 12_000
    onnx.checker.check_model(str(exported.path), full_check=True)


def test_tables_are_external_data_and_floats_lie_where_they_can_be_mapped(model, dataset, tmp_path):
    big = apply(ROWS, tiny_model("deepfm", dataset, embedding_dim=33, width=32), dataset).model
    exported = export_onnx(big, dataset.signature, tmp_path / "model.onnx")
    assert [file.name for file in exported.files] == ["model.onnx", "model.onnx.data"]
    graph = onnx.load(exported.path, load_external_data=False).graph
    places = {tensor.name: {entry.key: entry.value for entry in tensor.external_data} for tensor in graph.initializer}
    assert places["tables.item.codes"]["location"] == "model.onnx.data"
    for tensor in graph.initializer:
        width = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        assert int(places[tensor.name].get("offset", 0)) % width == 0


def test_int8_dense_layers_run_as_one_operator_each(model, dataset, tmp_path):
    for key, fused in (("quantize.dynamic", "DynamicQuantizeMatMul"), ("quantize.static", "QGemm")):
        changed = after(model, dataset, [(key, {"min_features": 1, "skip_output": False})])
        exported = export_onnx(changed, dataset.signature, tmp_path / key / "model.onnx")
        ran = optimised(exported.path, tmp_path)
        assert ran[fused] == 3 and not ran["MatMulInteger"] and not ran["Gemm"]


def test_packed_rows_use_operators_that_have_cuda_kernels(model, dataset, tmp_path):
    exported = export_onnx(after(model, dataset, [(ROWS, {"n_bits": 4, "min_rows": 1})]), dataset.signature,
                           tmp_path / "model.onnx")
    ran = {node.op_type for node in onnx.load(exported.path, load_external_data=False).graph.node}
    assert not ran & {"BitShift", "BitwiseAnd", "DynamicQuantizeLinear", "GatherBlockQuantized"}


def test_exporting_twice_gives_the_same_bytes_and_leaves_the_model_as_it_was(dataset, tmp_path):
    model = tiny_model("deepfm", dataset).train()
    first, second = (export_onnx(model, dataset.signature, tmp_path / name / "model.onnx") for name in "ab")
    assert [file.read_bytes() for file in first.files] == [file.read_bytes() for file in second.files]
    assert all(module.training for module in model.modules())


class Direct(nn.Module):
    """Gives one number a row as it is, and says what it gives."""

    def __init__(self, output_form: str) -> None:
        super().__init__()
        self.output_form = output_form
        self.weight = nn.Parameter(torch.tensor(2.0))

    def forward(self, batch):
        return batch["val_1"] * self.weight


def number_signature(output: str = "score", form: str = "probability") -> Signature:
    return Signature(inputs=(Input(name="val_1", kind="number", column="val_1", dtype="float32"),), output=output,
                     output_form=form)


@pytest.mark.parametrize(("gives", "promised", "expected"), [
    ("logit", "probability", 1 / (1 + np.exp(-6))), ("probability", "probability", 6.0), ("logit", "logit", 6.0)])
def test_a_sigmoid_is_added_only_where_the_model_gives_logits(gives, promised, expected, tmp_path):
    exported = export_onnx(Direct(gives), number_signature(form=promised), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(exported.path), providers=["CPUExecutionProvider"])
    assert session.run(None, {"val_1": np.array([3.0], np.float32)})[0] == pytest.approx(expected, rel=1e-6)


def test_an_input_may_bear_a_name_that_the_exporter_uses_itself(tmp_path):
    exported = export_onnx(Direct("logit"), number_signature(), tmp_path / "model.onnx")
    onnx.checker.check_model(str(exported.path))


def test_an_output_named_like_an_input_is_refused(tmp_path):
    with pytest.raises(ExportError, match=r"named 'val_1' like an input\. Give it another name"):
        export_onnx(Direct("logit"), number_signature("val_1"), tmp_path / "model.onnx")


def test_a_model_that_torch_cannot_trace_says_so(tmp_path):
    class Branching(Direct):
        def forward(self, batch):
            return batch["val_1"] * (2.0 if batch["val_1"].sum() > 0 else 1.0)

    with pytest.raises(ExportError, match=r"can't be written as ONNX: .*Leave out the last step"):
        export_onnx(Branching("logit"), number_signature(), tmp_path / "model.onnx")


def test_a_file_exported_elsewhere_is_taken_as_it_stands(model, dataset, tmp_path):
    exported = export_onnx(model, dataset.signature, tmp_path / "model.onnx")
    again = Exported.of(exported.path)
    assert (again.files, again.size_bytes) == (exported.files, exported.size_bytes)
    assert 0 < again.graph_bytes <= exported.graph_bytes


def test_parity_fails_with_row_and_error_when_a_weight_differs(model, dataset, tmp_path):
    exported = export_onnx(model, dataset.signature, tmp_path / "model.onnx")
    other = tiny_model("deepfm", dataset, embedding_dim=7, width=32, seed=9)
    with pytest.raises(ExportError, match=r"model.onnx disagrees with torch: row \d+ scores .* at most 0.0001"):
        check_parity(other, dataset.signature, exported.path, dataset.splits["test"], target=Target())
    assert tolerance_of(model) == FLOAT_TOLERANCE


def test_parity_finds_scores_that_are_not_finite(dataset, tmp_path):
    model = tiny_model("deepfm", dataset)
    with torch.no_grad():
        model.mlp[0].weight[0, 0] = float("nan")
    exported = export_onnx(model, dataset.signature, tmp_path / "model.onnx")
    with pytest.raises(ExportError, match="both must be finite"):
        check_parity(model, dataset.signature, exported.path, dataset.splits["test"], target=Target())


def shifted(*, by: float, rows=slice(None)):
    """Runtimes whose sessions move a file's scores by a number, in the batches that a slice of their numbers names."""
    real, count = parity.RUNTIMES["onnxruntime"], iter(range(1000))
    chosen = range(1000)[rows]

    def opened(path, **options):
        session = real.open(path, **options)
        return SimpleNamespace(close=session.close,
                               answer=lambda batch: session.answer(batch) + np.float32(by * (next(count) in chosen)))

    return {"onnxruntime": SimpleNamespace(open=opened)}


@pytest.mark.parametrize(("steps", "kept", "broken"), [([], 8e-5, 1.3e-4), ([("quantize.dynamic", {})], 4e-3, 6e-3)])
def test_parity_allows_rounding_and_no_more(dataset, tmp_path, monkeypatch, steps, kept, broken):
    model = after(tiny_model("deepfm", dataset), dataset, steps)
    path, rows = export_onnx(model, dataset.signature, tmp_path / "model.onnx").path, dataset.splits["test"]
    monkeypatch.setattr(parity, "RUNTIMES", shifted(by=kept))
    assert check_parity(model, dataset.signature, path, rows, target=Target()).error == pytest.approx(kept, rel=0.3)
    monkeypatch.undo()
    monkeypatch.setattr(parity, "RUNTIMES", shifted(by=broken))
    with pytest.raises(ExportError, match="disagrees with torch"):
        check_parity(model, dataset.signature, path, rows, target=Target())


def test_the_parity_error_is_the_largest_of_all_batches_and_of_a_model_at_rest(dataset, tmp_path, monkeypatch):
    model = tiny_model("deepfm", dataset, dropout=0.5)
    path = export_onnx(model, dataset.signature, tmp_path / "model.onnx").path
    monkeypatch.setattr(parity, "BATCH_ROWS", 100)
    monkeypatch.setattr(parity, "RUNTIMES", shifted(by=5e-5, rows=slice(0, 1)))
    found = check_parity(model.train(), dataset.signature, path, dataset.splits["test"], target=Target())
    assert found.error == pytest.approx(5e-5, rel=0.1) and model.training
