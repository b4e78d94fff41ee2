"""What things are called by their content stays the same over releases: stored runs and projects are found by it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compression.spec import recipe as recipes
from compression.spec.method import METHODS
from compression.spec.records import Recipe, RunSpec, Step, Target
from storage.digests import manifest_digest, project_key, spec_digest

RECORDED = json.loads(Path(__file__).with_name("digests.json").read_text())


@pytest.mark.parametrize("key", RECORDED["recipes"])
def test_a_recipe_with_defaults_has_the_digest_it_had(key):
    recipe = Recipe(name="any", steps=(Step(method=key),), seed=3)
    assert recipes.digest(recipe).startswith(RECORDED["recipes"][key])


def test_every_method_has_a_recorded_digest():
    assert set(RECORDED["recipes"]) == set(METHODS)


def test_models_datasets_projects_and_runs_have_the_digests_they_had():
    other = Target(device="cuda", threads=4, batch_sizes=(8,), graph_optimization="none")
    spec = RunSpec(model="m" * 64, data="d" * 64,
                   recipe=Recipe(steps=(Step(method="embed.quantize_rows", params={"n_bits": 4}),)))
    assert manifest_digest({"model.safetensors": "a" * 64, "config.json": "b" * 64}) == RECORDED["manifest"]
    assert project_key("m" * 64, "d" * 64, Target()) == RECORDED["project"]
    assert project_key("m" * 64, "d" * 64, other) == RECORDED["project, other target"]
    assert spec_digest(spec, code="fixed") == RECORDED["run"]
