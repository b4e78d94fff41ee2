"""Every ready recipe keeps its word: it runs on the models it suits, weighs what was estimated, and is smaller."""

from __future__ import annotations

import pytest

from compression.export.onnx import export_onnx
from compression.models.structure import describe, read_signature
from compression.running.run import apply_recipe
from compression.spec.method import METHODS
from compression.spec.presets import GOAL_WORDS, PRESETS, Goal, Preset, presets_for, recipe_name, step_name
from compression.spec.recipe import check, digest, dump_recipe, estimate, load_recipe, parse_step
from compression.spec.records import Layer, ModelDescription, Part, Step, Tensor
from compression.testing.method import largest_difference, tolerance
from compression.testing.steps import ordered_dataset
from compression.testing.tiny import TINY_CONFIG, TINY_FOREIGN, signature_of, tiny_model

ROOMY = {"embedding_dim": 8, "width": 32}  # wide enough for every preset to find something to do


@pytest.fixture(scope="module")
def dataset():
    return ordered_dataset(rows=1200, n_users=150, n_items=200)


def models(dataset):
    """Every architecture of the zoo and two of imported weights, small: key → (model, description)."""
    made = {}
    for key, config in TINY_CONFIG.items():
        options = {name: value for name, value in ROOMY.items() if name in config}
        model = tiny_model(key, dataset, **options)
        made[key] = (model, describe(model, dataset.signature, architecture=key))
    for key, (_, config) in TINY_FOREIGN.items():
        model = tiny_model(key, dataset, embedding_dim=16, blocks=config["blocks"] | {"feed_width": 32})
        made[key] = (model, describe(model, dataset.signature, architecture=key))
    return made


@pytest.fixture(scope="module")
def zoo(dataset):
    return models(dataset)


def quick(preset: Preset):
    """The preset's recipe with one short epoch, and no table too small for it."""
    steps = []
    for step in preset.recipe.steps:
        known = METHODS[step.method].params.model_fields
        params = dict(step.params)
        if step.method == "train.fine_tune":
            params |= {"epochs": 1, "batch_size": 1024}
        if "min_rows" in known:
            params["min_rows"] = 16
        steps.append(Step(method=step.method, params=params))
    return preset.recipe.model_copy(update={"steps": tuple(steps)})


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_it_is_written_read_and_checked_without_an_error_and_says_why_and_when(preset):
    assert digest(load_recipe(dump_recipe(preset.recipe))) == digest(preset.recipe)
    assert [one for one in check(preset.recipe) if one.severity == "error"] == []
    assert preset.summary.endswith(".") and preset.when.endswith(".") and len(preset.summary) < 160


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_it_runs_on_models_that_it_suits_and_weighs_what_was_estimated(preset, zoo, dataset, tmp_path):
    from compression.models.folder import LoadedModel

    suited = [key for key, (_, description) in zoo.items() if preset.suits(description)]
    if not suited:
        suited = ["deepfm"]  # for models of numbers: the tables stay as they are
    for key in suited[:2]:
        model, description = zoo[key]
        loaded = LoadedModel(model, signature_of(model, dataset), dataset.vocabularies, key, model.config)
        outcome = apply_recipe(loaded, quick(preset), dataset, folder=tmp_path, report=lambda progress: None)
        signature = read_signature(outcome.model, loaded.signature)
        real = describe(outcome.model, signature, architecture=key)
        expected = estimate(description, quick(preset)).size_bytes
        bound = any(METHODS[step.method].is_bounded(parse_step(step)[1]) for step in preset.recipe.steps)
        assert real.size_bytes <= expected if bound else real.size_bytes == expected
        assert real.size_bytes < description.size_bytes or preset.goal is Goal.LOSSLESS
        exported = export_onnx(outcome.model, signature, tmp_path / key / "model.onnx")
        assert largest_difference(outcome.model, exported.path, dataset) < tolerance(outcome.model)


@pytest.mark.parametrize("goal", Goal)
@pytest.mark.parametrize("architecture", TINY_CONFIG)
def test_every_goal_has_a_recipe_for_every_architecture_it_makes_sense_for(goal, architecture, zoo):
    found = presets_for(zoo[architecture][1], goal)
    assert GOAL_WORDS[goal]
    if architecture in ("lr", "fm") and goal in (Goal.CPU, Goal.GPU):
        return  # nothing but lookups: there are no products to make cheaper
    assert found


def test_an_uploaded_model_of_dense_layers_has_recipes_and_no_student():
    layers = tuple(Layer(name=f"layer_{index}", kind="Linear", part=Part.DENSE, shape=(256, 256), tensors=(
        Tensor(name=f"layer_{index}.weight", dtype="float32", shape=(256, 256)),)) for index in range(3))
    uploaded = ModelDescription(architecture="onnx", layers=layers, signature={})
    found = {one.key for one in presets_for(uploaded)}
    assert {"dense8", "dense_small", "channels", "static8", "dense_trained2", "dense_mixed", "weights4"} <= found
    assert not found & {"student", "int8", "rows8", "shallow_small"}


def test_methods_of_one_family_of_models_are_offered_where_they_have_work(zoo):
    offered = {key: {one.key for one in presets_for(description)} for key, (_, description) in zoo.items()}
    assert {key for key, found in offered.items() if "heads" in found} == set(TINY_FOREIGN)
    assert {key for key, found in offered.items() if "crosses" in found} == {"dcnv2"}
    assert {"folded", "hints"} <= offered["deepfm"] and "folded" not in offered["fm"] | offered["text_encoder"]


def test_a_step_has_the_short_name_its_method_gives():
    assert step_name(Step(method="embed.quantize_rows", params={"n_bits": 4})) == "int4 rows"
    assert step_name(Step(method="gone.for_good")) == "for good"
    assert recipe_name([Step(method="prune.channels", params={"ratio": 0.25}), Step(method="train.fine_tune")]) == (
        "25 % fewer units")
