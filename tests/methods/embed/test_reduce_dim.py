"""Mixed dimensions: widths follow the paper's power law, the projection errs least, alpha 0 is the control."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from compression.methods.embed.reduce_dim import ReduceDimParams, dims
from compression.models.structure import leaves, table_inputs
from compression.spec.method import METHODS, Context
from compression.spec.recipe import check
from compression.testing.steps import apply, logits, ordered_dataset, recipe_of
from compression.testing.tiny import tiny_model


def test_widths_fall_with_the_rows_to_the_power_of_alpha():
    """Ginart et al. 2021, section 4: d is proportional to popularity ^ alpha."""
    shapes = {"a": (100, 64), "b": (1_600, 64), "c": (1_000_000, 64), "first": (1_600, 1), "tiny": (50, 64)}
    assert dims(shapes, ReduceDimParams(ratio=1.0, alpha=0.5)) == {"a": 64, "b": 16, "c": 1, "first": 1}
    assert dims(shapes, ReduceDimParams(ratio=0.5, alpha=0.0)) == {"a": 32, "b": 32, "c": 32, "first": 1}
    uneven = dims(shapes, ReduceDimParams(ratio=0.5, alpha=0.25))
    assert (uneven["a"], uneven["b"]) == (32, 16)


class OneTable(nn.Module):
    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.table = nn.Embedding.from_pretrained(weight, freeze=False)


def narrowed(weight: torch.Tensor, counts: np.ndarray, **params) -> torch.Tensor:
    chosen = METHODS["embed.reduce_dim"]
    context = Context(method="embed.reduce_dim", frequencies={"table": counts})
    table = chosen(OneTable(weight), chosen.parse(params), context).model.table
    return table(torch.arange(len(weight))).detach()


def test_the_projection_errs_less_than_dropping_columns_and_counts_frequent_rows():
    weight = torch.randn(400, 16, generator=torch.Generator().manual_seed(0))
    counts = (10_000 / np.arange(1, 401)).astype(np.int64)

    def error(found: torch.Tensor) -> float:
        return float((torch.from_numpy(counts).double() * (found - weight).double().square().sum(1)).sum())

    dropped = weight.clone()
    dropped[:, 8:] = 0
    assert error(narrowed(weight, counts)) < error(narrowed(weight, counts, by_frequency=False)) < error(dropped)


def test_a_table_of_lower_rank_comes_back_whole():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(300, 4, generator=generator) @ torch.randn(4, 16, generator=generator)
    assert torch.allclose(narrowed(weight, np.ones(300, np.int64), ratio=0.25), weight, atol=1e-4)


def test_with_alpha_zero_it_is_low_rank_of_the_tables_at_one_share():
    dataset = ordered_dataset()
    model = tiny_model("dcnv2", dataset, trained=True)
    control = apply("embed.reduce_dim", model, dataset, alpha=0.0, by_frequency=False, min_rows=2).model
    low_rank = apply("factorize.svd", model, dataset, weights="tables", rank_ratio=0.5).model
    assert torch.allclose(logits(control, dataset), logits(low_rank, dataset), atol=1e-5)


def test_the_narrow_table_is_an_ordinary_one_for_later_steps():
    dataset = ordered_dataset()
    model = apply("embed.reduce_dim", tiny_model("deepfm", dataset), dataset, min_rows=2).model
    assert isinstance(dict(leaves(model))["tables.item.factor"], nn.Embedding)
    assert table_inputs(model)["tables.item.factor"] == "item"


@pytest.mark.parametrize(("steps", "severities"), [
    ((("embed.reduce_dim", {}),), ["warning"]),
    ((("embed.reduce_dim", {"alpha": 0.0}),), []),
    ((("embed.reduce_dim", {}), ("train.fine_tune", {})), []),
    ((("embed.quantize_rows", {}), ("embed.reduce_dim", {"alpha": 0.0})), ["error"]),
])
def test_training_afterwards_is_advised_and_quantised_tables_are_refused(steps, severities):
    assert [problem.severity for problem in check(recipe_of(*steps))] == severities
