"""A new method is its file and its card: a copy of the project is given one.

In that copy the editor offers it with its slider, the command line and the list of methods name it, and the contract
of every method holds for it.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.contracts.project_copy import copy_project, python

NEEDED = ("compression", "docs/methods", "jobs", "plots", "storage", "tests/contracts", "tests/methods", "ui",
          "pyproject.toml", "tests/__init__.py", "tests/conftest.py")
KEY = "round.decimals"

METHOD = '''\
"""Rounded weights: the method that a test adds."""

from __future__ import annotations

from pydantic import Field

from compression.spec.method import Applied, ExportForm, Params, Stage, method
from compression.spec.records import Part


class DecimalsParams(Params):
    """How coarsely weights are rounded."""

    decimals: int = Field(2, ge=0, le=6, description="Digits behind the point that a weight keeps.")


@method("round.decimals", DecimalsParams, title="Rounded weights", summary="Rounds the weights of dense layers.",
        stage=Stage.AFTER_TRAINING, parts={Part.DENSE}, needs=set(), export=ExportForm.PLAIN,
        source="Nobody 1999", no_op="any number of digits changes some weight")
def round_decimals(model, params, ctx):
    """Replace dense layers by rounded ones of the same shape."""
    import copy

    from torch import nn

    from compression.models.structure import leaves, part_of, replace

    applied = Applied(model)
    for path, leaf in list(leaves(model)):
        if part_of(model, path) is not Part.DENSE:
            continue
        if not isinstance(leaf, nn.Linear):
            applied.skipped.append(ctx.skip(path, "no dense layer"))
            continue
        rounded = copy.deepcopy(leaf)
        rounded.weight.data = leaf.weight.data.round(decimals=params.decimals)
        replace(model, path, rounded)
        applied.changes.append(ctx.change(path, 4 * leaf.weight.numel(), 4 * leaf.weight.numel(), "rounded"))
    return applied
'''
CARD = """\
# Rounded weights · `round.decimals`

Weights of dense layers keep few digits.

## When to use
- In a test.

## When not
- Anywhere else.

## Cost
One pass over the weights.

## Parameters
- `decimals`: digits behind the point.

## Source
Nobody 1999.

## Measured here
Nothing.
"""
EDITOR = """\
import json

from streamlit.testing.v1 import AppTest


def page():
    from ui.experiment.recipe_editor import draw_recipe_editor

    draw_recipe_editor()


app = AppTest.from_function(page, default_timeout=30).run()
adder = app.selectbox(key="experiment.add")
offered = [option for option in adder.options if option.startswith("Rounded weights")]
app = adder.select("round.decimals").run()
slider = app.slider[0]
print(json.dumps({"offered": offered, "label": slider.label, "bounds": [slider.min, slider.max], "value": slider.value,
                  "failed": len(app.exception)}))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of what is needed of the project, with the new method in it."""
    folder = copy_project(tmp_path_factory.mktemp("project"), NEEDED)
    (folder / "compression/methods/round").mkdir()
    (folder / "compression/methods/round/__init__.py").write_text("")
    (folder / "compression/methods/round/decimals.py").write_text(METHOD, encoding="utf-8")
    (folder / "docs/methods" / f"{KEY}.md").write_text(CARD, encoding="utf-8")
    return folder


def test_the_editor_offers_it_and_draws_its_slider(project):
    (project / "open_editor.py").write_text(EDITOR, encoding="utf-8")
    told = python(project, "open_editor.py").strip().splitlines()[-1]
    assert json.loads(told) == {"offered": ["Rounded weights · Rounds the weights of dense layers."],
                                "label": "Decimals", "bounds": [0, 6], "value": 2, "failed": 0}


def test_the_command_line_names_it_with_its_bounds(project):
    found = {one["key"]: one for one in json.loads(python(project, "-m", "compression", "methods", "--json"))}
    bounds = found[KEY]["params"]["properties"]["decimals"]
    assert (found[KEY]["title"], bounds["minimum"], bounds["maximum"]) == ("Rounded weights", 0, 6)


def test_the_list_of_methods_links_its_card(project):
    listed = python(project, "-m", "compression", "methods", "--markdown")
    assert f"| [`{KEY}`]({KEY}.md) Rounded weights | Rounds the weights of dense layers. |" in listed


def test_the_contract_of_every_method_holds_for_it(project):
    told = python(project, "-m", "pytest", "-p", "no:cacheprovider", "tests/contracts/test_methods.py",
                  "tests/contracts/test_effects.py", "-k", KEY)
    assert " passed" in told and "failed" not in told
