"""Sparse storage: scores stay exactly as they are, every index is counted, and the bound is one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from compression.export.onnx import export_onnx
from compression.layers.sparse_layers import SparseLinear, SparseRows, gaps_of
from compression.layers.sparse_shapes import most_gap_entries
from compression.measure.weights import count_weights, read_graph
from compression.models.structure import describe
from compression.spec.recipe import check, estimate
from compression.testing.steps import apply, apply_all, logits, ordered_dataset, recipe_of
from compression.testing.tiny import TINY_CONFIG, tiny_model

KEY = "prune.store_sparse"
PRUNED = ("prune.magnitude", {"sparsity": 0.8, "weights": "both"})
TUNED = ("train.fine_tune", {"epochs": 1, "batch_size": 256})


@pytest.fixture(scope="module")
def dataset():
    return ordered_dataset()


@pytest.fixture(scope="module")
def model(dataset):
    return tiny_model("deepfm", dataset, trained=True, width=64)


def sparse_weight(shape: tuple[int, int], share: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator) * (torch.rand(shape, generator=generator) >= share)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 0.99, 0.999, 1.0])
def test_a_layer_put_together_again_is_the_layer(share):
    weight = sparse_weight((37, 61), share)
    layer = SparseLinear(nn.Linear(61, 37), weight)
    assert torch.equal(layer.dense_weight(), weight)
    assert layer.form == ("gaps" if share >= 0.9 else "bitmap")  # a byte a value beats a bit a weight below 1 in 8
    assert torch.equal(SparseRows(weight).dequantized(), weight)


def test_gaps_longer_than_a_byte_take_padding_zeros():
    """Han et al. 2016, figure 2; here with 8 bits."""
    flat = np.zeros(2000, np.float32)
    flat[[0, 255, 256, 1999]] = [1, 2, 3, 4]
    gaps, values = gaps_of(flat)
    assert gaps.tolist() == [1, 255, 1] + [255] * 6 + [213] and values.tolist() == [1, 2, 3, 0, 0, 0, 0, 0, 0, 4]
    assert len(gaps) <= most_gap_entries(2000, 4)


@pytest.mark.slow
def test_scores_are_the_same_to_the_bit_and_the_file_weighs_values_and_indices(model, dataset, tmp_path):
    pruned = apply_all(model, dataset, PRUNED)
    given = apply(KEY, pruned, dataset)
    assert torch.equal(logits(given.model, dataset), logits(pruned, dataset))
    whole, sparse = (export_onnx(one, dataset.signature, tmp_path / name / "model.onnx")
                     for name, one in (("whole", pruned), ("sparse", given.model)))
    saved = sum(change.bytes_before - change.bytes_after for change in given.changes)
    assert (whole.size_bytes - whole.graph_bytes) - (sparse.size_bytes - sparse.graph_bytes) == saved > 0
    layer = given.model.mlp[4]  # 64 × 64, 820 values
    values, stored = 4096 - int(0.8 * 4096), {tensor.name: tensor.size_bytes for tensor in layer.stored_tensors()}
    assert stored == {"bits": 512, "values": 4 * values, "bias": 256}
    counted = [count_weights(one.path, read_graph(one.path)).nonzeros for one in (whole, sparse)]
    assert counted[0] == counted[1]


def test_dense_layers_are_put_together_at_load_and_never_again(model, dataset, tmp_path):
    given = apply(KEY, apply_all(model, dataset, PRUNED), dataset, weights="dense").model
    path = export_onnx(given, dataset.signature, tmp_path / "model.onnx").path
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    kinds = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert not {"CumSum", "Where", "ScatterElements"} & set(kinds)


RECIPES = {
    "held": [PRUNED, (KEY, {})],
    "tuned": [PRUNED, TUNED, (KEY, {})],
    "due": [("prune.movement", {"sparsity": 0.8}), TUNED, (KEY, {})],
    "pattern": [("prune.n_of_m", {"pattern": "1:4", "min_features": 4}), (KEY, {})],
    "taylor": [("prune.taylor", {"sparsity": 0.9}), (KEY, {})],
    "lost": [PRUNED, TUNED, TUNED, (KEY, {})],  # the second training knows no mask
    "reshaped": [PRUNED, ("prune.channels", {}), (KEY, {})],
    "unknown": [("prune.magnitude", {"sparsity": 0.8, "scope": "model"}), (KEY, {})],
}


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("architecture", ["deepfm", "dcnv2", "fm"])
def test_the_estimate_is_never_below_and_saves_where_zeros_are_certain(recipe, architecture, dataset):
    steps = RECIPES[recipe]
    model = tiny_model(architecture, dataset, **({"width": 64} if "width" in TINY_CONFIG[architecture] else {}))
    described = describe(model, dataset.signature, architecture=architecture)
    bound = estimate(described, recipe_of(*steps)).size_bytes
    real = describe(apply_all(model, dataset, *steps), dataset.signature, architecture=architecture).size_bytes
    assert real <= bound <= described.size_bytes
    if recipe in ("held", "tuned") and architecture == "deepfm":
        assert bound == real  # a bitmap's size is exact


def test_values_go_on_learning_and_zeros_stay(model, dataset):
    sparse = apply_all(model, dataset, PRUNED, (KEY, {}))
    tuned = apply("train.fine_tune", sparse, dataset, **TUNED[1]).model
    before, after = sparse.mlp[4].dense_weight(), tuned.mlp[4].dense_weight()
    assert torch.equal(before == 0, after == 0) and not torch.equal(before, after)


def test_without_zeros_every_layer_stays_and_says_what_it_would_weigh(model, dataset):
    given = apply(KEY, model, dataset)
    assert not given.changes
    assert any("would weigh" in item.reason and "are zero" in item.reason for item in given.skipped)
    warnings = [problem.message for problem in check(recipe_of((KEY, {}), ("quantize.dynamic", {})))]
    assert any("no step before it makes zeros" in one for one in warnings)
    assert any("move sparse storage to the end" in one for one in warnings)
