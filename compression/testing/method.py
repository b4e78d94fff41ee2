"""The contract of a method, as tests for pytest. A plug-in's tests subclass it and name the method:

    class TestDecimals(MethodContract):
        key = "round.decimals"

What the method declares (`tiny`, `no_op`, `parts`, `estimate_is_bound` …) is run on tiny models; the rest holds for
all.
"""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from compression.data.dataset import Dataset
from compression.export.onnx import export_onnx
from compression.models.structure import declare_padding, describe, leaves, part_of
from compression.models.uploaded import build
from compression.spec.errors import RecipeError
from compression.spec.method import METHODS, Stage
from compression.spec.recipe import check, estimate, fine_tune_step
from compression.spec.records import Part, Target
from compression.spec.runtime import RUNTIMES
from compression.testing.steps import apply, apply_all, logits, ordered_dataset, recipe_of
from compression.testing.tiny import TINY_CONFIG, TINY_FOREIGN, signature_of, tiny_model

ARCHITECTURES = (*TINY_CONFIG, *TINY_FOREIGN)
ONE_EPOCH = {"epochs": 1, "batch_size": 256}
FINE_TUNE = fine_tune_step().method


def properties(key: str) -> dict[str, dict[str, Any]]:
    """The JSON schema of each parameter: what a slider is drawn from."""
    schema = METHODS[key].params.model_json_schema()
    return {name: schema["$defs"][prop["$ref"].split("/")[-1]] | prop if "$ref" in prop else prop
            for name, prop in schema.get("properties", {}).items()}


def extremes(key: str) -> list[dict[str, Any]]:
    """Every parameter at each of its ends or choices, the others as they work."""
    found = []
    for name, prop in properties(key).items():
        ends = prop.get("enum") or ([prop["const"]] if "const" in prop else None)
        if ends is None:
            ends = [False, True] if prop["type"] == "boolean" else [prop["minimum"], prop["maximum"]]
        found += [METHODS[key].tiny | {name: end} for end in ends]
    return found


@functools.cache
def ordered_data() -> Dataset:
    return ordered_dataset()


@functools.cache
def model_of(architecture: str, *, trained: bool = False) -> nn.Module:
    """A tiny model that tests may read and not change."""
    return tiny_model(architecture, ordered_data(), trained=trained)


@functools.cache
def trained_for(key: str) -> nn.Module:
    """A trained model, whose weights and BatchNorm statistics have something to lose.

    A DeepFM, or, for a method of layers that it lacks, the first architecture that has them.
    """
    tried = (model_of(architecture, trained=True) for architecture in ("deepfm", *ARCHITECTURES))
    return next((model for model in tried if apply(key, model, ordered_data(), **METHODS[key].tiny).changes),
                model_of("deepfm", trained=True))


def is_bounded(key: str) -> bool:
    """Whether the estimate of a method is an upper bound at its tiny settings."""
    return METHODS[key].is_bounded(METHODS[key].parse(METHODS[key].tiny))


class MethodContract:
    """What holds for every method. `key` names the one that is tested."""

    key: str
    needs_zoo = False  # whether it can only be applied to an architecture of the zoo, as what sizes a student

    @pytest.fixture
    def method_key(self) -> str:
        return self.key

    @pytest.fixture
    def only_zoo(self) -> bool:
        return self.needs_zoo

    @pytest.fixture(params=ARCHITECTURES)
    def architecture(self, request) -> str:
        return request.param

    @pytest.fixture
    def dataset(self) -> Dataset:
        return ordered_data()

    @pytest.fixture
    def trained(self, method_key) -> nn.Module:
        return trained_for(method_key)

    @pytest.fixture
    def fitting(self, only_zoo, architecture) -> nn.Module:
        """A tiny model of each architecture that the method can be applied to."""
        if only_zoo and architecture not in TINY_CONFIG:
            pytest.skip("needs an architecture of the zoo")
        return model_of(architecture)

    def test_it_says_when_it_does_nothing_and_works_on_tiny_tables(self, method_key, trained, dataset):
        assert METHODS[method_key].no_op, "give the settings at which it changes nothing, or why there are none"
        assert apply(method_key, trained, dataset, **METHODS[method_key].tiny).changes

    def test_every_parameter_reaches_a_slider_with_both_bounds_and_a_help_text(self, method_key):
        for name, prop in properties(method_key).items():
            assert prop.get("description"), f"{name} has no help text"
            if "enum" in prop or "const" in prop or prop.get("type") == "boolean":
                continue
            assert prop["type"] in ("number", "integer")
            assert prop["minimum"] <= prop["default"] <= prop["maximum"], name
            with pytest.raises(RecipeError, match=f"{name} of {re.escape(method_key)} must be .*in \\["):
                METHODS[method_key].parse({name: prop["maximum"] * 2 + 1})

    def test_every_extreme_runs_and_gives_one_finite_score_a_row(self, method_key, trained, dataset):
        for params in extremes(method_key):
            if METHODS[method_key].trains and params["epochs"] > 1:
                params = params | {"batch_size": 65536}  # one step an epoch: the number of epochs is what is tried
            scores = logits(apply(method_key, trained, dataset, **params).model, dataset)
            assert scores.shape == (len(dataset.splits["test"]),), params
            assert torch.isfinite(scores).all(), params

    def test_the_same_seed_gives_the_same_weights(self, method_key, trained, dataset):
        first, second = (apply(method_key, trained, dataset, seed=3, **METHODS[method_key].tiny).model.state_dict()
                         for _ in range(2))
        assert list(first) == list(second)
        assert all(torch.equal(first[name], second[name]) for name in first)

    def test_the_input_model_stays_as_it_was(self, method_key, trained, dataset):
        before = copy.deepcopy(trained.state_dict())
        modules = [(path, id(module)) for path, module in trained.named_modules()]
        tables = dict(trained.table_inputs)
        apply(method_key, trained, dataset, **METHODS[method_key].tiny)
        assert modules == [(path, id(module)) for path, module in trained.named_modules()]
        assert tables == trained.table_inputs
        assert list(before) == list(trained.state_dict())
        for name, tensor in trained.state_dict().items():
            assert torch.equal(tensor, before[name]), name

    def test_a_no_op_setting_changes_nothing(self, method_key, fitting, dataset):
        settings = METHODS[method_key].no_op
        if isinstance(settings, str):
            pytest.skip(f"{method_key} has none: {settings}")
        given = apply(method_key, fitting, dataset, **settings)
        assert given.changes == []
        assert list(given.model.state_dict()) == list(fitting.state_dict())
        assert torch.equal(logits(given.model, dataset), logits(fitting, dataset))

    def test_every_leaf_of_its_parts_is_changed_or_skipped_with_a_reason(self, method_key, fitting, dataset):
        given = apply(method_key, fitting, dataset, **METHODS[method_key].tiny)
        expected = {path for path, _ in leaves(fitting) if part_of(fitting, path) in METHODS[method_key].parts}
        changed, skipped = [item.module for item in given.changes], [item.module for item in given.skipped]
        assert expected <= {*changed, *skipped}
        assert len(set(changed)) == len(changed) and not set(changed) & set(skipped)
        assert all(item.reason for item in given.skipped)
        assert all(item.method == method_key for item in [*given.changes, *given.skipped])

    def test_the_estimate_by_shapes_is_what_the_result_weighs(self, method_key, architecture, fitting, dataset):
        described = describe(fitting, dataset.signature, architecture=architecture)
        expected = estimate(described, recipe_of((method_key, METHODS[method_key].tiny)))
        given = apply(method_key, fitting, dataset, **METHODS[method_key].tiny)
        real = describe(given.model, dataset.signature, architecture=architecture)
        told = sum(item.bytes_after - item.bytes_before for item in given.changes)
        assert told == real.size_bytes - described.size_bytes
        if is_bounded(method_key):
            assert real.size_bytes <= expected.size_bytes
            return
        assert {layer.name: layer.size_bytes for layer in expected.layers} == {
            layer.name: layer.size_bytes for layer in real.layers}
        assert expected.size_bytes == real.size_bytes

    def test_the_exported_file_agrees_with_torch_and_weighs_what_was_estimated(self, method_key, trained, dataset,
                                                                               tmp_path):
        given = apply(method_key, trained, dataset, **METHODS[method_key].tiny)
        exported = export_onnx(given.model, signature_of(given.model, dataset), tmp_path / "model.onnx")
        assert largest_difference(given.model, exported.path, dataset) < tolerance(given.model)
        real = describe(given.model, dataset.signature, architecture="deepfm")
        assert exported.size_bytes - exported.graph_bytes == real.size_bytes

    def test_it_composes_with_fine_tuning_and_quantised_rows(self, method_key, trained, dataset, tmp_path):
        for steps in orders(method_key):
            recipe = recipe_of(*steps)
            if not [problem for problem in check(recipe) if problem.severity == "error"]:
                break
        else:
            pytest.fail(f"{method_key} composes with neither: {check(recipe)}")
        model = apply_all(trained, dataset, *steps)
        described = describe(trained, dataset.signature, architecture="deepfm")
        real = describe(model, dataset.signature, architecture="deepfm")
        expected = estimate(described, recipe).size_bytes
        assert real.size_bytes <= expected if is_bounded(method_key) else real.size_bytes == expected
        assert torch.isfinite(logits(model, dataset)).all()
        exported = export_onnx(model, signature_of(model, dataset), tmp_path / "model.onnx")
        assert largest_difference(model, exported.path, dataset) < tolerance(model)

    def test_padding_of_a_summed_list_adds_nothing_after_it_and_a_fine_tuning(self, method_key, only_zoo, tmp_path):
        if only_zoo:
            pytest.skip("needs an architecture of the zoo")
        assert by_padding(padded()) == 0
        alone = apply(method_key, padded(), padded_data(), **METHODS[method_key].tiny).model
        assert by_padding(alone) < 1e-6
        steps = [(method_key, METHODS[method_key].tiny), (FINE_TUNE, ONE_EPOCH)]
        if not list(alone.parameters()):  # nothing is left to train
            steps.reverse()
        model = apply_all(padded(), padded_data(), *steps)
        assert by_padding(model) < 1e-6
        path = export_onnx(model, padded_data().signature, tmp_path / "model.onnx").path
        short, long = (answers(path, {name: values.numpy() for name, values in rows.items()})
                       for rows in short_and_long_lists())
        assert abs(short - long).max() < 1e-6

    def test_padding_of_a_summed_list_adds_nothing_at_any_extreme(self, method_key, only_zoo):
        if only_zoo or METHODS[method_key].trains or Part.EMBEDDING not in METHODS[method_key].parts:
            pytest.skip("leaves tables alone, trains them, or needs an architecture of the zoo")
        for params in extremes(method_key):
            assert by_padding(apply(method_key, padded(), padded_data(), **params).model) < 1e-6, params


def orders(key: str) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Recipes in which the method is first, or, where it quantises what the others need in float, last."""
    rows, own, tuned = ("embed.quantize_rows", {}), (key, METHODS[key].tiny), (FINE_TUNE, ONE_EPOCH)
    if METHODS[key].stage is not Stage.AFTER_TRAINING or not _quantises(key):
        yield [own, tuned, rows]
    yield [tuned, rows, own]
    yield [tuned, own]


def _quantises(key: str) -> bool:
    from compression.spec.effects import Effect

    method = METHODS[key]
    return bool(method.effects_of(method.parse(method.tiny)).makes.get(Effect.CODES))


@functools.cache
def padded_data() -> Dataset:
    return ordered_dataset(n_genres=40)


@functools.cache
def padded() -> nn.Module:
    """A model from elsewhere that adds up a list without a mask: zeros in row 0 stand for its padding."""
    model = build("field_ranker", padded_data().signature, {
        "embedding_dim": 8, "pooling": "sum", "skip_padding": False, "numbers": "values", "first_order": True,
        "pairs": True, "mlp": {"widths": [8, 1]}})
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _, leaf in leaves(model):
            leaf.weight.normal_(0.3, 0.7)
            if isinstance(leaf, nn.Embedding):
                leaf.weight[0] = 0
    return declare_padding(model.eval())


def short_and_long_lists() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The same rows, with one zero behind each list and with three."""
    rows = {"user": torch.tensor([3, 5]), "item": torch.tensor([2, 9]), "age": torch.tensor([0.1, -0.4])}
    lists = torch.tensor([[4, 0], [17, 0]])
    return rows | {"genres": lists}, rows | {"genres": nn.functional.pad(lists, (0, 2))}


@torch.no_grad()
def by_padding(model: nn.Module) -> float:
    """How far the length of the padding moves a logit."""
    short, long = (model.eval()(rows) for rows in short_and_long_lists())
    return float((short - long).abs().max())


def largest_difference(model: nn.Module, path: Path, dataset: Dataset) -> float:
    """max |score by ONNX Runtime − score by torch| over the test rows."""
    scores = answers(path, dataset.splits["test"].inputs)
    return float((torch.from_numpy(scores) - torch.sigmoid(logits(model, dataset))).abs().max())


def answers(path: Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """What the exported file gives on the default target, for the inputs that it has."""
    target = Target()
    with closing(RUNTIMES[target.runtime].open(path, **target.session)) as session:
        return session.answer({name: inputs[name] for name in session.input_names})


def tolerance(model: nn.Module) -> float:
    """Float agrees to rounding; integer layers may round a tie the other way, one level at a time, and fp16 too."""
    quantised = any(getattr(leaf, "rounds_activations", False) or
                    ("Linear" in type(leaf).__name__ and not isinstance(leaf, nn.Linear))
                    for _, leaf in leaves(model))
    return 1e-2 if quantised else 2e-6
