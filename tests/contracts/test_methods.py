"""The contract of every registered method: what it declares (`tiny`, `no_op`) is run, and the rest holds for all."""

from __future__ import annotations

import copy
import functools
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from compression.export.onnx import export_onnx
from compression.models.structure import declare_padding, describe, leaves, part_of
from compression.models.uploaded import build
from compression.runtimes.options import session_options
from compression.spec.method import METHODS, Stage
from compression.spec.recipe import check, estimate
from compression.spec.records import Part
from tests.methods.given import apply, apply_all, logits, ordered_dataset, recipe_of
from tests.tiny import TINY_CONFIG, TINY_FOREIGN, signature_of, tiny_model

ROOT = Path(__file__).resolve().parents[2]
KEYS = sorted(METHODS)
ARCHITECTURES = (*TINY_CONFIG, *TINY_FOREIGN)
NEEDS_ZOO = ("distill.logits", "distill.ensemble")  # they size a student, or train a teacher, of the zoo
PAIRS = [(architecture, key) for key in KEYS for architecture in ARCHITECTURES
         if key not in NEEDS_ZOO or architecture in TINY_CONFIG]
ONE_EPOCH = {"epochs": 1, "batch_size": 256}


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


def name_of(value: Any) -> str:
    return value if isinstance(value, str) else ",".join(f"{name}={end}" for name, end in value.items())


EXTREMES = [(key, params) for key in KEYS for params in extremes(key)]


@pytest.fixture(scope="module")
def dataset():
    return ordered_dataset()


@pytest.fixture(scope="module")
def trained_for(dataset):
    """Key → a trained model, whose weights and BatchNorm statistics have something to lose.

    A DeepFM, or, for a method of layers that it lacks, the first architecture that has them.
    """
    model_of = functools.cache(lambda architecture: tiny_model(architecture, dataset, trained=True))

    @functools.cache
    def model_for(key: str):
        tried = (model_of(architecture) for architecture in ("deepfm", *ARCHITECTURES))
        return next((model for model in tried if apply(key, model, dataset, **METHODS[key].tiny).changes),
                    model_of("deepfm"))

    return model_for


@pytest.fixture
def trained(request, trained_for):
    return trained_for(request.node.callspec.params["key"])


@pytest.mark.parametrize("key", KEYS)
def test_a_method_says_when_it_does_nothing_and_works_on_tiny_tables(key, trained, dataset):
    assert METHODS[key].no_op, "give the settings at which it changes nothing, or why there are none"
    assert apply(key, trained, dataset, **METHODS[key].tiny).changes


@pytest.mark.parametrize("key", KEYS)
def test_every_parameter_reaches_a_slider_with_both_bounds_and_a_help_text(key):
    for name, prop in properties(key).items():
        assert prop.get("description"), f"{name} has no help text"
        if "enum" in prop or "const" in prop or prop.get("type") == "boolean":
            continue
        assert prop["type"] in ("number", "integer")
        assert prop["minimum"] <= prop["default"] <= prop["maximum"], name
        with pytest.raises(Exception, match=f"{name} of {re.escape(key)} must be .*in \\["):
            METHODS[key].parse({name: prop["maximum"] * 2 + 1})


@pytest.mark.parametrize(("key", "params"), EXTREMES, ids=name_of)
def test_every_extreme_runs_and_gives_one_finite_score_a_row(key, params, trained, dataset):
    if key == "train.fine_tune" and (params["epochs"] > 1):
        params = params | {"batch_size": 65536}  # one step an epoch: the number of epochs is what is tried
    given = apply(key, trained, dataset, **params)
    scores = logits(given.model, dataset)
    assert scores.shape == (len(dataset.splits["test"]),)
    assert torch.isfinite(scores).all()


@pytest.mark.parametrize("key", KEYS)
def test_the_same_seed_gives_the_same_weights(key, trained, dataset):
    first, second = (apply(key, trained, dataset, seed=3, **METHODS[key].tiny).model.state_dict() for _ in range(2))
    assert list(first) == list(second)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("key", KEYS)
def test_the_input_model_stays_as_it_was(key, trained, dataset):
    before = copy.deepcopy(trained.state_dict())
    modules = [(path, id(module)) for path, module in trained.named_modules()]
    tables = dict(trained.table_inputs)
    apply(key, trained, dataset, **METHODS[key].tiny)
    assert modules == [(path, id(module)) for path, module in trained.named_modules()]
    assert tables == trained.table_inputs
    assert list(before) == list(trained.state_dict())
    for name, tensor in trained.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize(("architecture", "key"), [(architecture, key) for architecture, key in PAIRS
                                                   if isinstance(METHODS[key].no_op, dict)])
def test_a_no_op_setting_changes_nothing(key, architecture, dataset):
    model = tiny_model(architecture, dataset)
    given = apply(key, model, dataset, **METHODS[key].no_op)
    assert given.changes == []
    assert list(given.model.state_dict()) == list(model.state_dict())
    assert torch.equal(logits(given.model, dataset), logits(model, dataset))


@pytest.mark.parametrize(("architecture", "key"), PAIRS)
def test_every_leaf_of_the_methods_parts_is_changed_or_skipped_with_a_reason(key, architecture, dataset):
    model = tiny_model(architecture, dataset)
    given = apply(key, model, dataset, **METHODS[key].tiny)
    expected = {path for path, _ in leaves(model) if part_of(model, path) in METHODS[key].parts}
    changed, skipped = [item.module for item in given.changes], [item.module for item in given.skipped]
    assert expected <= {*changed, *skipped}
    assert len(set(changed)) == len(changed) and not set(changed) & set(skipped)
    assert all(item.reason for item in given.skipped)
    assert all(item.method == key for item in [*given.changes, *given.skipped])


@pytest.mark.parametrize(("architecture", "key"), PAIRS)
def test_the_estimate_by_shapes_is_what_the_result_weighs(key, architecture, dataset):
    model = tiny_model(architecture, dataset)
    described = describe(model, dataset.signature, architecture=architecture)
    expected = estimate(described, recipe_of((key, METHODS[key].tiny)))
    given = apply(key, model, dataset, **METHODS[key].tiny)
    real = describe(given.model, dataset.signature, architecture=architecture)
    assert sum(item.bytes_after - item.bytes_before for item in given.changes) == real.size_bytes - described.size_bytes
    if METHODS[key].estimate_is_bound:
        assert real.size_bytes <= expected.size_bytes
        return
    assert {layer.name: layer.size_bytes for layer in expected.layers} == {
        layer.name: layer.size_bytes for layer in real.layers}
    assert expected.size_bytes == real.size_bytes


@pytest.mark.parametrize("key", KEYS)
def test_the_exported_file_agrees_with_torch_and_weighs_what_was_estimated(key, trained, dataset, tmp_path):
    given = apply(key, trained, dataset, **METHODS[key].tiny)
    exported = export_onnx(given.model, signature_of(given.model, dataset), tmp_path / "model.onnx")
    assert largest_difference(given.model, exported.path, dataset) < tolerance(given.model)
    real = describe(given.model, dataset.signature, architecture="deepfm")
    assert exported.size_bytes - exported.graph_bytes == real.size_bytes


@pytest.mark.parametrize("key", [key for key in KEYS if key != "train.fine_tune"])
def test_it_composes_with_fine_tuning_and_quantised_rows(key, trained, dataset, tmp_path):
    steps = [(key, METHODS[key].tiny), ("train.fine_tune", ONE_EPOCH), ("embed.quantize_rows", {})]
    if METHODS[key].stage is Stage.AFTER_TRAINING and key.startswith(("quantize.", "embed.quantize")):  # comes last
        steps = [("train.fine_tune", ONE_EPOCH)] + ([("embed.quantize_rows", {})] if "embed" not in key else [])
        steps.append((key, METHODS[key].tiny))
    recipe = recipe_of(*steps)
    assert not [problem for problem in check(recipe) if problem.severity == "error"]
    model = apply_all(trained, dataset, *steps)
    described = describe(trained, dataset.signature, architecture="deepfm")
    real = describe(model, dataset.signature, architecture="deepfm")
    expected = estimate(described, recipe).size_bytes
    assert real.size_bytes <= expected if METHODS[key].estimate_is_bound else real.size_bytes == expected
    assert torch.isfinite(logits(model, dataset)).all()
    exported = export_onnx(model, signature_of(model, dataset), tmp_path / "model.onnx")
    assert largest_difference(model, exported.path, dataset) < tolerance(model)


HYBRID = (
    ("distill.logits", {"embedding_ratio": 1.0}), ("embed.prune_rows", {"min_rows": 2}), ("factorize.svd", {}),
    ("prune.channels", {}), ("prune.magnitude", {"schedule": "cubic", "weights": "both"}),
    ("train.fine_tune", ONE_EPOCH), ("embed.quantize_rows", {"min_rows": 2}), ("quantize.dynamic", {"min_features": 4}),
)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_eight_steps_in_a_row_weigh_what_was_estimated(architecture, dataset):
    model = tiny_model(architecture, dataset)
    steps = [step for step in HYBRID if step[0] not in NEEDS_ZOO or architecture in TINY_CONFIG]
    assert not [problem for problem in check(recipe_of(*steps)) if problem.severity == "error"]
    described = describe(model, dataset.signature, architecture=architecture)
    result = apply_all(model, dataset, *steps)
    real = describe(result, dataset.signature, architecture=architecture)
    assert estimate(described, recipe_of(*steps)).size_bytes == real.size_bytes
    assert real.size_bytes < (0.4 if architecture in TINY_CONFIG else 0.9) * described.size_bytes
    assert torch.isfinite(logits(result, dataset)).all()


@pytest.fixture(scope="module")
def padded_data():
    return ordered_dataset(n_genres=40)


@pytest.fixture
def padded(padded_data):
    """A model from elsewhere that adds up a list without a mask: zeros in row 0 stand for its padding."""
    model = build("field_ranker", padded_data.signature, {
        "embedding_dim": 8, "pooling": "sum", "skip_padding": False, "numbers": "values", "first_order": True,
        "pairs": True, "mlp": {"widths": [8, 1]}})
    with torch.no_grad():
        for _, leaf in leaves(model):
            leaf.weight.normal_(0.3, 0.7)
            if isinstance(leaf, torch.nn.Embedding):
                leaf.weight[0] = 0
    return declare_padding(model.eval())


def short_and_long_lists() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The same rows, with one zero behind each list and with three."""
    rows = {"user": torch.tensor([3, 5]), "item": torch.tensor([2, 9]), "age": torch.tensor([0.1, -0.4])}
    lists = torch.tensor([[4, 0], [17, 0]])
    return rows | {"genres": lists}, rows | {"genres": torch.nn.functional.pad(lists, (0, 2))}


def by_padding(model) -> float:
    """How far the length of the padding moves a logit."""
    with torch.no_grad():
        short, long = (model.eval()(rows) for rows in short_and_long_lists())
    return float((short - long).abs().max())


@pytest.mark.parametrize("key", [key for key in KEYS if key not in NEEDS_ZOO])
def test_padding_of_a_summed_list_adds_nothing_after_it_and_a_fine_tuning(key, padded, padded_data, tmp_path):
    import onnxruntime

    assert by_padding(padded) == 0
    alone = apply(key, padded, padded_data, **METHODS[key].tiny).model
    assert by_padding(alone) < 1e-6
    steps = [(key, METHODS[key].tiny), ("train.fine_tune", ONE_EPOCH)]
    if not list(alone.parameters()):  # nothing is left to train
        steps.reverse()
    model = apply_all(padded, padded_data, *steps)
    assert by_padding(model) < 1e-6
    path = export_onnx(model, padded_data.signature, tmp_path / "model.onnx").path
    session = onnxruntime.InferenceSession(path, session_options(), providers=["CPUExecutionProvider"])
    short, long = (session.run(None, {item.name: rows[item.name].numpy() for item in session.get_inputs()})[0]
                   for rows in short_and_long_lists())
    assert abs(short - long).max() < 1e-6


@pytest.mark.parametrize(("key", "params"), [(key, params) for key, params in EXTREMES
                                             if Part.EMBEDDING in METHODS[key].parts and key not in NEEDS_ZOO
                                             and key != "train.fine_tune"], ids=name_of)
def test_padding_of_a_summed_list_adds_nothing_at_any_extreme(key, params, padded, padded_data):
    assert by_padding(apply(key, padded, padded_data, **params).model) < 1e-6


@pytest.mark.parametrize("key", KEYS)
def test_a_card_exists_and_names_title_source_and_every_parameter(key):
    card = (ROOT / "docs" / "methods" / f"{key}.md").read_text(encoding="utf-8")
    chosen = METHODS[key]
    assert chosen.title in card
    for reference in re.findall(r"arXiv:[\d.]+\d|[A-Z]\w+(?: et al\.| & \w+)? \d{4}", chosen.source):
        assert reference in card, reference
    for name in chosen.params.model_fields:
        assert f"`{name}`" in card, name
    for heading in ("When to use", "When not", "Cost", "Measured here"):
        assert heading in card, heading


def largest_difference(model, path, dataset) -> float:
    """max |score by ONNX Runtime − score by torch| over the test rows."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, session_options(), providers=["CPUExecutionProvider"])
    inputs = dataset.splits["test"].inputs
    scores = session.run(None, {item.name: inputs[item.name] for item in session.get_inputs()})[0]
    return float((torch.from_numpy(scores) - torch.sigmoid(logits(model, dataset))).abs().max())


def tolerance(model) -> float:
    """Float agrees to rounding; integer layers may round a tie the other way, one level at a time, and fp16 too."""
    quantised = any(getattr(leaf, "rounds_activations", False) or
                    ("Linear" in type(leaf).__name__ and not isinstance(leaf, torch.nn.Linear))
                    for _, leaf in leaves(model))
    return 1e-2 if quantised else 2e-6
