"""What things are called by their content stays the same over releases: stored runs and projects are found by it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from compression.spec import recipe as recipes
from compression.spec.digests import LATER, digested
from compression.spec.method import METHODS, Params
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


class OlderParams(Params):
    """Parameters of a method as its first release had them."""

    rank: int = Field(4, ge=1, le=64)


class NewerParams(OlderParams):
    """The same method with a parameter more, at whose default it does what it always did."""

    steps: Annotated[int, Field(ge=0, le=9), LATER] = 0


def test_a_field_that_came_later_counts_only_where_it_differs_from_its_default():
    assert digested(NewerParams(rank=8)) == digested(OlderParams(rank=8)) == {"rank": 8}
    assert digested(NewerParams(rank=8, steps=0)) == digested(NewerParams(rank=8))
    assert digested(NewerParams(steps=3)) == {"rank": 4, "steps": 3}


def test_a_target_of_another_runtime_is_another_project():
    other = Target().model_copy(update={"runtime": "another"})
    assert digested(other) == digested(Target()) | {"runtime": "another"}
    assert project_key("m" * 64, "d" * 64, other) != project_key("m" * 64, "d" * 64, Target())


def test_a_stored_target_that_names_no_runtime_has_the_default_one():
    assert Target.model_validate_json('{"device": "cpu", "threads": 2}') == Target(threads=2, runtime="onnxruntime")
