"""Mixed precision: the budget is met to the byte, and on Zipf data it errs less than uniform bits of equal bytes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from compression.layers.rows.quantized_rows import QuantizedRows
from compression.layers.rows.row_codes import encode_rows
from compression.layers.rows.tiers import choose_cuts, error_of, reachable, row_budget, weigh, widths
from compression.methods.embed.mixed_precision import in_order
from compression.models.structure import describe
from compression.spec.method import METHODS, Context
from compression.spec.recipe import check, estimate
from compression.testing.steps import apply, ordered_dataset, recipe_of
from compression.testing.tiny import tiny_dataset, tiny_model


class OneTable(nn.Module):
    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.table = nn.Embedding.from_pretrained(weight, freeze=False)


def zipf(n_rows: int, dim: int, seed: int = 0) -> tuple[torch.Tensor, np.ndarray]:
    """Normal rows, and how often each is read when popularity falls as 1 / rank."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n_rows, dim, generator=generator), (100_000 / np.arange(1, n_rows + 1)).astype(np.int64)


def compressed(weight: torch.Tensor, counts: np.ndarray, bits: float) -> nn.Module:
    context = Context(method="embed.mixed_precision", frequencies={"table": counts})
    method = METHODS["embed.mixed_precision"]
    return method(OneTable(weight), method.parse({"bits": bits}), context).model.table


def weighted_error(found: torch.Tensor, weight: torch.Tensor, counts: np.ndarray) -> float:
    return float((torch.from_numpy(counts).double() * (found.detach() - weight).double().square().sum(1)).sum())


@pytest.mark.parametrize(("uniform_bits", "margin"), [(4, 0.6), (2, 0.5)])
def test_it_errs_less_than_uniform_bits_of_equal_bytes_on_zipf_data(uniform_bits, margin):
    weight, counts = zipf(4000, 16)
    uniform = QuantizedRows(encode_rows(weight, n_bits=uniform_bits, clipping="search"))
    size = sum(tensor.size_bytes for tensor in uniform.stored_tensors())
    mixed = compressed(weight, counts, size * 8 / weight.numel())
    assert sum(tensor.size_bytes for tensor in mixed.stored_tensors()) <= size
    error = weighted_error(mixed.dequantized(), weight, counts)
    assert error < margin * weighted_error(uniform.dequantized(), weight, counts)


@pytest.mark.parametrize("dim", [2, 4, 10, 16, 64])
@pytest.mark.parametrize("bits", [0.25, 1.75, 3, 5.25, 8])
@pytest.mark.parametrize("n_rows", [101, 3000])
def test_the_budget_is_met_to_the_byte_and_by_less_than_a_narrow_row(n_rows, bits, dim):
    weight, counts = zipf(n_rows, dim)
    budget = row_budget(n_rows, dim, bits, mapped=False)
    if budget == 0:
        assert bits == 0.25
        return
    layer = compressed(weight, counts, bits)
    size = sum(tensor.size_bytes for tensor in layer.stored_tensors())
    assert size == budget + 4 * dim
    whole = n_rows * max(widths(dim).values()) + 4 * dim
    assert min(whole, bits * n_rows * dim / 8) - min(widths(dim).values()) <= size <= bits * n_rows * dim / 8


def test_what_rows_can_weigh_is_what_trying_every_choice_finds():
    for n_rows, row_bytes in ((4, (18, 10, 6, 4)), (6, (7, 4)), (3, (34, 18, 10, 6))):
        sums = {0}
        for _ in range(n_rows):
            sums |= {total + width for total in sums for width in row_bytes}
        for budget in range(n_rows * row_bytes[0] + 3):
            total, cuts = reachable(n_rows, row_bytes, budget)
            assert total == max(one for one in sums if one <= budget)
            assert weigh(np.array(cuts), row_bytes) == total and cuts[-1] <= n_rows


def test_tiers_are_as_good_as_any_of_the_same_bytes():
    random = np.random.default_rng(0)
    row_bytes, n_rows = (10, 6, 4), 12
    weights = random.uniform(0.5, 2, n_rows) * 20 / np.arange(1, n_rows + 1)
    errors = weights[:, None] * np.array([0.0, 1, 3, 9])
    sums = np.vstack([np.zeros(4), errors.cumsum(0)])
    budget = reachable(n_rows, row_bytes, 60)[0]
    every = [np.array([a, b, c]) for a in range(n_rows + 1) for b in range(a, n_rows + 1) for c in range(b, n_rows + 1)]
    best = min(error_of(cuts, sums) for cuts in every if weigh(cuts, row_bytes) == budget)
    chosen = choose_cuts(errors, row_bytes, budget)
    assert weigh(chosen, row_bytes) == budget and error_of(chosen, sums) == pytest.approx(best)


def test_frequent_rows_get_more_bits_and_the_rarest_share_a_row():
    weight, counts = zipf(2000, 16)
    layer = compressed(weight, counts, 1.5)
    errors = (layer.dequantized() - weight).square().mean(1)
    assert errors[:100].mean() < 0.1 * errors[500:1000].mean()
    assert torch.equal(layer(torch.tensor([1998, 1999])), layer.shared.expand(2, -1))


def test_ids_in_no_order_are_mapped_and_give_the_same_rows():
    weight, counts = zipf(2000, 16)
    mix = np.concatenate([[0], np.random.default_rng(0).permutation(1999) + 1])
    assert in_order(counts) and not in_order(counts[mix])
    mapped = compressed(weight[mix], counts[mix], 6)
    assert mapped.ids is not None
    size = sum(tensor.size_bytes for tensor in mapped.stored_tensors())
    assert 6 * 2000 * 16 / 8 - 4 <= size <= 6 * 2000 * 16 / 8  # the map of 8,000 bytes within it
    assert weighted_error(mapped.dequantized(), weight[mix], counts[mix]) < 0.05 * float(counts.sum() * 16)


def test_a_map_that_takes_more_than_the_rows_leaves_the_table_whole_and_the_estimate_says_so():
    dataset = tiny_dataset()
    inputs = tuple(item.model_copy(update={"ids": "as-is"}) if item.name == "user" else item
                   for item in dataset.signature.inputs)
    model = tiny_model("deepfm", dataset)
    before = describe(model, dataset.signature.model_copy(update={"inputs": inputs}), architecture="deepfm")
    recipe = recipe_of(("embed.mixed_precision", {"min_rows": 2, "bits": 8.0}))
    kinds = {layer.name: layer.kind for layer in estimate(before, recipe).layers}
    assert kinds["tables.user"] == "Embedding" and kinds["tables.item"] == "TieredRows"
    given = apply("embed.mixed_precision", model, dataset, min_rows=2, bits=8.0)
    reason = next(item.reason for item in given.skipped if item.module == "tables.user")
    assert "map of ids" in reason


def test_the_shared_row_learns_and_the_codes_stay():
    weight, counts = zipf(500, 16)
    layer = compressed(weight, counts, 1.0)
    layer(torch.tensor([0, 499])).sum().backward()
    assert layer.shared.grad.abs().sum() > 0 and not any(p.requires_grad for p in layer.tiers.parameters())


def test_row_pruning_and_other_table_codes_before_it_are_refused():
    for other in ("embed.prune_rows", "embed.quantize_rows"):
        problems = check(recipe_of((other, {}), ("embed.mixed_precision", {})))
        assert [problem.severity for problem in problems] == ["error"]
    assert not check(recipe_of(("embed.mixed_precision", {})))


def test_every_table_whose_rows_are_counted_shrinks():
    dataset = ordered_dataset()
    given = apply("embed.mixed_precision", tiny_model("deepfm", dataset), dataset, min_rows=2, bits=4.0)
    assert {item.module for item in given.changes} >= {"tables.user", "tables.item"}
