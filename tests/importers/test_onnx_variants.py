"""ONNX files as strangers' exporters write them: the same scores as the runtime gives, and layers to compress."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from compression.data.dataset import Dataset, Rows
from compression.importers.reader import look_at, read_upload
from compression.models.files import load_model
from compression.running.run import apply_recipe, table_frequencies
from compression.runtimes.onnxruntime import open_session
from compression.spec.data_description import DataDescription, Label
from compression.spec.errors import ModelError
from compression.spec.records import Recipe, Step
from compression.testing.tiny import tiny_dataset

USERS, ITEMS = 30, 40
IDS, NUMBERS = TensorProto.INT64, TensorProto.FLOAT
node = helper.make_node


def value(name, axes=("b",), kind=IDS):
    return helper.make_tensor_value_info(name, kind, axes)


def stored(name, numbers, dtype=np.int64):
    return numpy_helper.from_array(np.array(numbers, dtype), name)


def weights(dtype=np.float32, **shapes):
    generator = np.random.default_rng(0)
    shapes = {"U": (USERS, 4), "V": (ITEMS, 4), "W1": (8, 8), "b1": (8,), "W2": (8, 1), "b2": (1,)} | shapes
    return [stored(name, generator.standard_normal(shape) * 0.3, dtype) for name, shape in shapes.items()]


LOOKUPS = [node("Gather", ["U", "user"], ["ue"]), node("Gather", ["V", "item"], ["ve"])]
JOIN = [node("Concat", ["ue", "ve"], ["x"], axis=-1)]
MLP = [node("Gemm", ["x", "W1", "b1"], ["h0"]), node("Relu", ["h0"], ["h1"]), node("Gemm", ["h1", "W2", "b2"], ["h2"])]
TOWER = [*LOOKUPS, *JOIN, *MLP, node("Sigmoid", ["h2"], ["score"])]
USER_ITEM = (value("user"), value("item"))
SCORE = (value("score", ("b", 1), NUMBERS),)


def save(folder, nodes=TOWER, inputs=USER_ITEM, outputs=SCORE, tensors=None, *, domains=()):
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights() if tensors is None else tensors)
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(name, 2) for name in domains)]
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = 8
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "m.onnx")
    return folder / "m.onnx"


def imported(path, **binding):
    """The loaded model, and scores of 12 rows: by our module, by the exported file."""
    described = read_upload({path.name: path}, path.parent / "imported", binding=binding)
    return described, load_model(path.parent / "imported")


def rows_of(**given):
    generator = np.random.default_rng(1)
    return {"user": generator.integers(0, USERS, 12), "item": generator.integers(0, ITEMS, 12)} | given


def scores_of(loaded, rows):
    with torch.no_grad():
        ours = torch.sigmoid(loaded.module({name: torch.from_numpy(array) for name, array in rows.items()})).numpy()
    np.testing.assert_allclose(open_session(loaded.onnx_path).score(rows), ours, atol=5e-3)
    return ours


def scores_of_file(path, rows, *, batch=12, output=0):
    session = onnxruntime.InferenceSession(str(path))
    return np.concatenate([session.run(None, {name: array[start:start + batch] for name, array in rows.items()})[output]
                           for start in range(0, 12, batch)]).reshape(12, -1)


def wrapped(name, ids, rows):
    """As tf2onnx writes Keras 3's `take`: a negative place counts from the end of the table."""
    return [node("Less", [ids, "zero"], [f"{name}_below"]), node("Add", [ids, rows], [f"{name}_plus"]),
            node("Where", [f"{name}_below", f"{name}_plus", ids], [name])]


WRAPPED = ([*wrapped("user", "user_id", "n_users"), *wrapped("item", "item_id", "n_items"), *TOWER],
           [stored("zero", 0), stored("n_users", USERS), stored("n_items", ITEMS)], ("user_id", "item_id"))
ONE_HOT = ([node("OneHot", ["user", "n_users", "off_on"], ["one"], axis=-1), node("MatMul", ["one", "U"], ["ue"]),
            *TOWER[1:]], [stored("n_users", USERS), stored("off_on", [0, 1], np.float32)], ("user", "item"))


@pytest.mark.parametrize(("nodes", "tensors", "names"), [WRAPPED, ONE_HOT])
def test_a_lookup_written_in_another_way_is_a_table_of_its_input(nodes, tensors, names, tmp_path):
    inputs = [value(name) for name in names]
    path = save(tmp_path, nodes, inputs, tensors=[*weights(), *tensors])
    described, loaded = imported(path)
    rows = dict(zip(names, rows_of().values(), strict=True))
    np.testing.assert_allclose(scores_of(loaded, rows), scores_of_file(path, rows)[:, 0], atol=1e-5)
    assert [one.cardinality for one in loaded.signature.inputs] == [USERS, ITEMS]
    assert {layer.name: layer.field for layer in described.layers if layer.kind == "Embedding"} == {
        "U": names[0], "V": names[1]}


def test_a_table_behind_dequantize_says_how_many_rows_it_has(tmp_path):
    nodes = [node("DequantizeLinear", ["codes", "scale", "zero_point"], ["U"]), *TOWER]
    codes = [stored("codes", np.arange(USERS * 4).reshape(USERS, 4) % 100, np.uint8), stored("scale", 0.01, np.float32),
             stored("zero_point", 50, np.uint8)]
    path = save(tmp_path, nodes, tensors=[*weights()[1:], *codes])
    described, loaded = imported(path)
    assert loaded.signature.input("user").cardinality == USERS
    assert "DequantizeLinear" in described.notes[0] and "measured as it is" in described.notes[0]
    np.testing.assert_allclose(open_session(loaded.onnx_path).score(rows_of()), scores_of_file(path, rows_of())[:, 0],
                               atol=1e-6)


@pytest.mark.parametrize(("dtype", "kind"), [(np.float16, TensorProto.FLOAT16), (np.float64, TensorProto.DOUBLE)])
def test_floats_of_another_width_become_layers(dtype, kind, tmp_path):
    path = save(tmp_path, outputs=[value("score", ("b", 1), kind)], tensors=weights(dtype))
    described, loaded = imported(path)
    np.testing.assert_allclose(scores_of(loaded, rows_of()), scores_of_file(path, rows_of())[:, 0], atol=2e-3)
    assert [layer.kind for layer in described.layers] == ["Embedding", "Embedding", "Linear", "Linear"]
    assert {tensor.dtype for layer in described.layers for tensor in layer.tensors} == {"float32"}


def test_bool_and_double_inputs_are_bound_as_ids_and_numbers(tmp_path):
    nodes = [*LOOKUPS, node("Cast", ["flag"], ["flag_f"], to=NUMBERS), node("Unsqueeze", ["flag_f", "one"], ["f"]),
             node("Cast", ["age"], ["age_f"], to=NUMBERS), node("Unsqueeze", ["age_f", "one"], ["a"]),
             node("Concat", ["ue", "ve", "f", "a"], ["x"], axis=-1), *TOWER[3:]]
    inputs = [*USER_ITEM, value("flag", kind=TensorProto.BOOL), value("age", kind=TensorProto.DOUBLE)]
    path = save(tmp_path, nodes, inputs, tensors=[*weights(W1=(10, 8)), stored("one", [1])])
    _, loaded = imported(path)
    assert [(one.kind, one.dtype, one.cardinality) for one in loaded.signature.inputs[2:]] == [
        ("category", "int64", 2), ("number", "float32", None)]
    flag, age = np.arange(12) % 2, np.linspace(-1, 1, 12, dtype=np.float32)
    expected = scores_of_file(path, rows_of(flag=flag.astype(bool), age=age.astype(np.float64)))[:, 0]
    np.testing.assert_allclose(scores_of(loaded, rows_of(flag=flag, age=age)), expected, atol=1e-5)
    assert np.ptp(expected) > 0.01


RESHAPED = [*LOOKUPS, node("Concat", ["ue", "ve"], ["joined"], axis=-1), node("Reshape", ["joined", "to"], ["x"]), *MLP,
            node("Reshape", ["h2", "flat"], ["logit"]), node("Sigmoid", ["logit"], ["score"])]
FLATTENED = [*LOOKUPS, node("Concat", ["ue", "ve"], ["joined"], axis=-1), node("Flatten", ["joined"], ["x"], axis=0),
             *TOWER[3:]]


@pytest.mark.parametrize(("nodes", "batch"), [(TOWER, 1), (TOWER, 4), (RESHAPED, 1), (RESHAPED, 4), (FLATTENED, 1)])
def test_a_fixed_batch_becomes_free_where_the_graph_can(nodes, batch, tmp_path):
    out = (batch,) if nodes is RESHAPED else (batch, 1)
    path = save(tmp_path, nodes, [value("user", (batch,)), value("item", (batch,))], [value("score", out, NUMBERS)],
                [*weights(), stored("to", [batch, 8]), stored("flat", [batch])])
    _, loaded = imported(path)
    expected = scores_of_file(path, rows_of(), batch=batch)[:, 0]
    np.testing.assert_allclose(scores_of(loaded, rows_of()), expected, atol=1e-5)


def test_a_fixed_batch_that_the_graph_mixes_is_refused(tmp_path):
    nodes = [*TOWER[:-1], node("ReduceMax", ["h2"], ["top"], axes=[0], keepdims=1), node("Sub", ["h2", "top"], ["d"]),
             node("Sigmoid", ["d"], ["score"])]
    path = save(tmp_path, nodes, [value("user", (4,)), value("item", (4,))], [value("score", (4, 1), NUMBERS)])
    with pytest.raises(ModelError, match="fixed batch of 4, and its graph computes something else with another one"):
        imported(path)


SECOND = [node("Gather", ["rows", "first"], ["user"], axis=1), node("Gather", ["rows", "second"], ["item"], axis=1),
          *TOWER]
TURNED = [node("Transpose", ["ids"], ["rows"], perm=[1, 0]), *SECOND]
AS_IT_IS = [node("Gather", ["ids", "first"], ["user"], axis=0), node("Gather", ["ids", "second"], ["item"], axis=0),
            *TOWER]


@pytest.mark.parametrize("nodes", [TURNED, AS_IT_IS])
def test_an_input_whose_batch_is_second_is_turned(nodes, tmp_path):
    tensors = [*weights(), stored("first", 0), stored("second", 1)]
    path = save(tmp_path, nodes, [value("ids", (2, "b"))], tensors=tensors)
    look = look_at({"m.onnx": path}, tmp_path / "out")
    assert look.inputs[0].width == 2
    _, loaded = imported(path, inputs={"ids": {"columns": ["user", "item"], "ids": "as-is"}})
    rows = np.stack(list(rows_of().values()), 1)
    expected = scores_of_file(path, {"ids": rows.T.copy()})[:, 0]
    np.testing.assert_allclose(scores_of(loaded, {"ids": rows}), expected, atol=1e-5)
    assert np.ptp(expected) > 0.01


def test_a_list_whose_batch_is_second_is_turned_where_nothing_in_the_graph_does_it(tmp_path):
    nodes = [node("Gather", ["V", "past"], ["each"]), node("ReduceMean", ["each"], ["ue"], axes=[0], keepdims=0),
             *TOWER[1:]]
    path = save(tmp_path, nodes, [value("past", ("l", "b")), value("item")])
    _, loaded = imported(path, inputs={"past": {"column": "history", "kind": "multi", "ids": "as-is"},
                                       "item": {"column": "item", "ids": "as-is"}})
    rows = {"past": np.random.default_rng(2).integers(0, ITEMS, (12, 5)), "item": rows_of()["item"]}
    session = onnxruntime.InferenceSession(str(path))
    expected = session.run(None, rows | {"past": rows["past"].T.copy()})[0][:, 0]
    np.testing.assert_allclose(scores_of(loaded, rows), expected, atol=1e-5)


def test_a_batch_that_may_be_second_is_told_so(tmp_path):
    tensors = [*weights(), stored("first", 0), stored("second", 1)]
    path = save(tmp_path, TURNED, [value("ids", (2, "n"))], tensors=tensors)
    with pytest.raises(ModelError, match=r"first axis of 2 and a free second one\. .* transpose it inside the model"):
        look_at({"m.onnx": path}, tmp_path / "out")


def test_an_input_without_a_shape_is_told_so(tmp_path):
    path = save(tmp_path, inputs=[value("user", None), value("item")])
    with pytest.raises(ModelError, match=r"'user' of m\.onnx declares no shape"):
        look_at({"m.onnx": path}, tmp_path / "out")


@pytest.mark.parametrize(("operator", "words"), [
    ("TreeEnsembleRegressor", "is a tree ensemble"), ("TreeEnsembleClassifier", "is a tree ensemble"),
    ("TreeEnsemble", "is a tree ensemble"), ("LinearClassifier", "is a linear model"),
    ("SVMRegressor", "support vector"), ("LabelEncoder", "upload that list as vocabularies.json"),
    ("ZipMap", "Export the network alone")])
def test_an_operator_of_machine_learning_is_named_as_what_it_is(operator, words, tmp_path):
    path = save(tmp_path, [node(operator, ["user"], ["score"], domain="ai.onnx.ml")], domains=["ai.onnx.ml"])
    with pytest.raises(ModelError, match=words):
        look_at({"m.onnx": path}, tmp_path / "out")


def two_heads(kind, last, outputs):
    """Sigmoid heads of their own, or one head of two columns."""
    nodes = [*TOWER[:-2], node("Gemm", ["h1", "W3", "b3"], ["logits"])]
    nodes += [node("Softmax", ["logits"], [last], axis=-1)] if kind == "softmax" else []
    return nodes, outputs, [*weights(W3=(8, 2)), stored("b3", [0.1, -0.2], np.float32)]


SOFTMAX = two_heads("softmax", "probabilities", [value("probabilities", ("b", 2), NUMBERS)])
LOGITS = two_heads("logits", "", [value("logits", ("b", 2), NUMBERS)])
HEADS = ([*TOWER[:-1], node("Sigmoid", ["h2"], ["ctr"]), node("Gemm", ["h1", "W3", "b2"], ["h3"]),
          node("Sigmoid", ["h3"], ["cvr"])], [value("ctr", ("b", 1), NUMBERS), value("cvr", ("b", 1), NUMBERS)],
         weights(W3=(8, 1)))


@pytest.mark.parametrize(("graph", "choices", "proposed"), [
    (SOFTMAX, ("probabilities[0]", "probabilities[1]"), "probabilities[1]"),
    (LOGITS, ("logits[0]", "logits[1]", "logits[1]-[0]"), ""), (HEADS, ("ctr", "cvr"), ""),
    ((TOWER, SCORE, weights()), (), "score")])
def test_an_upload_says_what_may_be_the_score(graph, choices, proposed, tmp_path):
    nodes, outputs, tensors = graph
    look = look_at({"m.onnx": save(tmp_path, nodes, outputs=outputs, tensors=tensors)}, tmp_path / "out")
    assert (look.scores, look.score) == (choices, proposed)
    assert type(look).from_plain(look.plain()) == look


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


@pytest.mark.parametrize(("graph", "choice", "expected"), [
    (SOFTMAX, None, lambda out: out[0][:, 1]), (SOFTMAX, "probabilities[0]", lambda out: out[0][:, 0]),
    (LOGITS, "logits[0]", lambda out: sigmoid(out[0][:, 0])),
    (LOGITS, "logits[1]-[0]", lambda out: sigmoid(out[0][:, 1] - out[0][:, 0])),
    (HEADS, "cvr", lambda out: out[1][:, 0]), (HEADS, "ctr", lambda out: out[0][:, 0])])
def test_the_chosen_score_is_the_one_that_is_kept(graph, choice, expected, tmp_path):
    nodes, outputs, tensors = graph
    path = save(tmp_path, nodes, outputs=outputs, tensors=tensors)
    _, loaded = imported(path, **({"output": choice} if choice else {}))
    out = [scores_of_file(path, rows_of(), output=place) for place in range(len(outputs))]
    np.testing.assert_allclose(scores_of(loaded, rows_of()), expected(out), atol=1e-5)


@pytest.mark.parametrize(("graph", "choice", "words"), [
    (HEADS, None, r"may be the score: ctr, cvr\. Choose one"), (LOGITS, None, r"logits\[1\]-\[0\]\. Choose one"),
    (HEADS, "other", r"names the output 'other'; the score may be: ctr, cvr"),
    (LOGITS, "logits", r"names the output 'logits'; the score may be: logits\[0\]")])
def test_a_score_that_is_not_chosen_is_asked_for(graph, choice, words, tmp_path):
    nodes, outputs, tensors = graph
    path = save(tmp_path, nodes, outputs=outputs, tensors=tensors)
    with pytest.raises(ModelError, match=words):
        imported(path, **({"output": choice} if choice else {}))


def pooled(what):
    """The mean of a history beside the item, both of one table."""
    by = {"mask": [node("Cast", ["mask"], ["m"], to=NUMBERS), node("Unsqueeze", ["m", "two"], ["m3"]),
                   node("Mul", ["he", "m3"], ["hm"]), node("ReduceSum", ["hm", "one"], ["ue"], keepdims=0)],
          "padding": [node("Not", ["padding"], ["kept"]), node("Cast", ["kept"], ["m"], to=NUMBERS),
                      node("Unsqueeze", ["m", "two"], ["m3"]), node("Mul", ["he", "m3"], ["hm"]),
                      node("ReduceSum", ["hm", "one"], ["ue"], keepdims=0)],
          "length": [node("ReduceSum", ["he", "one"], ["hs"], keepdims=0), node("Cast", ["length"], ["n"], to=NUMBERS),
                     node("Unsqueeze", ["n", "one"], ["n2"]), node("Div", ["hs", "n2"], ["ue"])],
          "": [node("ReduceMean", ["he"], ["ue"], axes=[1], keepdims=0)]}
    kinds = {"mask": (("b", 10), NUMBERS), "padding": (("b", 10), TensorProto.BOOL), "length": (("b",), IDS)}
    inputs = [value("history", ("b", 10)), value("item"), *([value(what, *kinds[what])] if what else [])]
    return ([node("Gather", ["V", "history"], ["he"]), *by[what], *TOWER[1:]], inputs,
            [*weights()[1:], stored("one", [1]), stored("two", [2])])


@pytest.mark.parametrize("what", ["mask", "padding", "length"])
def test_masks_and_lengths_are_computed_from_the_list(what, tmp_path):
    nodes, inputs, tensors = pooled(what)
    path = save(tmp_path, nodes, inputs, tensors=tensors)
    _, loaded = imported(path, inputs={"history": {"column": "h", "kind": "multi"}, "item": {"column": "item"},
                                       what: {"column": "h", "reads": what}})
    assert [one.name for one in loaded.signature.inputs] == ["history", "item"]
    history = np.where(np.arange(10) < np.arange(12)[:, None] % 10 + 1, rows_of()["item"][:, None] + 0, 0)
    history[history == 0] = 0
    item = rows_of()["item"]
    given = {"mask": (history != 0).astype(np.float32), "padding": history == 0,
             "length": np.maximum((history != 0).sum(1), 1)}[what]
    some = (history != 0).any(1)  # the length of an empty list would divide by 0
    expected = scores_of_file(path, {"history": history, "item": item, what: given})[:, 0]
    ours = scores_of(loaded, {"history": history[some], "item": item[some]})
    np.testing.assert_allclose(ours, expected[some], atol=1e-5)


def test_a_mask_of_a_column_that_no_list_reads_is_refused(tmp_path):
    nodes, inputs, tensors = pooled("mask")
    path = save(tmp_path, nodes, inputs, tensors=tensors)
    with pytest.raises(ModelError, match=r"Input 'mask' reads 'mask' of item; it may be mask, padding, length of a"):
        imported(path, inputs={"history": {"column": "h", "kind": "multi"},
                               "mask": {"column": "item", "reads": "mask"}})


def test_rows_of_a_table_count_for_every_input_that_reads_it(tmp_path):
    nodes, inputs, tensors = pooled("")
    path = save(tmp_path, nodes, inputs, tensors=tensors)
    _, loaded = imported(path, inputs={"history": {"column": "h", "kind": "multi"}, "item": {"column": "item"}})
    assert loaded.module.shared_inputs == {"V": ("history", "item")}
    history = np.array([[1, 2, 0], [2, 2, 3]])
    rows = Rows({"history": history, "item": np.array([3, 0])}, np.zeros(2, np.float32), None)
    described = DataDescription(name="d", files={"all": "x.csv"}, label=Label(column="y"), columns=())
    dataset = Dataset(described, loaded.signature, {}, {"train": rows})
    assert table_frequencies(loaded.module, dataset)["V"][:5].tolist() == [1, 1, 3, 2, 0]


TIED = [node("Gather", ["V", "item"], ["ve"]), node("Transpose", ["V"], ["VT"], perm=[1, 0]),
        node("MatMul", ["ve", "VT"], ["all"]), node("ReduceSum", ["all", "one"], ["s"], keepdims=0),
        node("Sigmoid", ["s"], ["score"])]


def test_a_tied_head_is_skipped_by_name(tmp_path):
    path = save(tmp_path, TIED, [value("item")], [value("score", ("b",), NUMBERS)], [*weights(), stored("one", [1])])
    _, loaded = imported(path)
    np.testing.assert_allclose(scores_of(loaded, {"item": rows_of()["item"]}),
                               scores_of_file(path, {"item": rows_of()["item"]})[:, 0], atol=1e-5)
    outcome = apply_recipe(loaded, Recipe(name="r", steps=(Step(method="embed.quantize_rows"),)), tiny_dataset(),
                           folder=tmp_path, report=lambda progress: None)
    assert [(skip.module, skip.method) for skip in outcome.skipped] == [("V", "embed.quantize_rows")]
    assert "transposed matrix of the head" in outcome.skipped[0].reason


def test_the_label_of_a_classifier_is_left_out(tmp_path):
    nodes = [*TOWER[:-1], node("Sigmoid", ["h2"], ["p"]), node("Sub", ["unit", "p"], ["q"]),
             node("Concat", ["q", "p"], ["both"], axis=1), node("ArgMax", ["both"], ["place"], axis=1, keepdims=0),
             node("ArrayFeatureExtractor", ["classes", "place"], ["label"], domain="ai.onnx.ml"),
             node("ZipMap", ["both"], ["mapping"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])]
    path = save(tmp_path, nodes, outputs=[value("label"), value("mapping", ("b", 2), IDS)],
                tensors=[*weights(), stored("unit", [1.0], np.float32), stored("classes", [0, 1])],
                domains=["ai.onnx.ml"])
    _, loaded = imported(path)
    logits = save(tmp_path / "plain")
    np.testing.assert_allclose(scores_of(loaded, rows_of()), scores_of_file(logits, rows_of())[:, 0], atol=1e-5)
