"""Head pruning: heads that do nothing go first and nothing is lost, the rest is ordinary attention, cut exactly."""

from __future__ import annotations

import pytest
import torch

from compression.data import rows_that_fit
from compression.data.batches import to_device
from compression.export.onnx import export_onnx
from compression.methods.prune.heads import HeadsParams, kept_heads
from compression.models.structure import attentions, describe
from compression.observe.saliency import head_scores
from compression.spec.errors import RecipeError
from compression.spec.method import METHODS
from compression.spec.recipe import check, estimate
from compression.testing.method import largest_difference
from compression.testing.steps import apply, apply_all, logits, ordered_dataset, recipe_of
from compression.testing.tiny import TINY_FOREIGN, signature_of, tiny_model
from compression.train.losses import binary_cross_entropy

KEY, WIDTH = "prune.heads", 2  # eight columns, four heads


@pytest.fixture(scope="module")
def dataset():
    return ordered_dataset()


@pytest.fixture(scope="module", params=TINY_FOREIGN)
def model(request, dataset):
    return tiny_model(request.param, dataset, trained=True)


def without(model, silent: dict[str, tuple[int, ...]]):
    """The model with heads whose answers reach nothing: path of an attention → those heads."""
    import copy

    model = copy.deepcopy(model)
    for path, heads in silent.items():
        for head in heads:
            model.get_submodule(path).out.weight.data[:, WIDTH * head:WIDTH * (head + 1)] = 0
    return model


@pytest.mark.parametrize("criterion", ["taylor", "norm"])
def test_heads_that_reach_nothing_go_first_and_the_scores_stay(model, dataset, criterion):
    silenced = without(model, {"blocks.0.attention": (0, 2), "blocks.1.attention": (1, 3)})
    given = apply(KEY, silenced, dataset, ratio=0.5, criterion=criterion, n_batches=2)
    assert torch.allclose(logits(given.model, dataset), logits(silenced, dataset), atol=1e-5)
    for path, kept in (("blocks.0.attention", (1, 3)), ("blocks.1.attention", (0, 2))):
        old, new = silenced.get_submodule(path), given.model.get_submodule(path)
        rows = torch.tensor([WIDTH * head + column for head in kept for column in range(WIDTH)])
        assert new.heads == 2 and torch.equal(new.key.weight, old.key.weight[rows])
        assert torch.equal(new.out.weight, old.out.weight[:, rows]) and torch.equal(new.out.bias, old.out.bias)
    assert {item.detail for item in given.changes} == {"2 of 4 heads kept"} and len(given.changes) == 8


@pytest.mark.parametrize("bytes_kept", [1, 1 << 29])
def test_a_head_is_worth_how_far_the_loss_of_rows_moves_with_its_gate(model, dataset, monkeypatch, bytes_kept):
    """Michel et al. 2019, equation 2, against differences of the loss of single rows; in batches of any size."""
    monkeypatch.setattr(rows_that_fit, "BATCH_BYTES", bytes_kept)
    rows = to_device(dataset.splits["train"])
    path, attention = next(attentions(model))
    found = head_scores(model, {path: attention}, rows, loss=binary_cross_entropy, batch_size=64, n_batches=1,
                        generator=torch.Generator().manual_seed(0))[path]
    index = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:64]
    assert all(weight.requires_grad for weight in model.parameters())
    batch, label = rows.take(index)

    def losses(head: int, gate: float) -> torch.Tensor:
        trial = without(model, {})
        trial.get_submodule(path).out.weight.data[:, WIDTH * head:WIDTH * (head + 1)] *= gate
        with torch.no_grad():
            return torch.nn.functional.binary_cross_entropy_with_logits(trial.double()(batch), label.double(),
                                                                        reduction="none")

    for head in range(attention.heads):
        slope = (losses(head, 1 + 1e-4) - losses(head, 1 - 1e-4)) / 2e-4
        assert float(found[head]) == pytest.approx(float(slope.abs().mean()), rel=2e-2, abs=1e-7)


def test_activations_are_bounded_by_bytes_and_a_row_is_asked_once(model, dataset, monkeypatch):
    seen: list[int] = []
    handle = model.register_forward_pre_hook(lambda module, given: seen.append(len(next(iter(given[0].values())))))
    monkeypatch.setattr(rows_that_fit, "BATCH_BYTES", 300_000)
    rows = to_device(dataset.splits["train"])
    head_scores(model, dict(attentions(model)), rows, loss=binary_cross_entropy, batch_size=512, n_batches=500,
                generator=torch.Generator().manual_seed(0))
    handle.remove()
    probed, asked = seen[:2], seen[2:]
    assert probed == [2, 4] and sum(asked) == len(rows) and max(asked) < 100


def test_one_head_stays_whatever_the_ratio(model, dataset):
    assert [kept_heads(4, HeadsParams(ratio=ratio)) for ratio in (0, 0.25, 0.5, 0.75, 0.95)] == [4, 3, 2, 1, 1]
    given = apply(KEY, model, dataset, ratio=0.95, n_batches=1)
    assert {module.heads for _, module in attentions(given.model)} == {1}
    again = apply(KEY, given.model, dataset, ratio=0.95, n_batches=1)
    assert not again.changes and "all 1 heads are kept" in {item.reason for item in again.skipped}


@pytest.mark.slow
def test_it_composes_weighs_what_was_estimated_and_answers_alike_in_onnx(model, dataset, tmp_path):
    steps = [(KEY, {"ratio": 0.25, "n_batches": 1}), ("prune.channels", {"round_to": 1}),
             (KEY, {"ratio": 0.5, "criterion": "norm"}), ("train.fine_tune", {"epochs": 1, "batch_size": 256})]
    assert not check(recipe_of(*steps))
    signature = signature_of(model, dataset)
    expected = estimate(describe(model, signature, architecture=model.architecture), recipe_of(*steps))
    smaller = apply_all(model, dataset, *steps)
    real = describe(smaller, signature, architecture=model.architecture)
    assert {layer.name: (layer.size_bytes, layer.heads) for layer in real.layers} == {
        layer.name: (layer.size_bytes, layer.heads) for layer in expected.layers}
    exported = export_onnx(smaller, signature, tmp_path / "model.onnx")
    whole = export_onnx(model, signature, tmp_path / "whole.onnx")
    assert largest_difference(smaller, exported.path, dataset) < 2e-6
    assert exported.size_bytes < whole.size_bytes


def test_it_says_which_models_it_suits_and_asks_for_data(model, dataset):
    described = describe(model, dataset.signature, architecture=model.architecture)
    assert METHODS[KEY].why_not(described) == ""
    other = describe(tiny_model("deepfm", dataset), dataset.signature, architecture="deepfm")
    assert METHODS[KEY].why_not(other).startswith("This model has no attention with several heads")
    with pytest.raises(RecipeError, match="run the recipe with a dataset, or set criterion to norm"):
        apply(KEY, model, None)
    assert apply(KEY, model, None, criterion="norm").changes


def test_quantised_projections_are_left_alone(model, dataset):
    assert "move it before step 1" in check(recipe_of(("quantize.dynamic", {}), (KEY, {})))[0].message
    coded = apply("quantize.weights", model, dataset, min_features=4, skip_output=False).model
    assert not apply(KEY, coded, dataset, n_batches=1).changes
