"""From what a person asked for to queued jobs, refusing at once what could only fail later."""

from __future__ import annotations

from collections.abc import Sequence

from compression.spec import recipe as recipes
from compression.spec.errors import RecipeError
from compression.spec.records import JobSpec, RunSpec
from storage.store import Store


def submit(store: Store, spec: JobSpec, *, name: str = "", parent: int | None = None, fresh: bool = False) -> int:
    """Queue one job; gives its id. See submit_many."""
    return submit_many(store, [(name, spec)], parent=parent, fresh=fresh)[0]


def submit_many(store: Store, jobs: Sequence[tuple[str, JobSpec]], *, parent: int | None = None,
                fresh: bool = False) -> list[int]:
    """Queue (name, spec) pairs, all or none; gives their ids in order.

    An equal run that is done already ends the new one at once with the same result (`Job.cached_from`), unless
    `fresh`. Raises RecipeError for a recipe that can't run, StorageError for a model or dataset that isn't stored.
    """
    for name, spec in jobs:
        if isinstance(spec, RunSpec):
            refuse_errors(spec, name)
    return store.submit_many(jobs, parent=parent, fresh=fresh)


def refuse_errors(spec: RunSpec, name: str = "") -> None:
    """Raise RecipeError with every error that `recipe.check` finds; warnings pass."""
    errors = [problem for problem in recipes.check(spec.recipe) if problem.severity == "error"]
    if errors:
        title = name or spec.recipe.name
        raise RecipeError(f"{title!r} can't be queued. " + " ".join(
            f"Step {problem.step + 1}: {problem.message}" for problem in errors))
