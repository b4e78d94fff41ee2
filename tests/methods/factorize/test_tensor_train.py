"""Tensor trains: the error bound of TT-SVD, trains that come back whole, and a matrix for every digit."""

from __future__ import annotations

import math

import onnx
import pytest
import torch

from compression.export.onnx import export_onnx
from compression.layers.rows.tensor_train import TensorTrainRows, decompose
from compression.layers.stored_shapes import TrainShape, train_shape
from compression.models.structure import table_inputs
from compression.spec.recipe import check
from compression.spec.signature import Input, Signature
from compression.testing.steps import apply, apply_all, logits, ordered_dataset, recipe_of
from compression.testing.tiny import tiny_model


def normal_rows(n_rows: int, dim: int) -> torch.Tensor:
    return torch.randn(n_rows, dim, generator=torch.Generator().manual_seed(0))


def all_rows(layer: TensorTrainRows) -> torch.Tensor:
    return layer(torch.arange(layer.num_embeddings)).detach()


def cut_off(weight: torch.Tensor, shape: TrainShape) -> list[float]:
    """Squared singular values beyond the rank, of the table unfolded at each place of the train."""
    count = len(shape.rows)
    whole = weight.reshape(*shape.rows, *shape.columns).permute(
        [axis for place in range(count) for axis in (place, count + place)]).double()
    sizes = [rows * columns for rows, columns in zip(shape.rows, shape.columns, strict=True)]
    return [float(torch.linalg.svdvals(whole.reshape(math.prod(sizes[:place + 1]), -1))[rank:].square().sum())
            for place, rank in enumerate(shape.ranks)]


@pytest.mark.parametrize("n_cores", [2, 3, 4])
def test_the_error_is_within_the_bound_of_the_paper(n_cores):
    """Oseledets 2011, theorem 2.2: ‖A − B‖² ≤ Σ ε_k², ε_k the error of the best matrix of rank r_k at the k-th cut."""
    weight = normal_rows(120, 12).cumsum(0)
    shape = train_shape(120, 12, n_cores=n_cores, rank=4)
    padded = torch.nn.functional.pad(weight, (0, 0, 0, math.prod(shape.rows) - 120))
    error = float((all_rows(decompose(padded, shape)) - padded).double().square().sum())
    least = cut_off(padded, shape)
    assert max(least) * (1 - 1e-5) <= error <= sum(least) * (1 + 1e-5)


@pytest.mark.parametrize("n_cores", [2, 3, 4])
def test_a_table_that_is_a_train_comes_back_whole_and_so_does_any_at_full_rank(n_cores):
    shape = train_shape(100, 12, n_cores=n_cores, rank=3)
    cores = [normal_rows(rows, columns) for rows, columns in shape.tables()]
    train = TensorTrainRows(cores, shape, math.prod(shape.rows))  # rows that fill digits up would be zeros
    torch.testing.assert_close(all_rows(decompose(all_rows(train), shape)), all_rows(train), rtol=1e-3, atol=1e-3)
    weight, full = normal_rows(100, 12), train_shape(100, 12, n_cores=n_cores, rank=10**6)
    torch.testing.assert_close(all_rows(decompose(weight, full)), weight, rtol=1e-3, atol=1e-4)


def test_a_row_is_the_product_of_the_matrices_of_its_digits():
    shape = TrainShape((3, 2, 4), (2, 1, 2), (3, 2))
    layer = TensorTrainRows([normal_rows(rows, columns) for rows, columns in shape.tables()], shape, 24)
    first, second, third = layer.core_0.weight[2], layer.core_1.weight[1], layer.core_2.weight[3]
    expected = (first.view(2, 3) @ second.view(3, 2) @ third.view(2, 2)).flatten()
    torch.testing.assert_close(layer(torch.tensor([2 * 8 + 1 * 4 + 3]))[0], expected)
    torch.testing.assert_close(layer(torch.arange(24).reshape(4, 6)), all_rows(layer).reshape(4, 6, 4))


@pytest.mark.parametrize(("n_rows", "dim"), [(31, 4), (1000, 16), (9724, 10), (1_000_000, 64), (5_000_011, 7)])
@pytest.mark.parametrize("n_cores", [2, 3, 4])
def test_digits_reach_every_row_and_slices_make_up_the_columns(n_rows, dim, n_cores):
    shape = train_shape(n_rows, dim, n_cores=n_cores, rank=8)
    assert n_rows <= math.prod(shape.rows) < 1.5 * n_rows and math.prod(shape.columns) == dim
    assert max(shape.rows) <= math.ceil(n_rows ** (1 / n_cores)) + 1


def test_the_published_size_of_three_cores_comes_out():
    """Yin et al. 2021, table 2: a Kaggle table of 10,131,227 × 16 as (200, 220, 250) × (2, 2, 4) at rank 32."""
    papers = TrainShape((200, 220, 250), (2, 2, 4), (32, 32))
    assert sum(rows * columns for rows, columns in papers.tables()) == 495_360
    ours = train_shape(10_131_227, 16, n_cores=3, rank=32)
    assert 0.8 < sum(rows * columns for rows, columns in ours.tables()) / 495_360 < 1.2


def test_rows_count_by_their_frequency():
    weight, counts = normal_rows(300, 8), 1000 / torch.arange(1, 301)
    shape = train_shape(300, 8, n_cores=3, rank=6)

    def error(layer: TensorTrainRows) -> float:
        return float((counts * (all_rows(layer) - weight).square().sum(1)).sum())

    assert error(decompose(weight, shape, counts)) < 0.95 * error(decompose(weight, shape))


@pytest.mark.slow
def test_the_cores_learn_in_fine_tuning_and_no_input_names_them():
    dataset = ordered_dataset()
    model = tiny_model("deepfm", dataset, trained=True)
    given = apply("factorize.tensor_train", model, dataset, min_rows=2, rank=2)
    changed = {item.module for item in given.changes}
    assert changed and table_inputs(given.model) == {
        path: name for path, name in table_inputs(model).items() if path not in changed}
    apart = [float((logits(one, dataset) - logits(model, dataset)).square().mean()) for one in (
        given.model, apply_all(model, dataset, ("factorize.tensor_train", {"min_rows": 2, "rank": 2}),
                               ("distill.self", {"alpha": 1.0}), ("train.fine_tune", {"epochs": 10, "batch_size": 128,
                                                                                     "patience": 10})))]
    assert apart[1] < 0.7 * apart[0]


@pytest.mark.slow
def test_the_exported_digits_are_whole_numbers(tmp_path):
    class OneTable(torch.nn.Module):
        def __init__(self, table: torch.nn.Module) -> None:
            super().__init__()
            self.table = table

        def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
            return self.table(batch["ids"]).sum(-1)

    n_rows = 300
    layer = decompose(normal_rows(n_rows, 4), train_shape(n_rows, 4, n_cores=3, rank=2))
    signature = Signature(inputs=(Input(name="ids", kind="category", column="ids", cardinality=n_rows),))
    operators = [node.op_type for node in onnx.load(
        export_onnx(OneTable(layer), signature, tmp_path / "model.onnx").path).graph.node]
    assert operators.count("Div") == 2 and operators.count("Mod") == 2
    assert not {"Cast", "Floor", "Sign", "Where"} & {*operators}  # an id above 2²⁴ does not survive float32


def test_training_afterwards_is_advised_and_codes_are_refused():
    assert [problem.severity for problem in check(recipe_of(("factorize.tensor_train", {})))] == ["warning"]
    assert not check(recipe_of(("factorize.tensor_train", {}), ("train.fine_tune", {}), ("embed.quantize_rows", {})))
    problems = check(recipe_of(("embed.quantize_rows", {}), ("factorize.tensor_train", {}), ("train.fine_tune", {})))
    assert "error" in [problem.severity for problem in problems]
