"""What a method declares for the order of recipes is what its result shows, at its `tiny` settings on a tiny model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from compression.layers.dense.quantized_linear import DynamicLinear, QuantizedLinear
from compression.models.constant_inputs import ConstantRow
from compression.models.structure import leaves, part_of, read_signature, replace, table_inputs
from compression.spec.effects import ALL_PARTS, NO_PARTS, TRAINING_FORMS, Effect, Effects, Parts
from compression.spec.method import METHODS, Applied, copy_structure
from compression.spec.records import Part
from compression.testing.method import ONE_EPOCH, ordered_data, trained_for
from compression.testing.steps import apply, apply_all

KEYS = sorted(METHODS)
WAITING = {Effect.LOSS, *TRAINING_FORMS}
PRODUCTS = [(key, METHODS[key].tiny) for key in KEYS] + [
    ("quantize.train_dense", METHODS["quantize.train_dense"].tiny | {"n_bits": bits}) for bits in (7, 8)]


@pytest.fixture
def dataset():
    return ordered_data()


@pytest.fixture
def trained(key):
    return trained_for(key)


def declared(key: str, **params: Any) -> Effects:
    return METHODS[key].effects_of(METHODS[key].parse(METHODS[key].tiny | params))


def made(key: str, effect: Effect, **params: Any) -> Parts:
    return declared(key, **params).makes.get(effect, NO_PARTS)


def changed(before: nn.Module, given: Applied) -> dict[str, tuple[Part, nn.Module]]:
    """Path → part and leaf of what stands where the method changed a leaf."""
    paths = {item.module: part_of(before, item.module) for item in given.changes if item.module in dict(leaves(before))}
    return {path: (part, leaf) for path, leaf in leaves(given.model) for old, part in paths.items()
            if f"{path}.".startswith(f"{old}.")}


def matrices(model: nn.Module, parts: Parts = ALL_PARTS) -> dict[str, torch.Tensor]:
    """Path → float weights of each table and dense layer."""
    return {path: leaf.weight.detach() for path, leaf in leaves(model)
            if isinstance(leaf, nn.Linear | nn.Embedding) and part_of(model, path) in parts}


def n_zeros(weights: dict[str, torch.Tensor]) -> int:
    return sum(int((one == 0).sum()) for one in weights.values())


def share_of_zeros(weights: dict[str, torch.Tensor]) -> float:
    return n_zeros(weights) / sum(one.numel() for one in weights.values())


def half_zeros(model: nn.Module) -> nn.Module:
    """The model with half of its weights at zero, drawn at random."""
    copied, random = copy_structure(model), torch.Generator().manual_seed(0)
    for path, weight in matrices(model).items():
        old = model.get_submodule(path)
        new = nn.Embedding(*weight.shape) if isinstance(old, nn.Embedding) else nn.Linear(
            weight.shape[1], weight.shape[0], bias=old.bias is not None)
        new.load_state_dict(old.state_dict())
        new.weight = nn.Parameter(weight * (torch.rand(weight.shape, generator=random) < 0.5))
        replace(copied, path, new.train(old.training))
    return copied


@pytest.mark.parametrize("key", KEYS)
def test_a_method_that_makes_zeros_leaves_them_and_another_leaves_none(key, trained, dataset):
    parts = made(key, Effect.ZEROS)
    if made(key, Effect.GROWING):
        assert share_of_zeros(matrices(apply(key, trained, dataset, **METHODS[key].tiny).model, parts)) < 0.1
        model = apply_all(trained, dataset, (key, METHODS[key].tiny), ("train.fine_tune", ONE_EPOCH | {"epochs": 3}))
    else:
        model = apply(key, trained, dataset, **METHODS[key].tiny).model
    if parts:
        assert share_of_zeros(matrices(model, parts)) > 0.1
    others = ALL_PARTS - parts - made(key, Effect.LOW_RANK)  # gates of experts begin at zero
    left = matrices(model, others)
    assert n_zeros(left) <= n_zeros(matrices(trained, others)) + 0.1 * sum(one.numel() for one in left.values())


@pytest.mark.parametrize("key", KEYS)
def test_codes_and_sparse_layers_are_no_float_weights_and_other_layers_are(key, trained, dataset):
    given = apply(key, trained, dataset, **METHODS[key].tiny)
    stored = made(key, Effect.CODES) | made(key, Effect.SPARSE)
    found = {path: one for path, one in changed(trained, given).items()
             if path not in (before := dict(leaves(trained))) or isinstance(before[path], nn.Linear | nn.Embedding)}
    for path, (part, leaf) in found.items():
        is_float = type(leaf).__module__.startswith("torch.nn.") or isinstance(leaf, ConstantRow)
        assert (part not in stored) == is_float, path


@pytest.mark.parametrize("key", [key for key in KEYS if made(key, Effect.CODES)])
def test_frozen_codes_have_nothing_to_train_and_others_have(key, trained, dataset):
    found = changed(trained, apply(key, trained, dataset, **METHODS[key].tiny))
    frozen = made(key, Effect.FROZEN)
    assert found
    assert all((part in frozen) == (not list(leaf.parameters())) for part, leaf in found.values())


@pytest.mark.parametrize("key", [key for key in KEYS if not made(key, Effect.CODES) | made(key, Effect.SPARSE)])
def test_zeros_that_are_there_are_undone_as_declared(key, trained, dataset):
    """By the step alone; what its hooks do in a later training, and what codes hold, is not seen here."""
    start = half_zeros(trained)
    given = apply(key, start, dataset, **METHODS[key].tiny)
    undone = declared(key).undoes.get(Effect.ZEROS, NO_PARTS)
    if given.hooks or made(key, Effect.OTHER_MODEL):
        return
    for part in ALL_PARTS - undone:
        weights = matrices(given.model, frozenset({part}))
        if sum(one.numel() for one in weights.values()) > 32:
            assert share_of_zeros(weights) > 0.35, part
    there = matrices(given.model)
    lost = {path: there[path] for path, (part, _) in changed(start, given).items() if part in undone and path in there}
    assert not lost or share_of_zeros(lost) < 0.25
    assert lost or not undone


@pytest.mark.parametrize("key", KEYS)
def test_rows_stay_counted_unless_it_is_declared(key, trained, dataset):
    given = apply(key, trained, dataset, **METHODS[key].tiny)
    if made(key, Effect.OTHER_MODEL) or not any(part is Part.EMBEDDING for part, _ in changed(trained, given).values()):
        return
    before, after = (set(table_inputs(model).values()) for model in (trained, given.model))
    read = {item.name for item in read_signature(given.model, dataset.signature).inputs}
    assert bool((before - after) & read) == bool(made(key, Effect.UNCOUNTED))


@pytest.mark.parametrize("key", KEYS)
def test_hooks_are_handed_on_by_what_declares_that_it_waits_for_a_training(key, trained, dataset):
    given = apply(key, trained, dataset, **METHODS[key].tiny)
    assert bool(given.hooks) == any(made(key, effect) for effect in WAITING)


@pytest.mark.parametrize(("key", "params"), PRODUCTS, ids=lambda value: value if isinstance(value, str) else None)
def test_int8_products_and_ranges_of_a_batch_are_declared(key, params, trained, dataset):
    found = [leaf for _, leaf in leaves(apply(key, trained, dataset, **params).model)]
    assert any(isinstance(leaf, QuantizedLinear) for leaf in found) == bool(
        made(key, Effect.INT8_PRODUCTS, **params))
    assert any(isinstance(leaf, DynamicLinear) for leaf in found) == bool(made(key, Effect.BATCH_RANGES, **params))


@pytest.mark.parametrize("key", [key for key in KEYS if not made(key, Effect.CODES) | made(key, Effect.SPARSE)])
def test_matrices_change_their_shapes_where_low_rank_or_smaller_shapes_are_declared(key, trained, dataset):
    given = apply(key, trained, dataset, **METHODS[key].tiny)
    if made(key, Effect.GATES) or made(key, Effect.OTHER_MODEL):  # while training; all at once
        return
    before, after = (sorted(tuple(leaf.weight.shape) for _, leaf in leaves(model)
                            if getattr(leaf, "weight", None) is not None and leaf.weight.ndim > 1)
                     for model in (trained, given.model))
    assert (before != after) == bool(made(key, Effect.LOW_RANK) | made(key, Effect.SMALLER))


@pytest.mark.parametrize("key", [key for key in KEYS if made(key, Effect.NO_NORMS)])
def test_norms_are_gone_where_it_is_declared(key, trained, dataset):
    given = apply(key, trained, dataset, **METHODS[key].tiny)
    before, after = (sum("Norm" in type(leaf).__name__ for _, leaf in leaves(model))
                     for model in (trained, given.model))
    assert after < before


@pytest.mark.parametrize("key", [key for key in KEYS if made(key, Effect.OTHER_MODEL)])
def test_another_model_has_other_weights_in_every_part(key, trained, dataset):
    given = apply(key, trained, dataset, **METHODS[key].tiny)
    assert given.model.config != trained.config
