"""What Compare draws from: the runs of a project, and what differs between a few of them. No widgets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from compression.spec.errors import RecipeError
from compression.spec.recipe import parse_step
from compression.spec.records import Recipe
from compression.tasks.recommend import Limits, Recommendation, recommend
from compression.tasks.units import format_value, metric_of, metric_title
from plots.pareto import ParetoPoint, pareto_points
from storage.records import Point, Project
from storage.store import Store
from ui.shared.result_table import metric_keys

TABLE_ROWS = 500
DRAWN = 2000  # points in a figure; beyond, dominated points that share a cell are drawn once
CELLS = 160


@st.cache_resource(show_spinner=False, max_entries=8, ttl=300)
def project_points(_store: Store, _project: Project, of: tuple) -> list[Point]:
    """Every finished run of a project; read again only when `of`, its revision, has changed."""
    # frozen points are shared between sessions, never copied
    return _store.points(_project.model, _project.data, project=_project.key)


@st.cache_resource(show_spinner=False, max_entries=64, ttl=300)
def placed_points(_points: Sequence[Point], of: tuple, x: str, y: str) -> list[ParetoPoint]:
    """The points placed on two axes. `of` names the points: equal names are placed once."""
    return pareto_points(_points, x, y)


@st.cache_resource(show_spinner=False, max_entries=64, ttl=300)
def recommended(_points: Sequence[Point], of: tuple, limits: Limits) -> Recommendation:
    """The run to take, on every page. `of` names the points: equal names are judged once."""
    return recommend(_points, limits)


def revision(store: Store, project: Project) -> tuple:
    """Changes when a run of the project is finished or taken away; home folder and workspace are part of it."""
    newest = store.jobs(project=project.key, states=["done"], per_page=1)
    return (str(store.home), store.access.workspace, project.key, newest.total,
            newest.items[0].id if newest.items else 0)


def chosen_points(points: Sequence[Point], runs: Sequence[int], text: str) -> list[Point]:
    """The runs of the view: those of the link, or those whose name contains the text."""
    kept, wanted = set(runs), text.strip().lower()
    return [point for point in points if (not kept or point.job_id in kept) and wanted in point.name.lower()]


def thinned(points: list[ParetoPoint], keep: set[int]) -> list[ParetoPoint]:
    """At most about DRAWN points: beaten points of one cell of a fine grid are drawn once, all others stay."""
    if len(points) <= DRAWN:
        return points
    xs, ys = [point.x for point in points], [point.y for point in points]
    x0, y0 = min(xs), min(ys)
    width, height = (max(xs) - x0) or 1.0, (max(ys) - y0) or 1.0
    seen: set[tuple[int, int]] = set()
    found = []
    for point in points:
        if point.on_front or point.is_baseline or point.job_id in keep:
            found.append(point)
            continue
        cell = (int((point.x - x0) / width * CELLS), int((point.y - y0) / height * CELLS))
        if cell not in seen and len(found) < DRAWN:
            seen.add(cell)
            found.append(point)
    return found


def table_order(points: Sequence[Point], placed: Sequence[ParetoPoint], asked: set[int]) -> list[Point]:
    """Rows of the table: the front, then the rest by newest; at most TABLE_ROWS, and those asked for beyond.

    A run that is ticked or picked stays where it is: rows that moved under the pointer would be ticked by mistake.
    """
    front = {point.job_id for point in placed if point.on_front}
    ranked = sorted(points, key=lambda point: (point.job_id not in front, -point.job_id))
    return ranked[:TABLE_ROWS] + [point for point in ranked[TABLE_ROWS:] if point.job_id in asked]


def differing(runs: Sequence[tuple[str, Recipe, Point]]) -> list[dict[str, str]]:
    """Rows of what differs between runs: numbers, then steps and their parameters. What is equal is left out."""
    rows = []
    for key in metric_keys([point for _, _, point in runs]):
        values = [point.values.get(key) for _, _, point in runs]
        rows.append((metric_title(key), _marked(key, [value.value if value else None for value in values])))
    recipes = [_settings(recipe) for _, recipe, _ in runs]
    names = list(dict.fromkeys(name for settings in recipes for name in settings))
    rows += [(name, [str(settings.get(name, "—")) for settings in recipes]) for name in names]
    titles = [title for title, _, _ in runs]
    return [{"What": name, **dict(zip(titles, values, strict=True))} for name, values in rows if len(set(values)) > 1]


def _settings(recipe: Recipe) -> dict[str, Any]:
    """Every setting of a recipe by a readable name, defaults filled in."""
    found: dict[str, Any] = {"steps": " → ".join(step.method for step in recipe.steps) or "none", "seed": recipe.seed}
    for index, step in enumerate(recipe.steps):
        again = sum(other.method == step.method for other in recipe.steps[:index])
        try:
            params = parse_step(step)[1].model_dump(mode="json")
        except RecipeError:  # a method that has gone since: its settings are shown as they were stored
            params = step.params
        for name, value in params.items():
            found[f"{step.method}{f' ({again + 1})' if again else ''} · {name}"] = value
    return found


def _marked(key: str, values: list[float | None]) -> list[str]:
    """Values in words, the best marked."""
    known = [value for value in values if value is not None]
    texts = [format_value(key, value) for value in values]
    if len({format_value(key, value) for value in known}) < 2:
        return texts
    best = max(known) if metric_of(key).higher_is_better else min(known)
    return [f"{text} ▲ best" if value == best else text for text, value in zip(texts, values, strict=True)]
