"""ONNX files become modules of ordinary layers: the same scores, every method works, and they are written again."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from compression.data.encode import load_dataset
from compression.export.onnx import export_onnx
from compression.importers import describe_onnx
from compression.importers.reader import read_upload
from compression.models.files import load_model
from compression.models.snapshot import read_snapshot, write_snapshot
from compression.models.structure import leaves
from compression.runtimes.onnxruntime import open_session
from compression.spec.errors import ModelError
from compression.spec.method import Context
from compression.spec.recipe import parse_step
from compression.spec.records import Part, Step
from compression.testing.tiny import tiny_dataset, tiny_model, write_tiny_data
from tests.importers.graphs import Columns, SharedTable, export, files_of, of_a_stranger
from tests.measure.graphs import save_graph

ZOO = ("lr", "fm", "widedeep", "deepfm", "dcnv2", "dlrm")
LISTS_OF_THREE = {"inputs": {"genres": {"max_length": 3}}}


@pytest.fixture(scope="module")
def dataset():
    return tiny_dataset()


@pytest.fixture(scope="module")
def zoo(dataset, tmp_path_factory):
    """Every zoo model with spread-out weights, exported and imported: key → (model, export, description, loaded)."""
    made = {}
    for key in ZOO:
        folder = tmp_path_factory.mktemp(key)
        model = tiny_model(key, dataset)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
        exported = export_onnx(model, dataset.signature, folder / "exported" / "model.onnx")
        described = read_upload(files_of(of_a_stranger(exported.path)), folder / "imported", binding=LISTS_OF_THREE)
        made[key] = (model, exported, described, load_model(folder / "imported"))
    return made


def logits(module: nn.Module, rows) -> torch.Tensor:
    with torch.no_grad():
        return module({name: torch.from_numpy(values) for name, values in rows.inputs.items()})


@pytest.mark.slow
@pytest.mark.parametrize("key", ZOO)
def test_a_zoo_export_is_read_back_with_the_same_logits_and_leaves(zoo, dataset, key):
    model, exported, described, loaded = zoo[key]
    rows = dataset.splits["test"]
    torch.testing.assert_close(logits(loaded.module, rows), logits(model, rows), atol=1e-5, rtol=1e-5)
    ordinary = nn.Embedding | nn.Linear | nn.BatchNorm1d
    kinds = {path: type(leaf) for path, leaf in leaves(model) if isinstance(leaf, ordinary)}
    found = {path: type(leaf) for path, leaf in leaves(loaded.module)}
    assert kinds.items() <= found.items()
    assert loaded.module.table_inputs == model.table_inputs
    assert described.notes == () and described.size_bytes == pytest.approx(exported.size_bytes, abs=600)


@pytest.mark.slow
@pytest.mark.parametrize("key", ZOO)
def test_the_described_size_is_what_another_export_weighs(zoo, dataset, key, tmp_path):
    _, _, described, loaded = zoo[key]
    exported = export_onnx(loaded.module, loaded.signature, tmp_path / "model.onnx")
    assert exported.size_bytes == described.size_bytes
    rows = dataset.splits["test"]
    expected = torch.sigmoid(logits(loaded.module, rows)).numpy()
    np.testing.assert_allclose(open_session(exported.path).score(rows.inputs), expected, atol=1e-5)


STEPS = {
    "quantised rows": [Step(method="embed.quantize_rows", params={"n_bits": 8})],
    "pruned and factorised": [Step(method="prune.magnitude", params={"sparsity": 0.5}), Step(method="factorize.svd")],
    "dynamic int8": [Step(method="quantize.dynamic")],
    "rows dropped, rest in int8": [Step(method="embed.prune_rows"), Step(method="embed.quantize_rows")],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STEPS)
def test_methods_change_an_imported_model_and_it_is_exported_again(zoo, dataset, name, tmp_path):
    loaded = zoo["deepfm"][3]
    rows = dataset.splits["test"]
    before, model, changes = logits(loaded.module, rows), loaded.module, []
    frequencies = {path: dataset.frequencies(column) for path, column in model.table_inputs.items()}
    for index, step in enumerate(STEPS[name]):
        method, params = parse_step(step)
        context = Context(step=index, method=step.method, dataset=dataset, frequencies=frequencies,
                          signature=loaded.signature, teacher=loaded.module)
        applied = method(model, params, context)
        model, changes = applied.model, changes + applied.changes
    assert changes
    exported = export_onnx(model, loaded.signature, tmp_path / "model.onnx")
    expected = torch.sigmoid(logits(model, rows)).numpy()
    np.testing.assert_allclose(open_session(exported.path).score(rows.inputs), expected, atol=2e-2)
    torch.testing.assert_close(logits(loaded.module, rows), before)


def test_an_imported_model_can_be_trained(zoo, dataset):
    import copy

    from compression.train.loop import train
    from compression.train.params import TrainParams

    module = copy.deepcopy(zoo["deepfm"][3].module)
    before = {name: tensor.clone() for name, tensor in module.named_parameters()}
    train(module, dataset, TrainParams(epochs=1, batch_size=256), seed=0, report=lambda progress: None)
    assert all(not torch.equal(tensor, before[name]) for name, tensor in module.named_parameters() if tensor.dim() == 2)


@pytest.mark.slow
@pytest.mark.parametrize("step", ["embed.quantize_rows", "quantize.dynamic", "quantize.static"])
def test_a_quantised_export_is_kept_to_be_measured_as_it_is(zoo, dataset, step, tmp_path):
    loaded = zoo["deepfm"][3]
    method, params = parse_step(Step(method=step))
    model = method(loaded.module, params, Context(method=step, dataset=dataset)).model
    exported = export_onnx(model, loaded.signature, tmp_path / "small" / "model.onnx")
    described = read_upload(files_of(of_a_stranger(exported.path)), tmp_path / "imported", binding=LISTS_OF_THREE)
    kept = load_model(tmp_path / "imported")
    assert kept.module is None and kept.onnx_path == tmp_path / "imported" / "model.onnx"
    assert "integer codes" in described.notes[0] or described.notes[0].startswith("Operator ")
    assert "measured as it is" in described.notes[0]
    assert described.size_bytes == sum(file.stat().st_size for file in (tmp_path / "imported").glob("model.onnx*"))
    assert describe_onnx(kept) == described
    assert described.size_bytes == pytest.approx(exported.size_bytes, abs=64)
    rows = dataset.splits["test"]
    np.testing.assert_array_equal(open_session(kept.onnx_path).score(rows.inputs),
                                  open_session(exported.path).score(rows.inputs))


@pytest.mark.slow
@pytest.mark.parametrize("dynamo", [True, False])
def test_a_shared_table_behind_a_wide_input_is_bound_by_the_data(tmp_path, dynamo):
    data = write_tiny_data(tmp_path / "data")
    model = SharedTable(sizes=(31, 41)).eval()
    path = export(model, {"ids": torch.ones(5, 2, dtype=torch.int64)}, tmp_path / "up" / "m.onnx", dynamo=dynamo)
    vocabulary = tmp_path / "up" / "vocabularies.json"
    vocabulary.write_text('{"user": ["u1", "u2"], "item": ["i0"]}')
    described = read_upload(files_of(path), tmp_path / "imported", data_folder=data)
    loaded = load_model(tmp_path / "imported")
    (wide,) = loaded.signature.inputs
    assert loaded.module.table_inputs == {"emb": "ids+", "linear": "ids+"}
    assert [(part.cardinality, part.shift) for part in wide.parts] == [(31, 0), (41, 31)]
    assert [part.column for part in wide.parts] == ["user", "item"] and described.notes == ()
    dataset = load_dataset(data, signature=loaded.signature, vocabularies=loaded.vocabularies)
    rows, counts = dataset.splits["test"], dataset.frequencies("ids+")
    assert counts.shape == (72,) and counts[:31].sum() == counts[31:].sum() == len(dataset.splits["train"])
    assert rows.inputs["ids"].shape == (len(rows), 2) and set(rows.inputs["ids"][:, 1]) == {0, 1}
    with torch.no_grad():
        expected = model(torch.from_numpy(rows.inputs["ids"]))
    torch.testing.assert_close(torch.sigmoid(logits(loaded.module, rows)), expected, atol=1e-5, rtol=1e-5)
    exported = export_onnx(loaded.module, loaded.signature, tmp_path / "again" / "model.onnx")
    np.testing.assert_allclose(open_session(exported.path).score(rows.inputs), expected.numpy(), atol=1e-5)
    assert onnx.load(exported.path).graph.input[0].type.tensor_type.shape.dim[1].dim_value == 2


@pytest.mark.parametrize("opset", [7, 8, 9, 10])
def test_opsets_of_long_ago_are_read(tmp_path, opset):
    class Old(nn.Module):
        """Operators whose settings were attributes once: slices, bounds, paddings."""

        def __init__(self):
            super().__init__()
            self.tables = nn.ModuleList([nn.Embedding(31, 4), nn.Embedding(41, 4)])
            self.hidden, self.out = nn.Linear(6, 3), nn.Linear(3, 1)

        def forward(self, cat, x):
            parts = [table(cat[:, place])[:, 1:3] for place, table in enumerate(self.tables)]
            hidden = self.hidden(torch.cat([*parts, x.clamp(-1, 1)], 1))
            return self.out(nn.functional.pad(hidden.clamp(min=0), (1, 0))[:, :3]).squeeze(-1)

    model, given = Old(), {"cat": torch.randint(0, 31, (5, 2)), "x": torch.randn(5, 2)}
    path = export(model, given, tmp_path / "up" / "m.onnx", dynamo=False, opset=opset)
    binding = {"inputs": {"cat": {"columns": ["user", "item"]}, "x": {"columns": ["age", "age"]}}}
    described = read_upload(files_of(path), tmp_path / "imported", binding=binding)
    assert described.notes == ()
    with torch.no_grad():
        assert torch.allclose(load_model(tmp_path / "imported").module(given), model(*given.values()), atol=1e-5)


@pytest.mark.slow
def test_offsets_of_a_binding_shift_each_column_into_the_shared_table(tmp_path):
    data = write_tiny_data(tmp_path / "data")
    path = export(SharedTable(sizes=(31, 41), offsets=False), {"ids": torch.ones(5, 2, dtype=torch.int64)},
                  tmp_path / "up" / "m.onnx")
    (tmp_path / "up" / "vocabularies.json").write_text('{"user": ["u1"], "item": ["i0"]}')
    read_upload(files_of(path), tmp_path / "imported", data_folder=data,
                binding={"inputs": {"ids": {"columns": ["user", "item"], "offsets": [0, 31]}}})
    loaded = load_model(tmp_path / "imported")
    ids = load_dataset(data, signature=loaded.signature, vocabularies=loaded.vocabularies).splits["train"].inputs["ids"]
    assert set(ids[:, 0]) == {0, 1} and set(ids[:, 1]) == {31, 32}


@pytest.mark.slow
def test_each_table_behind_a_wide_input_knows_its_column(tmp_path):
    data = write_tiny_data(tmp_path / "data")
    model = Columns(n_numbers=1)
    path = export(model, {"cat": torch.ones(5, 2, dtype=torch.int64), "dense": torch.rand(5, 1)},
                  tmp_path / "up" / "m.onnx", output="logit")
    (tmp_path / "up" / "vocabularies.json").write_text('{"user": ["u1"], "item": ["i0", "i1"]}')
    described = read_upload(files_of(path), tmp_path / "imported", data_folder=data)
    loaded = load_model(tmp_path / "imported")
    assert loaded.module.table_inputs == {"tables.0": "cat[0]", "tables.1": "cat[1]"}
    assert loaded.signature.input("cat[1]").cardinality == 41
    dataset = load_dataset(data, signature=loaded.signature, vocabularies=loaded.vocabularies)
    counts = dataset.frequencies("cat[1]")
    assert len(counts) == 41 and counts.sum() == len(dataset.splits["train"]) and counts[1] > counts[2] > 0
    rows = dataset.splits["test"]
    with torch.no_grad():
        expected = model(torch.from_numpy(rows.inputs["cat"]), torch.from_numpy(rows.inputs["dense"])).squeeze(-1)
    torch.testing.assert_close(logits(loaded.module, rows), expected, atol=1e-5, rtol=1e-5)
    layers = {layer.name: layer for layer in described.layers}
    assert layers["norm"].kind == "LayerNorm" and layers["top"].part is Part.OUTPUT


def test_a_tied_table_stays_one_parameter(tmp_path):
    node = onnx.helper.make_node
    nodes = [node("Gather", ["user.table", "user"], ["u"]), node("Transpose", ["item.table"], ["t"], perm=[1, 0]),
             node("MatMul", ["u", "t"], ["every"]), node("Unsqueeze", ["item", "one"], ["place"]),
             node("GatherElements", ["every", "place"], ["its"], axis=1), node("Squeeze", ["its", "one"], ["dot"]),
             node("Gather", ["item.table", "item"], ["i"]), node("ReduceSum", ["i", "one"], ["sum"], keepdims=0),
             node("Add", ["dot", "sum"], ["score"])]
    generator = np.random.default_rng(0)
    user, item = (generator.normal(size=(n, 4)).astype(np.float32) for n in (31, 41))
    kinds = (onnx.TensorProto.INT64, ["batch"])
    path = save_graph(tmp_path / "m.onnx", nodes, {"user": kinds, "item": kinds},
                      {"user.table": user, "item.table": item, "one": np.array([1])}, shape=["batch"])
    read_upload({"m.onnx": path}, tmp_path / "imported")
    module = load_model(tmp_path / "imported").module
    assert module.table_inputs == {"user.table": "user"}
    assert dict(module.named_parameters())["item.table"].shape == (41, 4)
    users, items = np.arange(9), np.arange(3, 12)
    with torch.no_grad():
        ours = module({"user": torch.from_numpy(users), "item": torch.from_numpy(items)}).numpy()
    np.testing.assert_allclose(ours, (user[users] * item[items]).sum(1) + item[items].sum(1), atol=1e-5)


def test_without_data_narrow_inputs_are_bound_by_name_and_wide_ones_are_asked_for(tmp_path):
    path = export(Columns(), {"cat": torch.ones(5, 2, dtype=torch.int64), "dense": torch.rand(5, 2)},
                  tmp_path / "up" / "m.onnx")
    with pytest.raises(ModelError, match=r"which columns the model's inputs are: 'cat' \(batch, 2\) int64; 'dense' "
                                         r"\(batch, 2\) float32. Choose the dataset to bind to, or give a binding"):
        read_upload(files_of(path), tmp_path / "imported")


@pytest.mark.parametrize(("binding", "sentence"), [
    ({"inputs": {"nope": {"column": "user"}}}, r"names an input 'nope' that the model doesn't have; it has: 'cat'"),
    ({"inputs": {"cat": {"columns": ["user"]}}}, r"needs 2 column\(s\), but the binding gives 1: user"),
    ({"inputs": {"cat": {"columns": ["user", "gone"]}}}, r"bound to the column 'gone', which the data does not have"),
    ({"inputs": {"cat": {"colums": ["user", "item"]}}}, r"has 'colums'; allowed are cardinality, column, columns"),
    ({"inputs": {"cat": {"columns": ["user", "item"], "offsets": [1]}}}, r"needs 2 offsets, one a column; .* gives 1"),
    ({"output_form": "rank"}, r"output_form of a binding is probability or logit; got 'rank'"),
    ({"output_form": "probability"}, r"gave scores outside \[0, 1\], but its output was said to be a probability"),
    ({"shape": 1}, r"A binding has inputs .* got shape"),
])
@pytest.mark.slow
def test_a_binding_that_does_not_fit_is_a_sentence(tmp_path, binding, sentence):
    data = write_tiny_data(tmp_path / "data")
    model = Columns(n_numbers=1)
    with torch.no_grad():
        model.top.bias.fill_(7.0)
    path = export(model, {"cat": torch.ones(5, 2, dtype=torch.int64), "dense": torch.rand(5, 1)},
                  tmp_path / "up" / "m.onnx")
    with pytest.raises(ModelError, match=sentence):
        read_upload(files_of(path), tmp_path / "imported", data_folder=data, binding=binding)


@pytest.mark.parametrize("key", ("deepfm", "dlrm"))
def test_an_imported_model_can_be_kept_between_two_runs(zoo, dataset, tmp_path, key):
    loaded = zoo[key][3]
    assert write_snapshot(tmp_path / "model", loaded.module, {})
    found, _ = read_snapshot(tmp_path / "model")
    rows = dataset.splits["test"]
    assert torch.equal(logits(found, rows), logits(loaded.module, rows))
