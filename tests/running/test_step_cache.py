"""The cache of steps: a common beginning is computed once, and what comes from it is the same to the bit."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from compression.models.folder import LoadedModel
from compression.models.snapshot import read_snapshot, write_snapshot
from compression.running import step_cache
from compression.running.run import apply_recipe
from compression.running.step_cache import Kept, StepCache, cache_bytes, entries, evict, taken_sentence
from compression.spec.method import METHODS
from compression.spec.records import Recipe
from compression.testing.steps import apply, logits, ordered_dataset, recipe_of
from compression.testing.tiny import tiny_model
from compression.train.identity import fingerprint

FINE_TUNE = ("train.fine_tune", {"epochs": 1, "batch_size": 256})
INT8 = ("embed.quantize_rows", {"n_bits": 8, "min_rows": 1})
DENSE = ("quantize.dynamic", {"min_features": 4})
ORIGIN = ("m", "d")
GRADUAL = ("prune.magnitude", {"sparsity": 0.8, "schedule": "cubic"})


@pytest.fixture(scope="module")
def dataset():
    return ordered_dataset()


@pytest.fixture(scope="module")
def loaded(dataset) -> LoadedModel:
    model = tiny_model("deepfm", dataset)
    return LoadedModel(model, dataset.signature, dataset.vocabularies, "deepfm", model.config)


@pytest.fixture(autouse=True)
def _slow_disk_is_no_matter(monkeypatch):
    monkeypatch.setattr(step_cache, "DISK_BYTES_PER_S", 1e12)  # tiny models: every step is worth keeping


def follow(loaded: LoadedModel, dataset, recipe: Recipe, folder: Path, cache: StepCache | None = None):
    return apply_recipe(loaded, recipe, dataset, folder=folder, report=lambda progress: None, cache=cache)


def equal(first: nn.Module, second: nn.Module) -> bool:
    ours, theirs = first.state_dict(), second.state_dict()
    return list(ours) == list(theirs) and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_common_beginning_is_computed_once_and_gives_the_very_same_model(loaded, dataset, tmp_path):
    cache = StepCache(tmp_path / "steps", ORIGIN)
    first = follow(loaded, dataset, recipe_of(FINE_TUNE, INT8), tmp_path / "a", cache)
    second = follow(loaded, dataset, recipe_of(FINE_TUNE, INT8, DENSE), tmp_path / "b", cache)
    alone = follow(loaded, dataset, recipe_of(FINE_TUNE, INT8, DENSE), tmp_path / "c")
    assert (first.cached_steps, second.cached_steps, alone.cached_steps) == (0, 2, 0)
    assert equal(second.model, alone.model)
    assert torch.equal(logits(second.model, dataset), logits(alone.model, dataset))
    assert (second.changes, second.skipped) == (alone.changes, alone.skipped)


def test_training_after_the_cut_draws_the_same_numbers(loaded, dataset, tmp_path):
    cache = StepCache(tmp_path / "steps", ORIGIN)
    narrower = ("prune.channels", {"ratio": 0.25})
    recipe = recipe_of(narrower, FINE_TUNE, INT8)
    follow(loaded, dataset, recipe_of(narrower), tmp_path / "a", cache)
    cached = follow(loaded, dataset, recipe, tmp_path / "b", cache)
    assert cached.cached_steps == 1
    assert equal(cached.model, follow(loaded, dataset, recipe, tmp_path / "c").model)


def test_no_cut_is_made_while_a_hook_waits_for_its_training(loaded, dataset, tmp_path):
    cache = StepCache(tmp_path / "steps", ORIGIN)
    follow(loaded, dataset, recipe_of(GRADUAL, FINE_TUNE, DENSE), tmp_path / "a", cache)
    assert len(entries(cache.folder)) == 2  # after fine-tuning and after quantising, not after pruning
    other = follow(loaded, dataset, recipe_of(GRADUAL, ("train.fine_tune", {"epochs": 2, "batch_size": 256})),
                   tmp_path / "b", cache)
    assert other.cached_steps == 0
    again = follow(loaded, dataset, recipe_of(GRADUAL, FINE_TUNE, INT8), tmp_path / "c", cache)
    assert again.cached_steps == 2
    assert equal(again.model, follow(loaded, dataset, recipe_of(GRADUAL, FINE_TUNE, INT8), tmp_path / "d").model)


@pytest.mark.parametrize("origin", [("other model", "d"), ("m", "other data"), ("m", "d", "other code")])
def test_another_model_dataset_or_code_shares_nothing(loaded, dataset, tmp_path, origin):
    follow(loaded, dataset, recipe_of(INT8), tmp_path / "a", StepCache(tmp_path / "steps", ORIGIN))
    other = follow(loaded, dataset, recipe_of(INT8), tmp_path / "b", StepCache(tmp_path / "steps", origin))
    assert other.cached_steps == 0


def test_another_seed_or_setting_shares_nothing_and_another_name_everything(loaded, dataset, tmp_path):
    cache = StepCache(tmp_path / "steps", ORIGIN)
    recipe = recipe_of(INT8)
    follow(loaded, dataset, recipe, tmp_path / "a", cache)
    for other in (recipe.model_copy(update={"seed": 1}), recipe_of(("embed.quantize_rows", {"n_bits": 4}))):
        assert cache.longest(other) is None
    assert cache.longest(recipe.model_copy(update={"name": "renamed"})).steps == 1
    spelled_out = recipe_of(("embed.quantize_rows", {**INT8[1], "granularity": "row"}))
    assert cache.longest(spelled_out).steps == 1  # a default written out is the same step


def test_the_entries_used_longest_ago_make_room(loaded, dataset, tmp_path):
    cache = StepCache(tmp_path / "steps", ORIGIN, limit_bytes=10**8)
    recipes = [recipe_of(("embed.quantize_rows", {"n_bits": bits, "min_rows": 1})) for bits in (8, 4, 2)]
    for age, recipe in enumerate(recipes):
        follow(loaded, dataset, recipe, tmp_path / "a", cache)
        newest = entries(cache.folder)[-1][2]
        os.utime(newest, (1000 + age, 1000 + age))
    assert cache.longest(recipes[0]).steps == 1  # reading renews
    sizes = [size for _, size, _ in entries(cache.folder)]
    assert evict(cache.folder, sum(sizes) - 1) == 1
    assert [cache.longest(recipe) is not None for recipe in recipes] == [True, False, True]
    assert evict(cache.folder, 0) == 2 and cache_bytes(cache.folder) == 0


def test_a_model_larger_than_the_limit_or_cheaper_than_writing_it_is_not_kept(loaded, dataset, tmp_path, monkeypatch):
    follow(loaded, dataset, recipe_of(INT8), tmp_path / "a", StepCache(tmp_path / "steps", ORIGIN, limit_bytes=100))
    monkeypatch.setattr(step_cache, "DISK_BYTES_PER_S", 1)
    follow(loaded, dataset, recipe_of(INT8), tmp_path / "b", StepCache(tmp_path / "steps", ORIGIN))
    assert not entries(tmp_path / "steps")


def test_a_torn_or_foreign_entry_is_computed_again(loaded, dataset, tmp_path):
    cache = StepCache(tmp_path / "steps", ORIGIN)
    follow(loaded, dataset, recipe_of(INT8), tmp_path / "a", cache)
    (_, _, file), = entries(cache.folder)
    for content in (file.read_bytes()[:-500], b"", b"not a model at all"):
        file.write_bytes(content)
        assert follow(loaded, dataset, recipe_of(INT8), tmp_path / "b", cache).cached_steps == 0
        assert follow(loaded, dataset, recipe_of(INT8), tmp_path / "c", cache).cached_steps == 1  # written anew


def test_a_full_disk_does_not_fail_the_run(loaded, dataset, tmp_path):
    (tmp_path / "steps").write_text("a file where the folder should be")
    outcome = follow(loaded, dataset, recipe_of(INT8), tmp_path / "a", StepCache(tmp_path / "steps", ORIGIN))
    assert outcome.changes and outcome.cached_steps == 0


def test_two_workers_may_keep_the_same_step_at_once(loaded, dataset, tmp_path):
    cache = StepCache(tmp_path / "steps", ORIGIN)
    model = apply("embed.quantize_rows", loaded.module, dataset, min_rows=1).model
    kept = Kept(1, model, [], [])
    threads = [threading.Thread(target=cache.keep, args=(recipe_of(INT8), kept), kwargs={"seconds": 9.0})
               for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(cache.folder.iterdir())) == 1
    assert equal(cache.longest(recipe_of(INT8)).model, model)


class Stranger(nn.Module):
    """A module of nobody's: no layer of torch or of this project."""


def test_nothing_but_layers_is_read(tmp_path):
    class Runs:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    assert not write_snapshot(tmp_path / "stranger", nn.Sequential(Stranger()), {})
    torch.save({"model": Runs(), "notes": {}}, tmp_path / "hostile")
    assert read_snapshot(tmp_path / "hostile") is None
    assert not (tmp_path / "ran").exists()
    assert [file.name for file in tmp_path.iterdir()] == ["hostile"]


@pytest.mark.parametrize("key", sorted(METHODS))
def test_what_every_method_leaves_behind_can_be_kept(key, loaded, dataset, tmp_path):
    model = apply(key, loaded.module, dataset, **METHODS[key].tiny).model
    assert write_snapshot(tmp_path / "model", model, {"steps": 1})
    found, notes = read_snapshot(tmp_path / "model")
    assert notes == {"steps": 1}
    assert equal(found, model) and torch.equal(logits(found, dataset), logits(model, dataset))
    assert found.table_inputs == model.table_inputs
    assert fingerprint(found) == fingerprint(model)  # the training after it goes on from the same checkpoint


def test_the_sentence_says_which_steps():
    assert taken_sentence(0) == ""
    assert taken_sentence(1).startswith("Step 1 was taken from the cache")
    assert taken_sentence(2).startswith("Steps 1–2 were taken from the cache")
