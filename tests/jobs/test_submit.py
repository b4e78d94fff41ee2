"""What is refused before it is queued."""

import pytest

from compression.spec.errors import RecipeError
from compression.spec.records import Recipe, Step
from jobs.submit import submit, submit_many
from tests.storage.given import as_person, run_spec


def spec_with(store, *steps):
    return run_spec(store).model_copy(update={"recipe": Recipe(name="broken", steps=steps)})


def test_a_recipe_with_an_error_is_refused_with_its_step(store):
    step = Step(method="prune.magnitude", params={"sparsity": 1.2})
    with pytest.raises(RecipeError, match=r"'broken' can't be queued. Step 1: sparsity of prune.magnitude must be"):
        submit(store, spec_with(store, step))
    assert store.jobs().total == 0


def test_one_broken_recipe_keeps_the_whole_sweep_out_of_the_queue(store):
    good, bad = run_spec(store), spec_with(store, Step(method="magic"))
    with pytest.raises(RecipeError, match="'sweep 2' can't be queued"):
        submit_many(store, [("sweep 1", good), ("sweep 2", bad)])
    assert store.jobs().total == 0


def test_a_good_recipe_is_queued_with_its_parent_and_owner(store):
    first = submit(as_person(store, "anna"), run_spec(store))
    clone = submit(as_person(store, "bert"), run_spec(store, seed=1), parent=first)
    assert (store.job(clone).parent, store.job(clone).owner) == (first, "bert")
