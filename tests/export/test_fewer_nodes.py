"""What fields do alike is done once: the same scores from fewer nodes, and every weight under its own name."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnx_ir
import onnxruntime
import pytest

from compression.export import onnx as export
from compression.export.fewer_nodes import fewer_nodes
from compression.models import zoo
from compression.runtimes.options import session_options
from compression.spec.method import METHODS, Context
from compression.spec.signature import Input, Signature
from compression.testing.tiny import TINY_CONFIG

ROWS = "embed.quantize_rows"
CARDINALITIES = (30, 40, 7, 90, 20, 60)
N_NUMBERS = 4


def wide_signature() -> Signature:
    """Numbers between categories, and a list of ids, which nothing may be merged with."""
    inputs = [Input(name=f"c{place}", column=f"c{place}", kind="category", cardinality=rows)
              for place, rows in enumerate(CARDINALITIES)]
    numbers = [Input(name=f"n{place}", column=f"n{place}", kind="number", dtype="float32")
               for place in range(N_NUMBERS)]
    many = Input(name="many", column="many", kind="multi", cardinality=9, max_length=5)
    return Signature(inputs=(inputs[0], *numbers, *inputs[1:], many))


def some_rows(signature: Signature, n_rows: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(n_rows)
    return {item.name: random.normal(size=n_rows).astype(np.float32) if item.kind == "number" else
            random.integers(0, item.cardinality, (n_rows, 5) if item.kind == "multi" else n_rows)
            for item in signature.inputs}


def exported(model, signature, path) -> onnx.GraphProto:
    export.export_onnx(model, signature, path)
    return onnx.load(path).graph


def scores_of(file: onnx.ModelProto | str, signature: Signature) -> list[np.ndarray]:
    given = file if isinstance(file, str) else file.SerializeToString()
    session = onnxruntime.InferenceSession(given, session_options(), providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]  # as traced they are input_0, input_1 …, in this order
    given = [dict(zip(names, some_rows(signature, size).values(), strict=True)) for size in (1, 50)]
    return [session.run(None, rows)[0] for rows in given]


def changed(model, *steps):
    for place, (key, params) in enumerate(steps):
        method = METHODS[key]
        model = method(model, method.parse(params), Context(step=place, method=key)).model
    return model


CASES = {
    "deepfm": ("deepfm", {}, ()),
    "dlrm": ("dlrm", {}, ()),
    "8 bits": ("fm", {}, ((ROWS, {"n_bits": 8, "min_rows": 8}),)),
    "2 bits": ("fm", {}, ((ROWS, {"n_bits": 2, "min_rows": 8}),)),
    "a scale a table": ("fm", {}, ((ROWS, {"n_bits": 8, "granularity": "field", "min_rows": 8}),)),
    "columns left over": ("fm", {"embedding_dim": 5}, ((ROWS, {"n_bits": 4, "min_rows": 1}),)),
    "hashed": ("widedeep", {}, (("embed.hash", {"keep": 0.5, "min_rows": 8}),)),
    "dynamic": ("dcnv2", {}, (("quantize.dynamic", {"min_features": 1}),)),
}


@pytest.mark.parametrize("case", CASES)
def test_scores_stay_and_no_node_is_added(case, tmp_path, monkeypatch):
    architecture, config, steps = CASES[case]
    signature, traced = wide_signature(), []

    def keeping_the_traced(model: onnx_ir.Model) -> None:
        traced.append(onnx_ir.serde.serialize_model(model))
        fewer_nodes(model)

    monkeypatch.setattr(export, "fewer_nodes", keeping_the_traced)
    model = zoo.build(architecture, signature, TINY_CONFIG[architecture] | config, seed=1).eval()
    graph = exported(changed(model, *steps), signature, tmp_path / "model.onnx")
    before, after = scores_of(traced[0], signature), scores_of(str(tmp_path / "model.onnx"), signature)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(other, one, atol=2e-6)
    assert runtime_nodes(graph) <= runtime_nodes(traced[0].graph)
    own = set(weights_of(graph).values())
    assert all(weight in own for name, weight in weights_of(traced[0].graph).items() if name.startswith(export.PREFIX))


def runtime_nodes(graph: onnx.GraphProto) -> int:
    """Nodes that are left once what hangs on constants alone is folded, as it is when the file is loaded."""
    fixed, left = {tensor.name for tensor in graph.initializer}, 0
    for node in graph.node:
        if set(node.input) <= fixed:
            fixed |= set(node.output)
        else:
            left += 1
    return left


def weights_of(graph: onnx.GraphProto) -> dict[str, bytes]:
    return {tensor.name: tensor.raw_data for tensor in graph.initializer}


def test_numbers_are_multiplied_at_once_and_vectors_stacked_without_unsqueezing(tmp_path):
    model = zoo.build("deepfm", wide_signature(), TINY_CONFIG["deepfm"], seed=1).eval()
    ran = Counter(node.op_type for node in exported(model, wide_signature(), tmp_path / "model.onnx").node)
    assert ran["Unsqueeze"] == 1 + 1 and ran["Transpose"] == 1  # of all numbers, and of the mask of `many`
    assert ran["Gather"] == 2 * (len(CARDINALITIES) + 1)  # a lookup for each table, and nothing else


def test_rows_of_all_tables_are_dequantised_at_once(tmp_path):
    signature = Signature(inputs=tuple(item for item in wide_signature().inputs if item.kind == "category"))
    model = changed(zoo.build("fm", signature, TINY_CONFIG["fm"], seed=1).eval(), (ROWS, {"n_bits": 4, "min_rows": 1}))
    graph = exported(model, signature, tmp_path / "model.onnx")
    assert Counter(node.op_type for node in graph.node)["DequantizeLinear"] == 1


def test_the_last_quantised_layer_is_multiplied_in_8_bits_though_a_float_layer_follows(tmp_path):
    from compression.testing.steps import apply, ordered_dataset
    from compression.testing.tiny import tiny_model

    dataset = ordered_dataset()
    model = apply("quantize.static", tiny_model("deepfm", dataset, width=32), dataset, min_features=1).model
    exported(model, dataset.signature, tmp_path / "model.onnx")
    options = session_options()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), options, providers=["CPUExecutionProvider"])
    ran = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert ran["QGemm"] == 2 and ran["DequantizeLinear"] == 0
