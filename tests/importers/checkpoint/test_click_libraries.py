"""Weights of DeepCTR-Torch and torch-rechub under their own names; what their models compute is written out here."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from compression.spec.errors import ModelError
from tests.importers.checkpoint.make import apart, drawn, imported

ROWS = {"user": 9, "item": 7}
DIM, FLAT = 4, 8


def network(prefix: str, widths: tuple[int, ...], step: int = 1) -> dict[str, Tensor]:
    state = {}
    for place, (n_in, n_out) in enumerate(pairwise(widths)):
        state |= {f"{prefix}.{place * step}.weight": drawn(n_out, n_in, seed=place),
                  f"{prefix}.{place * step}.bias": drawn(n_out)}
    return state


def deepctr(n_numbers: int = 2, *, cross: str = "") -> dict[str, Tensor]:
    """A DeepFM, WDL or DCN of DeepCTR-Torch: the first two have one set of names."""
    width = FLAT + n_numbers
    state = {f"embedding_dict.{name}.weight": drawn(rows, DIM) for name, rows in ROWS.items()}
    state |= {f"linear_model.embedding_dict.{name}.weight": drawn(rows, 1) for name, rows in ROWS.items()}
    state |= {"linear_model.weight": drawn(n_numbers, 1)} if n_numbers else {}
    state |= {"out.bias": torch.tensor([0.3])} | network("dnn.linears", (width, 5, 3))
    if cross:
        state |= {"crossnet.kernels": drawn(2, width, 1 if cross == "vector" else width),
                  "crossnet.bias": drawn(2, width, 1)}
    return state | {"dnn_linear.weight": drawn(1, 3 + (width if cross else 0))}


def flat_of(state: dict[str, Tensor], prefix: str, inputs: tuple[Tensor, ...]) -> tuple[Tensor, list[Tensor]]:
    vectors = [state[f"{prefix}.{name}.weight"][ids] for name, ids in zip(ROWS, inputs, strict=False)]
    return torch.cat([*vectors, *(one.unsqueeze(1) for one in inputs[2:])], 1), vectors


def layer(state: dict[str, Tensor], name: str, values: Tensor) -> Tensor:
    return values @ state[f"{name}.weight"].T + state.get(f"{name}.bias", torch.zeros(1))


def deepctr_scores(state: dict[str, Tensor], kind: str, *inputs: Tensor) -> Tensor:
    flat, vectors = flat_of(state, "embedding_dict", inputs)
    score = state["out.bias"] + sum(state[f"linear_model.embedding_dict.{name}.weight"][ids]
                                    for name, ids in zip(ROWS, inputs, strict=False))
    if len(inputs) > 2:
        score = score + torch.stack(inputs[2:], 1) @ state["linear_model.weight"]
    deep = layer(state, "dnn.linears.1", layer(state, "dnn.linears.0", flat).relu()).relu()
    if kind == "DeepFM":
        score = score + (vectors[0] * vectors[1]).sum(1, keepdim=True)
    if kind.startswith("DCN"):
        x = flat
        for kernel, bias in zip(state["crossnet.kernels"], state["crossnet.bias"].squeeze(-1), strict=True):
            x = flat * (x @ kernel) + bias + x if kernel.shape[1] == 1 else flat * (x @ kernel.T + bias) + x
        deep = torch.cat([x, deep], 1)
    return (score + layer(state, "dnn_linear", deep)).squeeze(1)


def rechub(n_deep: int, n_linear: int) -> dict[str, Tensor]:
    """A DeepFM or WideDeep of torch-rechub, without batch normalisation."""
    state = {f"embedding.embed_dict.{name}.weight": drawn(rows, DIM) for name, rows in ROWS.items()}
    return state | {"linear.fc.weight": drawn(1, n_linear), "linear.fc.bias": drawn(1)} | network(
        "mlp.mlp", (n_deep, 5, 1), 2)


def rechub_scores(state: dict[str, Tensor], linear: str, pairs: bool, *inputs: Tensor) -> Tensor:
    flat, vectors = flat_of(state, "embedding.embed_dict", inputs)
    reads = {"vectors": flat[:, :FLAT], "all": flat, "numbers": flat[:, FLAT:]}[linear]
    n_deep = state["mlp.mlp.0.weight"].shape[1]
    deep = layer(state, "mlp.mlp.2", layer(state, "mlp.mlp.0", flat[:, :n_deep]).relu())
    score = layer(state, "linear.fc", reads) + deep
    return (score + (vectors[0] * vectors[1]).sum(1, keepdim=True) if pairs else score).squeeze(1)


def rows(n_numbers: int) -> list[Tensor]:
    draw = torch.Generator().manual_seed(3)
    return [*(torch.randint(0, count, (11,), generator=draw) for count in ROWS.values()),
            *(torch.randn(11, generator=draw) for _ in range(n_numbers))]


@pytest.mark.parametrize("n_numbers", [0, 1, 2])
@pytest.mark.parametrize(("kind", "cross", "answers"), [
    ("DeepFM", "", {}), ("WDL", "", {"pairs": False}), ("DCN", "vector", {}), ("DCN", "matrix", {})])
def test_a_model_of_deepctr_torch_scores_as_it_does_there(kind, cross, answers, n_numbers):
    state = deepctr(n_numbers, cross=cross)
    loaded, asked = imported(state, answers)
    assert apart(loaded, lambda *inputs: deepctr_scores(state, kind, *inputs), *rows(n_numbers)) < 1e-5
    assert asked["fields"].answer == list(ROWS) and asked["fields"].decided_by == "file"
    assert ("pairs" in asked) == (not cross)
    assert not {"linear_reads", "beside", "mlp.last", "output_order"} & {
        key for key, one in asked.items() if one.decided_by == "guess"}


def test_first_orders_in_another_order_go_to_their_fields():
    state = deepctr(0)
    turned = dict(reversed([item for item in state.items() if item[0].startswith("linear_model.")]))
    loaded, _ = imported({key: value for key, value in state.items() if key not in turned} | turned)
    assert apart(loaded, lambda *inputs: deepctr_scores(state, "DeepFM", *inputs), *rows(0)) < 1e-5


@pytest.mark.parametrize(("n_deep", "n_linear", "linear", "answers"), [
    (FLAT, FLAT, "vectors", {}), (FLAT + 2, FLAT, "vectors", {}), (FLAT + 2, FLAT, "vectors", {"pairs": False}),
    (FLAT + 2, FLAT + 2, "all", {}), (FLAT, 2, "numbers", {}), (FLAT + 2, 2, "numbers", {})])
def test_the_linear_part_of_torch_rechub_reads_what_it_is_as_wide_as(n_deep, n_linear, linear, answers):
    state = rechub(n_deep, n_linear)
    loaded, asked = imported(state, answers)
    pairs = linear == "vectors" and answers.get("pairs", True)
    n_numbers = 0 if n_deep == n_linear == FLAT else 2
    assert apart(loaded, lambda *inputs: rechub_scores(state, linear, pairs, *inputs), *rows(n_numbers)) < 1e-5
    assert ("pairs" in asked) == (linear == "vectors")


def test_as_many_numbers_as_values_of_vectors_are_asked_about():
    state = rechub(FLAT, FLAT)
    _, asked = imported(state)
    assert asked["linear_reads"].choices == ("vectors", "numbers") and asked["linear_reads"].decided_by == "guess"
    loaded, _ = imported(state, {"linear_reads": "numbers"})
    assert sum(one.kind == "number" for one in loaded.signature.inputs) == FLAT


def test_a_linear_part_of_one_vector_may_read_numbers_or_one_field():
    state = rechub(FLAT, DIM)
    _, asked = imported(state)
    assert asked["linear_reads"].choices == ("numbers", "some fields")
    with pytest.raises(ModelError, match=r"reads 4 values.*other features than the network.*ONNX"):
        imported(state, {"linear_reads": "some fields"})


@pytest.mark.parametrize("n_cross", [1, 2])
@pytest.mark.parametrize("form", ["cn", "crossnet"])
def test_the_biases_of_torch_rechubs_cross_layers_are_added_after_the_product(form, n_cross):
    state = rechub(FLAT, FLAT + 5)
    state = {key: value for key, value in state.items() if not key.startswith("mlp.mlp.2")}
    if form == "crossnet":
        state = {key.replace("mlp.mlp", "parallel_dnn.mlp"): value for key, value in state.items()}
    for place in range(n_cross):
        state |= {f"{form}.w.{place}.weight": drawn(1 if form == "cn" else FLAT, FLAT, seed=place),
                  f"{form}.b.{place}": drawn(FLAT, seed=place)}

    def expected(*inputs: Tensor) -> Tensor:
        flat, _ = flat_of(state, "embedding.embed_dict", inputs)
        x = flat
        for place in range(n_cross):
            x = flat * layer(state, f"{form}.w.{place}", x) + state[f"{form}.b.{place}"] + x
        deep = layer(state, "mlp.mlp.0" if form == "cn" else "parallel_dnn.mlp.0", flat).relu()
        return layer(state, "linear.fc", torch.cat([x, deep], 1)).squeeze(1)

    loaded, _ = imported(state)
    assert apart(loaded, expected, *rows(0)) < 1e-5


@pytest.mark.parametrize(("state", "extra", "sentence"), [
    (deepctr(), "cin.conv1ds.0.weight", "DeepCTR-Torch, with parts that RecPress can't rebuild: cin.conv1ds"),
    (deepctr(), "dnn.activation_layers.0.weight", "can't rebuild: dnn.activation_layers.*no weights"),
    (deepctr(), "linear_model.embedding_dict.city.weight", r"read other fields \(differing in city\)"),
    (rechub(FLAT, FLAT), "crossnet.gating.0.weight", "torch-rechub, with parts .*crossnet.gating.*mixture=False"),
    (rechub(FLAT + 2, FLAT + 1), "", "reads 9 values, its tables have 8 and its network reads 2 numbers")])
def test_what_is_not_read_is_named_with_the_library(state, extra, sentence):
    more: dict[str, Any] = {extra: drawn(3, 1)} if extra else {}
    with pytest.raises(ModelError, match=sentence):
        imported(state | more)
